"""What a new sandbox will be: of what is asked for, the repository's settings and wit.toml."""

from __future__ import annotations

import attrs

from wit.config import Config
from wit.db.port import Row
from wit.errors import Invalid, PreconditionFailed
from wit.git.repository import BareRepository
from wit.repositories.manager import RepoManager
from wit.runtime import Runtime
from wit.sandboxes.checkout import Checkouts, Target
from wit.sandboxes.keys import Keys
from wit.sandboxes.pool import Pool, new_sandbox_id
from wit.sandboxes.provider import Limits, Network, SandboxProvider, SandboxSpec
from wit.sandboxes.registry import Registry
from wit.sandboxes.settings import RepoSettings, Settings

MIN_SECONDS = 60


@attrs.frozen
class NewSandbox:
    """What somebody wants. None leaves it to the repository's settings, then to wit.toml."""

    repo: Row | None = None
    """A repository's row; None: not of a repository."""
    ref: str | None = None
    """Branch, tag or commit to be checked out; None: HEAD."""
    checkout: bool = True
    provider: str | None = None
    image: str | None = None
    network: Network | None = None
    limits: Limits | None = None
    seconds: int | None = None
    """Length of its lease."""


@attrs.frozen
class Wish:
    """What it will be."""

    provider: SandboxProvider
    spec: SandboxSpec
    sealed_key: str | None
    user_id: str
    username: str
    repo: Row | None
    target: Target | None
    bare: BareRepository | None
    user_key: str
    idle_seconds: int


class Wishes:
    def __init__(
        self,
        config: Config,
        runtime: Runtime,
        *,
        registry: Registry,
        pool: Pool,
        settings: RepoSettings,
        keys: Keys,
        checkouts: Checkouts,
        repos: RepoManager,
    ) -> None:
        self._config = config.sandboxes
        self._runtime = runtime
        self._registry = registry
        self._pool = pool
        self._settings = settings
        self._keys = keys
        self._checkouts = checkouts
        self._repos = repos

    async def settle(self, user_id: str, username: str, repo: Row | None, new: NewSandbox) -> Wish:
        """Everything that can be refused is refused here, before anything is made. For what is
        raised see Sandboxes.create."""
        settings = None
        keys: frozenset[str] = frozenset()
        if repo is not None:
            settings = await self._settings.get(repo["id"])
            if not settings.enabled:
                raise PreconditionFailed(
                    f"sandboxes are switched off for {repo['full_name']}; its owner can enable "
                    "them in its settings"
                )
            keys = await self._keys.providers(repo["id"])
        wanted = new.provider or (settings.provider if settings is not None else None)
        provider = await self._registry.choose(wanted, keys)
        sealed = None
        if repo is not None and provider.features.hosted:
            sealed = await self._keys.sealed(repo["id"], provider.name)
        spec = SandboxSpec(
            id=new_sandbox_id(self._runtime),
            limits=self._limits(new, settings),
            network=self._network(new, settings, provider),
            image=self._image(new, settings, provider),
            seconds=self._seconds(new, settings),
            key=None if sealed is None else self._keys.open(sealed),
        )
        user_key = f"user:{user_id}"
        target, bare = None, None
        if repo is not None:
            bare = self._repos.bare(repo)
            if new.checkout:
                target = await self._checkouts.resolve(
                    bare, new.ref, repo["default_branch"], user_key
                )
        elif new.ref is not None:
            raise Invalid("a ref is checked out from a repository: name one")
        idle = self._config.idle_seconds
        if provider.name == "daytona" and settings is not None and settings.daytona_auto_stop:
            idle = settings.daytona_auto_stop * 60
        return Wish(
            provider=provider,
            spec=spec,
            sealed_key=sealed,
            user_id=user_id,
            username=username,
            repo=repo,
            target=target,
            bare=bare,
            user_key=user_key,
            idle_seconds=idle,
        )

    def _limits(self, new: NewSandbox, settings: Settings | None) -> Limits:
        config = self._config
        limits = self._pool.limits if settings is None else settings.limits(self._pool.limits)
        limits = new.limits or limits
        for name, value, most in (
            ("memory", limits.memory_bytes, config.max_memory_bytes),
            ("cores", limits.cpus, config.max_cpus),
            ("processes", limits.processes, config.max_processes),
            ("disk", limits.disk_bytes, config.max_disk_bytes),
        ):
            if not 0 < value <= most:
                raise Invalid(f"{name}: {value} was asked for; a sandbox has {most} at most")
        return limits

    def _network(
        self, new: NewSandbox, settings: Settings | None, provider: SandboxProvider
    ) -> Network:
        default = Network(self._config.network)
        network = new.network or (default if settings is None else settings.network_mode)
        if network is not default and network.value not in self._config.networks:
            raise Invalid(
                f"this server's administrator does not allow sandboxes the network {network.value}"
            )
        if network not in provider.features.networks:
            offered = ", ".join(sorted(provider.features.networks)) or "none"
            raise Invalid(
                f"sandboxes of {provider.name} cannot have the network {network.value}; "
                f"they can have: {offered}"
            )
        return network

    def _image(
        self, new: NewSandbox, settings: Settings | None, provider: SandboxProvider
    ) -> str | None:
        if new.image is not None:
            if not provider.features.images:
                raise Invalid(f"sandboxes of {provider.name} have no images to choose from")
            return new.image
        if settings is not None:
            return settings.image(provider.name)
        return self._config.docker_image if provider.name == "docker" else None

    def _seconds(self, new: NewSandbox, settings: Settings | None) -> int:
        longest = self._config.max_life_seconds
        default = self._config.life_seconds if settings is None else settings.seconds
        seconds = default if new.seconds is None else new.seconds
        if new.seconds is not None and not MIN_SECONDS <= seconds <= longest:
            raise Invalid(f"a sandbox lives {MIN_SECONDS} to {longest} seconds at a time")
        return max(MIN_SECONDS, min(seconds, longest))
