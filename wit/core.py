"""What wit is made of, put together once from a Config: for the daemon and the command line alike.

Nothing here serves anybody: the doors are hung before it by :mod:`wit.daemon`.
"""

from __future__ import annotations

from wit.access.gate import Gate
from wit.access.organizations import OrgGate
from wit.access.rate_limits import RateLimits
from wit.access.shared_limits import SharedLimits
from wit.accounts.administration import Administration
from wit.accounts.ai_keys import make_repo_keys, make_user_keys
from wit.accounts.audit import AuditLog
from wit.accounts.authors import Authors
from wit.accounts.credentials import Credentials
from wit.accounts.identity import Identity
from wit.accounts.last_use import LastUse
from wit.accounts.one_time import OneTimeSecrets
from wit.accounts.organizations import Organizations
from wit.accounts.passwords import Passwords
from wit.accounts.secrets import Secrets, key_material
from wit.accounts.sign_in_log import SignInLog
from wit.accounts.signing import make_signer
from wit.accounts.site_settings import SiteSettings
from wit.accounts.ssh_keys import KeyManager
from wit.accounts.statistics import Statistics
from wit.accounts.teams import Teams
from wit.accounts.tokens import Tokens
from wit.accounts.users import Users
from wit.config import Config
from wit.db.migrate import upgrade
from wit.db.open import make_database
from wit.errors import ConfigError
from wit.events.bus import EventBus
from wit.events.journal import Journal
from wit.git.command import Git
from wit.git.diff_text import Diffs
from wit.git.governor import Governor
from wit.git.history import History
from wit.git.last_commits import LastCommitFinder
from wit.git.object_reader import ObjectReader
from wit.git.pack_cache import PackCache
from wit.git.public_text import ServerPaths
from wit.git.reachability import Reachability
from wit.git.receive_pack import ReceivePack
from wit.git.refs import RefReader
from wit.git.revisions import Revisions
from wit.git.trees import Trees
from wit.git.upload_pack import UploadPack
from wit.jobs.queue import JobQueue
from wit.metrics import Metrics
from wit.oauth.provider import OAuthProvider
from wit.oauth.tokens import OAuthTokens
from wit.packages.logins import Logins
from wit.packages.service import Packages
from wit.repositories.activity import Activities
from wit.repositories.branches import Branches
from wit.repositories.browsing import Browsing
from wit.repositories.collaborators import Collaborators
from wit.repositories.commit_log import CommitLog
from wit.repositories.committing import Committing
from wit.repositories.damage import DamageWatch
from wit.repositories.directory import Directory
from wit.repositories.discovery import Discovery
from wit.repositories.housekeeping import Housekeeping
from wit.repositories.invitations import Invitations
from wit.repositories.languages import Languages
from wit.repositories.listing import Listing
from wit.repositories.manager import RepoManager
from wit.repositories.marked import Marked
from wit.repositories.own_pushes import OwnPushes
from wit.repositories.protection import BranchProtection
from wit.repositories.push_events import PushEvents
from wit.repositories.pushes import Pushes
from wit.repositories.rights import Rights
from wit.repositories.scrubbing import Scrubbing
from wit.repositories.settings import Settings
from wit.repositories.stars import make_stars, make_watches
from wit.repositories.sync import Sync
from wit.repositories.traffic import GitTraffic
from wit.runtime import Runtime
from wit.sandboxes.service import SandboxService
from wit.sandboxes.terminals.terminals import Terminals


class Core:
    """The parts, by the names under which doors and commands ask for them."""

    def __init__(self, config: Config, runtime: Runtime, metrics: Metrics | None = None) -> None:
        self.config = config
        self.runtime = runtime
        self.made_at: float = runtime.reactor.seconds()
        self.metrics = metrics = metrics or Metrics()
        self.git = git = Git.find(config.git.binary)
        self.db = db = make_database(config.database, config.database_url, runtime, metrics)

        self.secrets = Secrets(key_material(config, runtime), runtime.random_bytes)
        self.signer = make_signer(config, runtime)
        self.passwords = Passwords(runtime)
        self.last_use = LastUse(db, runtime)
        self.users = Users(db, runtime, self.passwords)
        self.tokens = Tokens(db, runtime, self.last_use, config.accounts.max_tokens)
        self.keys = KeyManager(db, runtime, self.last_use, config.accounts.max_ssh_keys)
        self.organizations = Organizations(db, runtime)
        self.teams = Teams(db, runtime)
        for_all = config.ai.any
        self.user_ai_keys = make_user_keys(db, runtime, self.secrets, server_keys=for_all)
        self.repo_ai_keys = make_repo_keys(db, runtime, self.secrets, server_keys=for_all)
        self.audit = AuditLog(db, runtime)
        self.administration = Administration(db, runtime, self.audit)
        self.sign_in_log = SignInLog(db)
        self.site_settings = SiteSettings(db, runtime, self.audit)
        self.statistics = Statistics(db, runtime)
        oauth_tokens = OAuthTokens(db, runtime, self.last_use)
        self.oauth = OAuthProvider(db, runtime, oauth_tokens, self.secrets, config.public_url)
        self.credentials = Credentials(
            db,
            runtime,
            self.passwords,
            self.tokens,
            self.keys,
            signer=self.signer,
            oauth=oauth_tokens,
            failures_per_minute=config.accounts.failures_per_minute,
        )
        self.gate = Gate(db)
        self.org_gate = OrgGate(db)
        self.limits = RateLimits(config.limits, runtime)
        self.shared_limits = SharedLimits(self.limits, db, runtime)

        self.journal = Journal(db, runtime)
        self.events = EventBus(db, self.journal, runtime, metrics)
        self.jobs = JobQueue(db, runtime, metrics)
        self.identity = Identity(
            config,
            db,
            runtime,
            users=self.users,
            passwords=self.passwords,
            credentials=self.credentials,
            secrets=self.secrets,
            signer=self.signer,
            jobs=self.jobs,
        )

        self.package_logins = Logins(
            db,
            runtime,
            sign_in=self.identity.sign_in,
            profiles=self.identity.profiles,
            tokens=self.tokens,
            one_time=OneTimeSecrets(db, runtime),
        )

        self.governor = Governor(config.git, runtime, metrics)
        self.repos = RepoManager(db, git, config, runtime, self.journal)
        paths = ServerPaths(config.repos_dir)
        self.damage = DamageWatch(
            self.jobs,
            git,
            runtime,
            self.repos,
            governor=self.governor,
            paths=paths,
            metrics=metrics,
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
        self.directory = Directory(db)
        self.marked = Marked(db)
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
        self.objects = ObjectReader(git, runtime, self.governor, suspect)
        reachability = Reachability(git, runtime, self.governor, suspect)
        self.revisions = Revisions(self.refs, reachability)
        trees = Trees(git, runtime, self.governor)
        history = History(git, runtime, self.governor)
        self.browsing = Browsing(
            runtime,
            self.repos,
            self.refs,
            revisions=self.revisions,
            reader=self.objects,
            trees=trees,
        )
        authors = Authors(config, db)
        self.commits = CommitLog(
            authors,
            runtime,
            self.repos,
            self.browsing,
            revisions=self.revisions,
            reader=self.objects,
            history=history,
            diffs=Diffs(git, runtime, self.governor),
            last_commits=LastCommitFinder(git, runtime, self.governor),
        )
        self.languages = Languages(db, runtime, self.repos, self.browsing, trees=trees)
        self.discovery = Discovery(db, runtime, self.repos, self.refs, history)
        self.own_pushes = OwnPushes(self.receive_pack, self.pushes, self.refs, self.repos)
        self.branches = Branches(
            self.own_pushes,
            self.refs,
            self.repos,
            reader=self.objects,
            revisions=self.revisions,
        )
        self.committing = Committing(
            db=db,
            authors=authors,
            runtime=runtime,
            refs=self.refs,
            manager=self.repos,
            reader=self.objects,
            own_pushes=self.own_pushes,
        )
        self.settings = Settings(db, git, runtime, refs=self.refs, manager=self.repos)
        self.protection = BranchProtection(
            db, runtime, policy=self.pushes.policy, refs=self.refs, manager=self.repos
        )
        self.listing = Listing(db)
        self.stars = make_stars(db, runtime, self.journal)
        self.watches = make_watches(db, runtime, self.journal)
        self.collaborators = Collaborators(db, runtime, self.identity.outbox, config.public_url)
        self.invitations = Invitations(
            db=db,
            runtime=runtime,
            gate=self.gate,
            collaborators=self.collaborators,
            outbox=self.identity.outbox,
            site=config.public_url,
        )
        self.activities = Activities(db)
        self.activities.register(self.events)
        self.housekeeping = Housekeeping(
            self.jobs,
            git,
            runtime,
            self.repos,
            every=config.git.maintenance_seconds,
            suspect=suspect,
        )
        self.housekeeping.register(self.events)
        self.scrubbing = Scrubbing(
            self.jobs,
            runtime,
            self.repos,
            metrics,
            every=config.git.maintenance_seconds,
            days=config.git.scrub_days,
            bytes_per_second=config.git.scrub_bytes_per_second,
            suspect=suspect,
        )
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
        self.packages = Packages(config, db, runtime, metrics, gate=self.gate, journal=self.journal)
        self.sandbox_service = SandboxService(
            config,
            db,
            runtime,
            metrics,
            gate=self.gate,
            secrets=self.secrets,
            git=git,
            governor=self.governor,
            repos=self.repos,
            refs=self.refs,
            revisions=self.revisions,
            objects=self.objects,
        )
        self.sandboxes = self.sandbox_service.sandboxes
        self.terminals = Terminals(self.sandboxes, self.gate, db, runtime, config.terminals)

    async def open(self) -> None:
        """Make the folders, bring the tables up to date, connect.

        Raises ConfigError and DatabaseUnavailable.
        """
        await self.runtime.in_thread(self._prepare)
        await self.db.open()

    async def close(self) -> None:
        """Write down what was only noted, and disconnect."""
        try:
            await self.objects.close()
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
