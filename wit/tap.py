"""``twistd wit``: the command line of the daemon, and the service it makes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.logger import ILogObserver
from twisted.python import usage
from twisted.python.components import Componentized

from wit import __version__, config_sources, log
from wit.config import Config
from wit.errors import ConfigError
from wit.services import Tree


class Options(usage.Options):
    """Flags are the last word: defaults < wit.toml < environment < flags."""

    synopsis = "[--data-dir DIR] [--http ENDPOINT]... [--ssh ENDPOINT|none]..."
    longdesc = (
        "Serves git repositories over HTTP and SSH. Without any option: data in ./var if that "
        "exists, else in ~/.wit. Every setting is explained in DIR/wit.toml, which the first start "
        "writes."
    )
    optParameters = [
        ["data-dir", "d", None, "Folder of the database, repositories, keys and wit.toml"],
        ["database", None, None, "postgresql://... instead of the SQLite file in the data folder"],
        ["log-level", None, None, "debug, info, warn, error or critical"],
        ["log-format", None, None, "text or json"],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["http"], self["ssh"], self["metrics"] = [], [], []

    def opt_http(self, endpoint: str) -> None:
        """Serve HTTP on this Twisted endpoint string; may be repeated"""
        self["http"].append(endpoint)

    def opt_ssh(self, endpoint: str) -> None:
        """Serve SSH on this endpoint string, or 'none'; may be repeated"""
        self["ssh"].append(endpoint)

    def opt_metrics(self, endpoint: str) -> None:
        """Serve Prometheus metrics on this endpoint string, or 'none'; may be repeated"""
        self["metrics"].append(endpoint)

    def opt_version(self) -> None:
        """Print wit's version"""
        print(f"wit {__version__}")
        raise SystemExit(0)

    def load(self, *, write_default: bool = False) -> Config:
        """Read the configuration from all its sources. Raises ConfigError."""
        return config_sources.load(
            Path(self["data-dir"]) if self["data-dir"] else None,
            {
                name: self[name]
                for name in ("http", "ssh", "metrics", "database", "log-level", "log-format")
            },
            os.environ,
            write_default=write_default,
        )

    def postOptions(self) -> None:
        try:
            config = self.load(write_default=True)
        except ConfigError as error:
            raise SystemExit(f"wit: {error.message}") from None
        parent: Any = self.parent or {}
        self["config"] = config
        self["observer"] = log.observer(config.log, log.open_stream(parent.get("logfile")))


class Root(MultiService):
    """Holds the tree, and gives twistd wit's own log as that of the application."""

    def __init__(self, tree: Tree, observer: log.LineObserver) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._observer = observer
        tree.setServiceParent(self)  # type: ignore[no-untyped-call]

    def setServiceParent(self, parent: Any) -> None:
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]


def makeService(options: Options) -> MultiService:
    """The service tree of wit; see :mod:`wit.daemon`."""
    from twisted.internet import reactor

    from wit.core import Core
    from wit.daemon import Daemon, Process
    from wit.git.process import seal_descriptors
    from wit.runtime import Runtime

    seal_descriptors()
    observer = options["observer"]
    try:
        core = Core(options["config"], Runtime(reactor))
    except ConfigError as error:
        raise SystemExit(f"wit: {error.message}") from None
    daemon = Daemon(core, reload=options.load)
    process = Process(daemon, reactor, os.environ, observer.set_level)
    reactor.callWhenRunning(process.attach)  # type: ignore[attr-defined]
    return Root(daemon.tree, observer)
