"""Sandboxes as a part of the daemon: everything put together, started, looked after, stopped.

Every few seconds one round: what is busy is noted, what nobody uses is put to rest, what is over
is removed, the pool is filled, providers are tried again.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from wit.access.gate import Gate
from wit.accounts.secrets import Secrets, key_in_file
from wit.config import Config
from wit.db.port import Database
from wit.git.command import Git
from wit.git.governor import Governor
from wit.git.object_reader import ObjectReader
from wit.git.own_folder import OwnFolder
from wit.git.refs import RefReader
from wit.git.revisions import Revisions
from wit.metrics import Metrics
from wit.repositories.manager import RepoManager
from wit.runtime import Runtime
from wit.sandboxes.audit import CommandLog
from wit.sandboxes.checkout import Checkouts
from wit.sandboxes.engines import Engines
from wit.sandboxes.keys import Keys
from wit.sandboxes.leases import BEAT_SECONDS, Leases
from wit.sandboxes.making import Maker
from wit.sandboxes.manager import Sandboxes
from wit.sandboxes.packs import CommitPacks
from wit.sandboxes.pool import Pool
from wit.sandboxes.provider import SandboxProvider
from wit.sandboxes.records import Records, Stage
from wit.sandboxes.recovery import Recovery
from wit.sandboxes.registry import Factories, Registry
from wit.sandboxes.settings import RepoSettings
from wit.sandboxes.tokens import SandboxTokens
from wit.sandboxes.variables import Variables
from wit.sandboxes.wishes import Wishes

RECONCILE_ROUNDS = 30
"""Rounds between two comparisons of the database with the engines."""

INSTANCE_FILE = "instance"
"""Names this installation to engines."""

log = Logger()


class SandboxService:
    """``core.sandbox_service``; what others use of it is ``sandboxes``."""

    def __init__(
        self,
        config: Config,
        db: Database,
        runtime: Runtime,
        metrics: Metrics,
        *,
        gate: Gate,
        secrets: Secrets,
        git: Git,
        governor: Governor,
        repos: RepoManager,
        refs: RefReader,
        revisions: Revisions,
        objects: ObjectReader,
        factories: Factories | None = None,
    ) -> None:
        """``factories`` instead of the providers that there are, for tests."""
        self._config = config
        self._runtime = runtime
        self._metrics = metrics
        self._folder = config.data_dir / "sandboxes"
        self._own: OwnFolder | None = None
        self._rounds: Deferred[None] | None = None
        self.records = Records(db, runtime)
        self.registry = Registry(config, runtime, metrics, factories)
        self.commands = CommandLog(db, runtime)
        self._packs = CommitPacks(config.data_dir / "cache" / "checkouts", git, runtime, governor)
        keys = Keys(db, runtime, secrets)
        variables = Variables(db, runtime, secrets)
        settings = RepoSettings(db, runtime, config.sandboxes, keys)
        engines = Engines(self.records, self.registry, keys)
        self.leases = Leases(self.records, engines, config.sandboxes, runtime)
        self.recovery = Recovery(self.records, engines, self.commands, self._living)
        self.registry.on_ready = self.recovery.reconcile
        self.pool = Pool(
            self.records,
            self.registry,
            engines,
            leases=self.leases,
            config=config.sandboxes,
            runtime=runtime,
        )
        checkouts = Checkouts(
            git,
            runtime,
            governor,
            refs=refs,
            revisions=revisions,
            objects=objects,
            packs=self._packs,
        )
        wishes = Wishes(
            config,
            runtime,
            registry=self.registry,
            pool=self.pool,
            settings=settings,
            keys=keys,
            checkouts=checkouts,
            repos=repos,
        )
        self.maker = Maker(
            config,
            runtime,
            metrics,
            records=self.records,
            engines=engines,
            leases=self.leases,
            pool=self.pool,
            wishes=wishes,
            variables=variables,
            tokens=SandboxTokens(db, runtime),
            commands=self.commands,
            checkouts=checkouts,
            repos=repos,
        )
        self.sandboxes = Sandboxes(
            config,
            gate,
            records=self.records,
            registry=self.registry,
            engines=engines,
            leases=self.leases,
            maker=self.maker,
            commands=self.commands,
            settings=settings,
            keys=keys,
            variables=variables,
        )

    async def start(self) -> None:
        """Which providers are ready is found out afterwards, or by the first who asks for one."""
        instance, own = await self._runtime.in_thread(self._settle)
        self._own = own
        self.records.here = f"{socket.gethostname()[:64]}/{instance[:12]}"
        self.records.daemon = f"{self.records.here}/{os.path.basename(own.path)}"
        await self._packs.start()
        await self.registry.start(self._folder, instance)
        await self.recovery.lose_commands()
        self._rounds = Deferred.fromCoroutine(self._go_round())

    async def stop(self) -> None:
        """Sandboxes that can live without us do; what we looked after in them is lost."""
        rounds, self._rounds = self._rounds, None
        if rounds is not None:
            rounds.cancel()
            with suppress(CancelledError):
                await rounds
        await self.commands.lose(self.records.daemon)
        await self.registry.stop()
        await self._packs.stop()
        own, self._own = self._own, None
        if own is not None:
            await self._runtime.in_thread(own.remove)

    async def round(self) -> None:
        """One round."""
        await self.registry.probe_all()
        await self.leases.beat()
        await self.leases.reap()
        await self.pool.fill()
        counts = await self.records.counts()
        for stage in Stage:
            self._metrics.sandboxes.labels(stage.value).set(counts.get(stage.value, 0))

    async def _go_round(self) -> None:
        number = 0
        while True:
            try:
                await self.round()
                number += 1
                if number % RECONCILE_ROUNDS == 0:
                    await self._reconcile()
            except CancelledError:
                raise
            except Exception:
                log.failure("looking after sandboxes failed; it is tried again")
            await self._runtime.sleep(BEAT_SECONDS)

    async def _reconcile(self) -> None:
        for provider in self._ready():
            await self.recovery.reconcile(provider)
        await self.recovery.lose_commands()
        kept = timedelta(days=self._config.sandboxes.audit_days)
        await self.records.purge(self._runtime.now() - kept)

    def _ready(self) -> list[SandboxProvider]:
        return [self.registry.get(one.name) for one in self.registry.statuses() if one.ready]

    def _settle(self) -> tuple[str, OwnFolder]:
        """The name of this installation, and the sign that this process lives. Blocks."""
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        instance = key_in_file(self._folder / INSTANCE_FILE, self._runtime)[:32]
        return instance, OwnFolder.claim(self._folder / "daemons")

    async def _living(self) -> frozenset[str]:
        here = self.records.here
        names = await self._runtime.in_thread(_locks, self._folder / "daemons")
        return frozenset(f"{here}/{name}" for name in names)


def _locks(folder: Path) -> list[str]:
    return [lock.stem for lock in folder.glob("*.lock")]
