"""What wit is made of, put together once from a Config: for the daemon and the command line alike.

Nothing here serves anybody: the doors are hung before it by :mod:`wit.daemon`.
"""

from __future__ import annotations

from wit.access.gate import Gate
from wit.accounts.credentials import Credentials
from wit.accounts.last_use import LastUse
from wit.accounts.organizations import Organizations
from wit.accounts.passwords import Passwords
from wit.accounts.ssh_keys import KeyManager
from wit.accounts.tokens import Tokens
from wit.accounts.users import Users
from wit.config import Config
from wit.db.migrate import upgrade
from wit.db.open import make_database
from wit.errors import ConfigError
from wit.events.bus import EventBus
from wit.events.journal import Journal
from wit.git.command import Git
from wit.git.governor import Governor
from wit.git.pack_cache import PackCache
from wit.git.public_text import ServerPaths
from wit.git.receive_pack import ReceivePack
from wit.git.refs import RefReader
from wit.git.upload_pack import UploadPack
from wit.jobs.queue import JobQueue
from wit.metrics import Metrics
from wit.repositories.damage import DamageWatch
from wit.repositories.housekeeping import Housekeeping
from wit.repositories.manager import RepoManager
from wit.repositories.push_events import PushEvents
from wit.repositories.pushes import Pushes
from wit.repositories.rights import Rights
from wit.repositories.sync import Sync
from wit.repositories.traffic import GitTraffic
from wit.runtime import Runtime


class Core:
    """The parts, by the names under which doors and commands ask for them."""

    def __init__(self, config: Config, runtime: Runtime, metrics: Metrics | None = None) -> None:
        self.config = config
        self.runtime = runtime
        self.metrics = metrics = metrics or Metrics()
        self.git = git = Git.find(config.git.binary)
        self.db = db = make_database(config.database, config.database_url, runtime, metrics)

        self.passwords = Passwords(runtime)
        self.last_use = LastUse(db, runtime)
        self.users = Users(db, runtime, self.passwords)
        self.tokens = Tokens(db, runtime, self.last_use, config.accounts.max_tokens)
        self.keys = KeyManager(db, runtime, self.last_use, config.accounts.max_ssh_keys)
        self.organizations = Organizations(db, runtime)
        self.credentials = Credentials(
            db,
            runtime,
            self.passwords,
            self.tokens,
            self.keys,
            failures_per_minute=config.accounts.failures_per_minute,
        )
        self.gate = Gate(db)

        self.journal = Journal(db, runtime)
        self.events = EventBus(db, self.journal, runtime, metrics)
        self.jobs = JobQueue(db, runtime, metrics)

        self.governor = Governor(config.git, runtime, metrics)
        self.repos = RepoManager(db, git, config, runtime, self.journal)
        paths = ServerPaths(config.repos_dir)
        self.damage = DamageWatch(
            self.jobs, git, runtime, self.repos, governor=self.governor, paths=paths
        )
        suspect = self.damage.suspect
        self.refs = RefReader(runtime, config.repositories.hidden_refs, suspect=suspect)
        self.pack_cache = PackCache(
            config.data_dir / "cache" / "packs",
            config.git.pack_cache_bytes,
            config.git.pack_cache_seconds,
            runtime,
            metrics,
        )
        self.upload_pack = UploadPack(
            config,
            git,
            runtime,
            refs=self.refs,
            governor=self.governor,
            cache=self.pack_cache,
            suspect=suspect,
        )
        self.receive_pack = ReceivePack(
            config,
            git,
            runtime,
            refs=self.refs,
            governor=self.governor,
            metrics=metrics,
            suspect=suspect,
        )
        self.rights = Rights(db, runtime)
        self.sync = Sync(runtime, self.repos)
        self.pushes = Pushes(
            db=db,
            journal=self.journal,
            git=git,
            refs=self.refs,
            folders=self.repos.folders,
            runtime=runtime,
            config=config,
        )
        PushEvents(db, git, self.refs, self.repos.folders, runtime).register(self.events)
        self.housekeeping = Housekeeping(
            self.jobs,
            git,
            runtime,
            self.repos,
            every=config.git.maintenance_seconds,
            suspect=suspect,
        )
        self.housekeeping.register(self.events)
        self.traffic = GitTraffic(
            gate=self.gate,
            manager=self.repos,
            upload_pack=self.upload_pack,
            receive_pack=self.receive_pack,
            pushes=self.pushes,
            config=config,
            metrics=metrics,
            suspect=suspect,
        )

    async def open(self) -> None:
        """Make the folders, bring the tables up to date, connect.

        Raises ConfigError and DatabaseUnavailable.
        """
        await self.runtime.in_thread(self._prepare)
        await self.db.open()

    async def close(self) -> None:
        """Write down what was only noted, and disconnect."""
        try:
            await self.last_use.flush()
        finally:
            await self.db.close()

    def _prepare(self) -> None:
        for folder in (self.config.data_dir, self.config.repos_dir):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            except OSError as error:
                raise ConfigError(f"cannot make the folder {folder}: {error.strerror}") from error
        upgrade(self.config.database_url, self.config.data_dir / "backups")
