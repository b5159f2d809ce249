"""Sandboxes that stand ready at providers where making one takes long.

A warm one has wit's default limits, image and network, nobody's secrets (those come with each
command), and a row like all others, so that it can be claimed only once: by an UPDATE.
"""

from __future__ import annotations

from datetime import timedelta

from twisted.logger import Logger

from wit.config import Sandboxes as SandboxConfig
from wit.db.port import Row
from wit.errors import WitError
from wit.runtime import Runtime, shielded
from wit.sandboxes.engines import Engines
from wit.sandboxes.leases import Leases
from wit.sandboxes.provider import Limits, Network, SandboxProvider, SandboxSpec, State
from wit.sandboxes.records import Records, Room, Stage, limits_of
from wit.sandboxes.registry import Registry

AGAIN_SECONDS = 300.0
"""After an attempt at a provider that failed."""

log = Logger()


class Pool:
    """Filled by the service's rounds; :meth:`candidates` are for who wants one."""

    def __init__(
        self,
        records: Records,
        registry: Registry,
        engines: Engines,
        *,
        leases: Leases,
        config: SandboxConfig,
        runtime: Runtime,
    ) -> None:
        self._records = records
        self._registry = registry
        self._engines = engines
        self._leases = leases
        self._config = config
        self._runtime = runtime
        self._not_before: dict[str, float] = {}

    @property
    def limits(self) -> Limits:
        config = self._config
        return Limits(config.memory_bytes, config.cpus, config.processes, config.disk_bytes)

    async def candidates(self, provider: str, spec: SandboxSpec) -> list[Row]:
        """Warm ones that are as ``spec`` wants them, oldest first."""
        if spec.key is not None:
            return []
        return [
            row
            for row in await self._records.of_here(Stage.WARM)
            if row["provider"] == provider
            and row["image"] == spec.image
            and row["network"] == spec.network
            and limits_of(row) == spec.limits
        ]

    async def awake(self, row: Row) -> bool:
        """Whether the engine still has a warm one that was claimed just now."""
        try:
            return await self._engines.of(row).state(row["ref"]) is State.RUNNING
        except WitError:
            return False

    async def fill(self) -> None:
        """One round: make what is missing, one after the other."""
        for status in self._registry.statuses():
            wanted = self._config.warm_hosted if status.features.hosted else self._config.warm
            now = self._runtime.reactor.seconds()
            if (
                not status.ready
                or not status.features.slow_start
                or now < self._not_before.get(status.name, 0.0)
            ):
                continue
            warm = await self._records.of_here(Stage.WARM, Stage.CREATING)
            there = [r for r in warm if r["provider"] == status.name and r["user_id"] is None]
            try:
                for _ in range(wanted - len(there)):
                    await self._make(self._registry.get(status.name))
            except WitError as error:
                self._not_before[status.name] = now + AGAIN_SECONDS
                log.warn("no warm sandbox: {error}", error=error.message)

    async def _make(self, provider: SandboxProvider) -> None:
        spec = SandboxSpec(
            id=new_sandbox_id(self._runtime),
            limits=self.limits,
            network=Network(self._config.network),
            image=self._image(provider.name),
            seconds=self._config.max_life_seconds,
        )
        if spec.network not in provider.features.networks:
            return
        now = self._runtime.now()
        await self._records.add(
            {
                "id": spec.id,
                "user_id": None,
                "provider": provider.name,
                "host": None if provider.features.hosted else self._records.here,
                "daemon": self._records.daemon,
                "state": Stage.CREATING,
                "image": spec.image,
                "network": spec.network.value,
                "memory_bytes": spec.limits.memory_bytes,
                "cpus": spec.limits.cpus,
                "processes": spec.limits.processes,
                "disk_bytes": spec.limits.disk_bytes,
                "idle_seconds": self._config.idle_seconds,
                "life_seconds": self._config.life_seconds,
                "created_at": now,
                "used_at": now,
                "expires_at": now + timedelta(seconds=spec.seconds),
            },
            Room(self._config.max_per_user, self._config.max_total),
        )
        with self._leases.at_work(spec.id):
            try:
                ref = await provider.create(spec)
                await self._records.change(spec.id, Stage.CREATING, state=Stage.WARM, ref=ref)
            except BaseException:
                await shielded(self._give_up(spec.id))
                raise

    async def _give_up(self, sandbox_id: str) -> None:
        await self._records.over(sandbox_id, Stage.ENDED, "it could not be made")

    def _image(self, provider: str) -> str | None:
        """As a repository without settings has it."""
        return self._config.docker_image if provider == "docker" else None


def new_sandbox_id(runtime: Runtime) -> str:
    """32 hexadecimal digits."""
    return runtime.random_bytes(16).hex()
