"""The running daemon: the service tree around a Core, its signals, and what it says at the start.

The tree, in the order of its starts; stops go the other way round, each one awaited:

    database      migrations, pool
    repositories  what unfinished pushes and moves left behind is settled; pack cache
    git           (stop) the last processes end, their pushes are settled
    events        journal -> handlers
    jobs          the durable queue, housekeeping
    sandboxes     providers, leases, what a crash left behind
    terminals     their ends, and the rights of who looks at them
    packages      downloads that were counted; blobs that nothing points to; uplinks
    doors         ssh and http: both stop accepting at once and finish their work side by side
    metrics       their own endpoint; the tick time
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, TextIO

import attrs
from klein import Klein
from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.error import ReactorNotRunning
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from wit import __version__, sdnotify
from wit.config import Config
from wit.core import Core
from wit.errors import ConfigError, WitError
from wit.git.process import within
from wit.oauth.provider import SWEEP_SECONDS as OAUTH_SWEEP_SECONDS
from wit.operations.api import wit_api
from wit.services import Again, Hooks, Together, Tree
from wit.ssh.service import SshService
from wit.trpc.door import TrpcDoor
from wit.web.klein_door import KleinDoor
from wit.web.metrics_site import make_metrics_site
from wit.web.middleware.caller import Callers
from wit.web.middleware.limits import limited
from wit.web.routes.auth.door import AuthDoor
from wit.web.routes.documents import Documents
from wit.web.routes.git import GitDoor
from wit.web.routes.health import Health
from wit.web.routes.npm.door import NpmDoor
from wit.web.routes.oauth.door import OAuthDoor
from wit.web.routes.pages.door import PagesDoor
from wit.web.routes.repos import add_routes
from wit.web.routes.rest import RestDoor
from wit.web.routes.terminal import TerminalPage
from wit.web.service import HttpService
from wit.web.site import WebSite
from wit.web.ticks import Ticks
from wit.websocket.door import TerminalDoor

Reload = Callable[[], Config]
"""Reads the configuration again; raises ConfigError."""

SWEEP_SECONDS = 3600.0
"""Between two looks for moves of repositories that a killed process left half-done."""

RECONCILE_SECONDS = 60.0
"""Between two looks for pushes that have no living process."""

FIRST_RECONCILE_SECONDS = 1.0
"""After a start, doubled each time: what a killed daemon started may live a little longer."""

CLEANUP_SECONDS = 10.0
"""How long git processes that were cut off may take to end when the daemon stops."""

METRICS_GRACE_SECONDS = 1.0

RELOADABLE = (
    "server.",
    "ssh.",
    "git.max_",
    "git.queue_",
    "limits.",
    "log.level",
)
"""Settings (and beginnings of their names) that SIGHUP takes over, for requests to come."""

FIXED = ("server.http", "ssh.listen")
"""Those among them that only a restart changes, as it does all others."""


class Daemon:
    """A Core, its doors, and the tree that runs them."""

    log = Logger()

    def __init__(self, core: Core, reload: Reload | None = None) -> None:
        config, runtime, metrics = core.config, core.runtime, core.metrics
        self.core = core
        self.config = config
        """In use; a reload replaces it."""
        self._read_again = reload or (lambda: config)
        self._reloading = DeferredLock()
        self.health = Health(config, runtime, metrics, core.db)
        app = Klein()
        add_routes(app, core.gate, core.credentials, core.sync.run)
        git_door = GitDoor(core.traffic, core.credentials, config, metrics)
        # What sandboxes are served inside is git, and nothing else of the site.
        core.sandbox_service.maker.git_door = WebSite(
            [git_door.route], attrs.evolve(config.server, trusted_proxies=()), runtime, metrics
        )
        api = wit_api()
        callers = Callers(core.credentials, config)
        self.trpc = TrpcDoor(api, core, callers, limited)
        self.rest = RestDoor(api, core, callers, limited)
        self.site = WebSite(
            [
                self.trpc.route,
                git_door.route,
                NpmDoor(core).route,
                self.health.route(),
                PagesDoor(core).route,
                TerminalDoor(core, callers).route,
                AuthDoor(config, core.identity, core.signer).route,
                OAuthDoor(core).route,
                self.rest.route,
                Documents(api, config.public_url, runtime).route(),
                TerminalPage(core, callers).route,
                KleinDoor(app).route,
            ],
            config.server,
            runtime,
            metrics,
        )
        self.http = HttpService(
            self.site,
            config.server.http,
            runtime,
            grace_seconds=config.server.grace_seconds,
            on_stop=self._stopping,
        )
        self.ssh = SshService(
            config,
            runtime,
            core.credentials,
            core.traffic,
            metrics,
            sandboxes=core.sandboxes,
            terminals=core.terminals,
        )
        self.metrics = HttpService(
            make_metrics_site(metrics, runtime, self.health.problems),
            config.metrics.listen,
            runtime,
            grace_seconds=METRICS_GRACE_SECONDS,
            name="metrics",
        )
        self.tree = Tree(
            [
                ("database", Hooks(core.open, core.close)),
                (
                    "repositories",
                    Together(
                        Again(core.repos.sweep, runtime, SWEEP_SECONDS, "sweeping"),
                        Again(
                            core.pushes.reconcile,
                            runtime,
                            RECONCILE_SECONDS,
                            "settling pushes",
                            first=FIRST_RECONCILE_SECONDS,
                        ),
                        Again(
                            core.identity.sessions.sweep,
                            runtime,
                            SWEEP_SECONDS,
                            "sweeping sessions",
                        ),
                        Again(
                            core.oauth.sweep, runtime, OAUTH_SWEEP_SECONDS, "sweeping OAuth tokens"
                        ),
                        core.pack_cache,
                        Hooks(self._start_notes, core.last_use.stop),
                        core.shared_limits,
                    ),
                ),
                ("git", Hooks(stop=self._let_git_end)),
                ("events", core.events),
                ("jobs", Together(core.jobs, core.housekeeping, core.scrubbing)),
                ("sandboxes", core.sandbox_service),
                ("terminals", core.terminals),
                ("packages", core.packages),
                # HTTP last: when /readyz answers, SSH does too.
                ("doors", Together(self.ssh, self.http)),
                (
                    "metrics",
                    Together(
                        Hooks(self._start_metrics, self.metrics.stop),
                        Ticks(runtime.reactor, metrics),
                    ),
                ),
            ]
        )

    async def reload(self) -> bool:
        """SIGHUP: TLS files, host keys and the settings that can be changed (RELOADABLE) are
        read again. If one of them is wrong, that is logged and the old ones stay; false then."""
        try:
            await self._reloading.run(lambda: Deferred.fromCoroutine(self._take_over()))
        except (WitError, OSError) as error:
            self.log.error("reload: {error}; the old settings stay in use", error=str(error))
            return False
        self.log.info("reloaded the settings, TLS files and host keys")
        return True

    async def _take_over(self) -> None:
        config = await self.core.runtime.in_thread(self._read_again)
        for service in (self.http, self.metrics):
            service.reload_tls()
        await self.ssh.reload(config)
        self.site.limits = config.server
        self.http.grace_seconds = config.server.grace_seconds
        self.core.governor.reload(config.git)
        self.core.limits.reload(config.limits)
        old, self.config = self.config, config
        if waiting := ", ".join(key for key in changed(old, config) if needs_restart(key)):
            self.log.warn("changed, and in use only after a restart: {keys}", keys=waiting)

    async def _start_notes(self) -> None:
        self.core.last_use.start()

    async def _start_metrics(self) -> None:
        """A taken metrics port is no reason not to serve git."""
        try:
            await self.metrics.start()
        except ConfigError as error:
            self.log.warn("metrics are off: {error}", error=error.message)

    async def _let_git_end(self) -> None:
        """The doors are closed. What they cancelled gives its slots back and settles its push; a
        push that does not come so far is settled by the next start."""
        core = self.core
        core.governor.close()
        try:
            await within(core.runtime, CLEANUP_SECONDS, core.governor.idle())
        except TimeoutError:
            self.log.warn("{count} git processes did not end in time", count=core.governor.running)
        await core.pushes.drain(CLEANUP_SECONDS)

    def _stopping(self) -> None:
        self.health.stopping = True
        self.trpc.finish_up()
        self.rest.finish_up()

    async def greeting(self) -> str:
        """What is printed when all is up."""
        core, config = self.core, self.core.config
        lines = [f"wit {__version__} is running"]
        lines += [f"  HTTP     {address}" for address in self.http.addresses]
        lines += [f"  SSH      ssh://git@{address}" for address in self.ssh.addresses]
        lines += [f"  metrics  {address}/metrics" for address in self.metrics.addresses]
        lines.append(f"  data     {config.data_dir}")
        if not await core.users.count():
            command = os.path.join(os.path.dirname(sys.argv[0]) or ".", "wit")
            lines.append("There are no users yet. Make the first one:")
            lines.append(
                f"  {command} --data-dir {config.data_dir} user create NAME --email ADDRESS "
                "--password-stdin --admin"
            )
        return "\n".join(lines)


def changed(old: Config, new: Config) -> Iterator[str]:
    """The ``section.key`` of every setting that differs."""
    before, after = attrs.asdict(old), attrs.asdict(new)
    for section in before.keys() - {"data_dir"}:
        for key, value in before[section].items():
            if after[section][key] != value:
                yield f"{section}.{key}"


def needs_restart(key: str) -> bool:
    return key in FIXED or not key.startswith(RELOADABLE)


@attrs.define(eq=False)
class Process:
    """The daemon as a process of its own: signals, systemd, exit status. Not for ``start_server``.

    SIGTERM and SIGINT stop the tree and end with status 0, SIGHUP reloads; a part that cannot
    start ends with status 1 and its sentence, the last line on standard error.
    """

    daemon: Daemon
    reactor: Any
    environ: Mapping[str, str]
    set_log_level: Callable[[str], None]
    out: TextIO = attrs.field(factory=lambda: sys.stdout)
    error: TextIO = attrs.field(factory=lambda: sys.stderr)
    _reason: str = ""
    """Why it could not start."""
    _watchdog: LoopingCall | None = None

    def attach(self) -> None:
        """Call when the reactor runs: takes over the signals and waits for the tree."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        atexit.register(self._exit)
        started = self.daemon.tree.started
        started.addCallback(lambda _: Deferred.fromCoroutine(self._up()))
        started.addErrback(self._broken)

    async def _up(self) -> None:
        greeting = await self.daemon.greeting()
        sdnotify.ready(self.environ, greeting.splitlines()[0])
        seconds = sdnotify.watchdog_seconds(self.environ)
        if seconds:
            self._watchdog = LoopingCall(sdnotify.watchdog, self.environ)
            self._watchdog.clock = self.reactor
            self._watchdog.start(seconds)
        print(greeting, file=self.out, flush=True)

    def _broken(self, failure: Failure) -> None:
        if failure.check(CancelledError) and self.daemon.tree.stopping:
            return
        if isinstance(failure.value, WitError):
            self._reason = failure.value.message
            Daemon.log.critical("wit cannot start: {reason}", reason=self._reason)
        else:
            self._reason = f"cannot start: {failure.getErrorMessage()}"
            Daemon.log.failure("wit cannot start", failure)
        self._end()

    def _exit(self) -> None:
        """twistd ends with status 0 whatever happened; nothing but leaving like this changes it."""
        if self._reason:
            print(f"wit: {self._reason}", file=self.error, flush=True)
            os._exit(1)

    def _on_stop(self, number: int, frame: object) -> None:
        self.reactor.callFromThread(self._stop)

    def _stop(self) -> None:
        sdnotify.stopping(self.environ, "finishing running clones and pushes")
        self._end()

    def _end(self) -> None:
        with suppress(ReactorNotRunning):  # a second signal: the first one is at work
            self.reactor.stop()

    def _on_reload(self, number: int, frame: object) -> None:
        self.reactor.callFromThread(lambda: Deferred.fromCoroutine(self._reload()))

    async def _reload(self) -> None:
        if not self.daemon.tree.up:
            return
        sdnotify.reloading(self.environ)
        try:
            if await self.daemon.reload():
                self.set_log_level(self.daemon.config.log.level)
        except Exception:
            Daemon.log.failure("the reload failed")
        finally:
            sdnotify.ready(self.environ, "running")
