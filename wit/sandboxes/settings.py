"""How a repository wants its sandboxes: the contract's ``repo_sandbox_config``.

A repository without a row has what ``[sandboxes]`` of wit.toml says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from sqlalchemy import bindparam, insert, select, update

from wit.config import MIB
from wit.config import Sandboxes as SandboxConfig
from wit.db.port import Database, ForeignKeyViolation, Row, UniqueViolation
from wit.db.tables import repo_sandbox_config
from wit.errors import Invalid, NotFound
from wit.runtime import Runtime
from wit.sandboxes.keys import PREFIXES, Keys
from wit.sandboxes.provider import Limits, Network

LANGUAGES = ("typescript", "javascript", "python")
RUNTIMES = ("node22", "python3.13")
MAX_TEXT = 255

DEFAULT_PROVIDER = "local"
"""Of a repository that has settings and has not chosen, where wit.toml does not either."""


@attrs.frozen
class Settings:
    """What holds for one repository. Named as in the contract, sizes are MiB, times minutes."""

    configured: bool
    """Whether somebody has ever set anything."""
    enabled: bool
    provider: str | None
    """None: whatever the server prefers."""
    network_mode: Network
    default_language: str
    memory_mb: int
    cpu_cores: int
    timeout_minutes: int
    e2b_template_id: str | None
    daytona_snapshot: str | None
    daytona_auto_stop: int
    docker_image: str
    vercel_project_id: str | None
    vercel_team_id: str | None
    vercel_runtime: str

    @property
    def seconds(self) -> int:
        """The longest life."""
        return self.timeout_minutes * 60

    def limits(self, base: Limits) -> Limits:
        """``base`` with the repository's memory and cores, if it has set any."""
        if not self.configured:
            return base
        return attrs.evolve(base, memory_bytes=self.memory_mb * MIB, cpus=float(self.cpu_cores))

    def image(self, provider: str) -> str | None:
        """What to start with, in the provider's own terms; None: its default."""
        images = {
            "docker": self.docker_image,
            "e2b": self.e2b_template_id,
            "daytona": self.daytona_snapshot,
        }
        return images.get(provider) or None


_BY_REPO = (
    select(repo_sandbox_config)
    .where(repo_sandbox_config.c.repo_id == bindparam("repo"))
    .execution_options(quick=True)
)
_CHANGE = update(repo_sandbox_config).where(repo_sandbox_config.c.repo_id == bindparam("repo"))
_COLUMNS = frozenset(field.name for field in attrs.fields(Settings) if field.name != "configured")
_BOUNDS = {
    "memory_mb": (512, 8192),
    "cpu_cores": (1, 4),
    "timeout_minutes": (5, 120),
    "daytona_auto_stop": (0, 60),
}
_CHOICES: dict[str, tuple[str, ...]] = {
    "network_mode": tuple(network.value for network in Network),
    "default_language": LANGUAGES,
    "vercel_runtime": RUNTIMES,
}


class RepoSettings:
    def __init__(self, db: Database, runtime: Runtime, config: SandboxConfig, keys: Keys) -> None:
        self._db = db
        self._runtime = runtime
        self._config = config
        self._keys = keys

    async def get(self, repo_id: str) -> Settings:
        row = await self._db.fetch_one(_BY_REPO, repo=repo_id)
        return self._defaults() if row is None else _settings(row)

    async def update(
        self, repo_id: str, user_id: str, changes: Mapping[str, Any], *, server_keys: frozenset[str]
    ) -> Settings:
        """Change the named settings and leave the others; the new ones.

        ``changes`` has names of :class:`Settings`; None takes a text back. ``server_keys`` are the
        providers that the server has a key of. Raises Invalid, also when sandboxes would be
        enabled at a hosted provider without a key; NotFound.
        """
        for name, value in changes.items():
            _check(name, value)
        current = await self.get(repo_id)
        wanted = {**attrs.asdict(current), **changes}
        provider = wanted["provider"] or self._config.provider or DEFAULT_PROVIDER
        needs_key = provider in PREFIXES and provider not in server_keys
        if wanted["enabled"] and needs_key and await self._keys.hint(repo_id, provider) is None:
            raise Invalid(f"set a key of {provider} first: sandboxes there need one")
        now = self._runtime.now()
        values = {name: wanted[name] for name in _COLUMNS} | {
            "provider": provider,
            "network_mode": Network(wanted["network_mode"]).value,
            "updated_by_id": user_id,
            "updated_at": now,
        }
        if not await self._db.execute(_CHANGE, repo=repo_id, **values):
            try:
                await self._db.execute(
                    insert(repo_sandbox_config),
                    id=self._runtime.new_id(),
                    repo_id=repo_id,
                    created_at=now,
                    **values,
                )
            except ForeignKeyViolation:
                raise NotFound("repository not found") from None
            except UniqueViolation:  # somebody else was the first
                await self._db.execute(_CHANGE, repo=repo_id, **values)
        return await self.get(repo_id)

    def _defaults(self) -> Settings:
        config = self._config
        return Settings(
            configured=False,
            enabled=config.repositories,
            provider=config.provider or None,
            network_mode=Network(config.network),
            default_language="typescript",
            memory_mb=config.memory_bytes // MIB,
            cpu_cores=max(1, round(config.cpus)),
            timeout_minutes=max(1, config.life_seconds // 60),
            e2b_template_id=None,
            daytona_snapshot=None,
            daytona_auto_stop=15,
            docker_image=config.docker_image,
            vercel_project_id=None,
            vercel_team_id=None,
            vercel_runtime="node22",
        )


def _settings(row: Row) -> Settings:
    values = {name: row[name] for name in _COLUMNS}
    values["network_mode"] = Network(row["network_mode"])
    values["vercel_runtime"] = row["vercel_runtime"] or "node22"
    return Settings(configured=True, **values)


def _check(name: str, value: Any) -> None:
    """Raises Invalid."""
    if name not in _COLUMNS:
        raise Invalid(f"{name[:40]!r} is not a setting of sandboxes")
    if name in _BOUNDS:
        lowest, highest = _BOUNDS[name]
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise Invalid(f"{name} is a whole number from {lowest} to {highest}")
    elif name in _CHOICES:
        if value not in _CHOICES[name]:
            raise Invalid(f"{name} is one of {', '.join(_CHOICES[name])}")
    elif name == "enabled":
        if not isinstance(value, bool):
            raise Invalid("enabled is true or false")
    elif value is None:
        if name in ("provider", "docker_image"):
            raise Invalid(f"{name} is a text")
    elif not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT or not value.isprintable():
        raise Invalid(f"{name} is one line of 1 to {MAX_TEXT} characters")
    elif name == "provider" and len(value) > 32:
        raise Invalid("a provider's name has at most 32 characters")
