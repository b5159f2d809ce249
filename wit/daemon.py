"""The running daemon: the service tree around a Core, its signals, and what it says at the start.

The tree, in the order of its starts; stops go the other way round, each one awaited:

    database      migrations, pool
    repositories  what unfinished pushes and moves left behind is settled; pack cache
    events        journal -> handlers
    jobs          the durable queue, housekeeping
    doors         http and ssh: both stop accepting at once and finish their work side by side
    metrics       their own endpoint; the tick time
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

import attrs
from klein import Klein
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from wit import __version__, sdnotify
from wit.config import Config
from wit.core import Core
from wit.errors import ConfigError, WitError
from wit.services import Hooks, Part, Tree
from wit.ssh.service import SshService
from wit.web.klein_door import KleinDoor
from wit.web.metrics_site import make_metrics_site
from wit.web.routes.git import GitDoor
from wit.web.routes.health import Health
from wit.web.routes.repos import add_routes
from wit.web.service import HttpService
from wit.web.site import WebSite
from wit.web.ticks import Ticks

Reload = Callable[[], Config]
"""Reads the configuration again; raises ConfigError."""


class Together:
    """Several parts that start one after the other and stop side by side."""

    def __init__(self, *parts: Part) -> None:
        self._parts = parts

    async def start(self) -> None:
        for part in self._parts:
            await part.start()

    async def stop(self) -> None:
        await gatherResults(
            [Deferred.fromCoroutine(part.stop()) for part in self._parts], consumeErrors=True
        )


class Daemon:
    """A Core, its doors, and the tree that runs them."""

    log = Logger()

    def __init__(self, core: Core, reload: Reload | None = None) -> None:
        config, runtime, metrics = core.config, core.runtime, core.metrics
        self.core = core
        self._reload = reload
        self.health = Health(config, runtime, metrics, core.db)
        app = Klein()
        add_routes(app, core.gate, core.credentials, core.sync.run)
        git_door = GitDoor(core.traffic, core.credentials, config, metrics)
        self.site = WebSite(
            [git_door.route, self.health.route(), KleinDoor(app).route],
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
        self.ssh = SshService(config, runtime, core.credentials, core.traffic, metrics)
        self.metrics = HttpService(
            make_metrics_site(metrics, runtime, self.health.problems),
            config.metrics.listen,
            runtime,
            name="metrics",
        )
        self.tree = Tree(
            [
                ("database", Hooks(core.open, core.close)),
                (
                    "repositories",
                    Together(
                        core.pack_cache, core.pushes, Hooks(self._start_notes, core.last_use.stop)
                    ),
                ),
                ("events", core.events),
                ("jobs", Together(core.jobs, core.housekeeping)),
                ("doors", Together(self.http, self.ssh)),
                (
                    "metrics",
                    Together(
                        Hooks(self._start_metrics, self.metrics.stop),
                        Ticks(runtime.reactor, metrics),
                    ),
                ),
            ]
        )

    async def reload(self) -> None:
        """SIGHUP: TLS files, host keys and the reloadable settings. What cannot be read stays."""
        try:
            config = self._reload() if self._reload is not None else self.core.config
            self.http.reload_tls()
            await self.ssh.reload(config)
        except (WitError, OSError) as error:
            self.log.error("reload: {error}; the old settings stay in use", error=str(error))
            return
        self.site.limits = config.server
        self.log.info("reloaded the configuration, TLS files and host keys")

    async def _start_notes(self) -> None:
        self.core.last_use.start()

    async def _start_metrics(self) -> None:
        """A taken metrics port is no reason not to serve git."""
        try:
            await self.metrics.start()
        except ConfigError as error:
            self.log.warn("metrics are off: {error}", error=error.message)

    def _stopping(self) -> None:
        self.health.stopping = True

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


@attrs.define
class Process:
    """The daemon as a process of its own: signals, systemd, exit status. Not for ``start_server``.

    SIGTERM and SIGINT stop the tree and end with status 0, SIGHUP reloads; a part that cannot
    start ends with status 1 and its sentence on standard error.
    """

    daemon: Daemon
    reactor: Any
    environ: Mapping[str, str]
    set_log_level: Callable[[str], None]
    out: TextIO = attrs.field(factory=lambda: sys.stdout)
    failed: bool = False
    _watchdog: LoopingCall | None = None

    def attach(self) -> None:
        """Call when the reactor runs: takes over the signals and waits for the tree."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGHUP, self._on_reload)
        self.daemon.tree.started.addCallbacks(self._up, self._broken)

    def _up(self, _: None) -> Deferred[None]:
        async def tell() -> None:
            greeting = await self.daemon.greeting()
            print(greeting, file=self.out, flush=True)
            sdnotify.ready(self.environ, greeting.splitlines()[0])
            seconds = sdnotify.watchdog_seconds(self.environ)
            if seconds:
                self._watchdog = LoopingCall(sdnotify.watchdog, self.environ)
                self._watchdog.start(seconds)

        return Deferred.fromCoroutine(tell())

    def _broken(self, failure: Any) -> None:
        self.failed = True
        if failure.check(WitError):
            print(f"wit: {failure.value.message}", file=sys.stderr, flush=True)
        else:
            Daemon.log.failure("wit could not start", failure)
            print(f"wit: cannot start: {failure.getErrorMessage()}", file=sys.stderr, flush=True)
        atexit.register(os._exit, 1)  # twistd itself would end with 0
        self.reactor.stop()

    def _on_stop(self, number: int, frame: object) -> None:
        self.reactor.callFromThread(self._stop)

    def _stop(self) -> None:
        sdnotify.stopping(self.environ, "finishing running clones and pushes")
        if self.reactor.running:
            try:
                self.reactor.stop()
            except Exception:  # a second signal while stopping: the first one is at work
                Daemon.log.debug("already stopping")

    def _on_reload(self, number: int, frame: object) -> None:
        self.reactor.callFromThread(self._reload)

    def _reload(self) -> None:
        async def reload() -> None:
            sdnotify.reloading(self.environ)
            await self.daemon.reload()
            sdnotify.ready(self.environ, "reloaded")

        Deferred.fromCoroutine(reload()).addErrback(
            lambda failure: Daemon.log.failure("reload failed", failure)
        )
