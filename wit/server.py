"""wit for programs: ``server = await start_server(ServerOptions(...))``, ``await server.stop()``.

The shape is that of the documentation page of wit 2.0; the tree is the one of ``twistd wit``. The
caller runs the reactor and owns the signals.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import CancelledError

from wit import config_sources
from wit.accounts.ssh_keys import KeyManager
from wit.config import Config
from wit.core import Core
from wit.daemon import Daemon
from wit.repositories.manager import RepoManager
from wit.runtime import Runtime
from wit.ssh.service import SshService
from wit.web.site import WebSite


@attrs.frozen
class SshOptions:
    """SSH is off unless ``enabled``."""

    enabled: bool = False
    port: int = 22
    host: str | None = None
    """Bind address; the HTTP server's by default."""
    host_key_paths: Sequence[str] = ()
    allow_anonymous_read: bool = False
    banner: str = ""


@attrs.frozen
class ServerOptions:
    """What a program may say; everything else is as in :class:`wit.config.Config`.

    ``settings`` are further keys such as ``{"git.max_processes": 4}``.
    """

    port: int
    repos_dir: str
    verbose: bool = False
    host: str = "0.0.0.0"  # noqa: S104 - the documented default
    data_dir: str | None = None
    """Keys, database and cache; ``.wit-server`` in the repository folder by default."""
    ssh: SshOptions = SshOptions()
    settings: dict[str, object] = attrs.Factory(dict)

    def config(self) -> Config:
        """Raises ConfigError."""
        repos_dir = Path(self.repos_dir).absolute()
        ssh: list[str] = ["none"]
        if self.ssh.enabled:
            ssh = [_endpoint(self.ssh.port, self.ssh.host or self.host)]
        flags: dict[str, object] = {
            "server.http": [_endpoint(self.port, self.host)],
            "ssh.listen": ssh,
            "ssh.host_keys": list(self.ssh.host_key_paths),
            "ssh.anonymous_read": self.ssh.allow_anonymous_read,
            "ssh.banner": self.ssh.banner,
            "repositories.dir": str(repos_dir),
            "metrics.listen": ["none"],
            "log.level": "debug" if self.verbose else "info",
        }
        data_dir = Path(self.data_dir) if self.data_dir else repos_dir / ".wit-server"
        return config_sources.load(data_dir, flags | self.settings, {}, write_default=False)


@attrs.frozen
class WitServer:
    """A running server."""

    daemon: Daemon

    @property
    def app(self) -> WebSite:
        """The HTTP site."""
        return self.daemon.site

    @property
    def addresses(self) -> list[str]:
        """Where HTTP listens, as URLs."""
        return list(self.daemon.http.addresses)

    @property
    def repo_manager(self) -> RepoManager:
        return self.daemon.core.repos

    @property
    def ssh_server(self) -> SshService | None:
        return self.daemon.ssh if self.daemon.ssh.addresses else None

    @property
    def key_manager(self) -> KeyManager:
        return self.daemon.core.keys

    async def stop(self) -> None:
        """Stop accepting, let running work finish, and stop every part."""
        await self.daemon.tree.stopService()


async def start_server(options: ServerOptions, reactor: Any = None) -> WitServer:
    """Start everything and return when it serves.

    Raises ConfigError (a wrong option, a taken port) and DatabaseUnavailable; nothing runs then.
    """
    if reactor is None:
        from twisted.internet import reactor
    daemon = Daemon(Core(options.config(), Runtime(reactor)))
    daemon.tree.startService()
    try:
        await daemon.tree.started
    except CancelledError:
        await daemon.tree.stopService()
        raise
    return WitServer(daemon)


def _endpoint(port: int, host: str) -> str:
    return f"tcp:{port}:interface={host.replace(':', chr(92) + ':')}"
