"""The SSH part of the service tree: endpoints, host keys, and an orderly end."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from wit.config import Config
from wit.errors import ConfigError
from wit.listening import listening_endpoint
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.ssh.factory import KeyOwners, SshFactory, Traffic
from wit.ssh.host_keys import load_host_keys, make_host_keys
from wit.ssh.sandbox import Sandboxes, Terminals

CLEANUP_SECONDS = 10.0
"""How long commands that were cut off may take to clean up when the service stops."""


class SshService:
    """Listens on the endpoints of ``config.ssh.listen``; with none of them, it does nothing."""

    _log = Logger()

    def __init__(
        self,
        config: Config,
        runtime: Runtime,
        credentials: KeyOwners,
        traffic: Traffic,
        metrics: Metrics,
        *,
        sandboxes: Sandboxes | None = None,
        terminals: Terminals | None = None,
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._make_factory = partial(
            SshFactory,
            runtime=runtime,
            credentials=credentials,
            traffic=traffic,
            metrics=metrics,
            sandboxes=sandboxes,
            terminals=terminals,
        )
        self._factory: SshFactory | None = None
        self._ports: list[Any] = []

    @property
    def addresses(self) -> list[str]:
        """Where it listens, as ``host:port`` or the path of a unix socket."""
        return [_text(port.getHost()) for port in self._ports]

    async def start(self) -> None:
        """Make and load the host keys, and listen. Raises ConfigError."""
        names = [name for name in self._config.ssh.listen if name.lower() != "none"]
        if not names:
            return
        for path in await self._runtime.in_thread(make_host_keys, self._config):
            self._log.info("made the SSH host key {path}", path=str(path))
        host_keys = await self._runtime.in_thread(load_host_keys, self._config)
        self._factory = self._make_factory(self._config, host_keys=host_keys)
        try:
            for name in names:
                self._ports.append(await self._listen(name, self._factory))
        except BaseException:
            await self._stop_listening()
            raise

    async def _listen(self, name: str, factory: SshFactory) -> Any:
        try:
            endpoint = listening_endpoint(self._runtime.reactor, name)
        except (ValueError, TypeError, LookupError) as error:
            raise ConfigError(
                f"ssh.listen: {name!r} is not an endpoint such as tcp:2222: {error}"
            ) from None
        try:
            return await endpoint.listen(factory)
        except CannotListenError as error:
            raise ConfigError(f"ssh.listen: cannot listen on {name!r}: {error}") from None

    async def reload(self, config: Config) -> None:
        """Take over new settings and the host keys as they are now, for connections to come.

        Raises ConfigError; everything stays as it was then. Endpoints do not change.
        """
        factory = self._factory
        if factory is not None:
            factory.host_keys = await self._runtime.in_thread(load_host_keys, config)
            factory.config = config
        self._config = config

    async def stop(self) -> None:
        """Stop listening, let commands run on for ``server.grace_seconds``, then end them.

        Returns when all of them have cleaned up.
        """
        await self._stop_listening()
        factory, self._factory = self._factory, None
        if factory is None:
            return
        for connection in list(factory.connections):
            connection.drain()
        await self._until_idle(factory, self._config.server.grace_seconds)
        for connection in list(factory.connections):
            connection.loseConnection()
        await self._until_idle(factory, CLEANUP_SECONDS)

    async def _until_idle(self, factory: SshFactory, seconds: float) -> None:
        """Wait until every connection is closed and every command ended, or the time is over."""
        if not await factory.wait_until_idle(seconds):
            self._log.info(
                "{connections} ssh connections and {commands} commands are still open",
                connections=len(factory.connections),
                commands=len(factory.tasks),
            )

    async def _stop_listening(self) -> None:
        ports, self._ports = self._ports, []
        for port in ports:
            await port.stopListening()


def _text(address: Any) -> str:
    if hasattr(address, "host"):
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"{host}:{address.port}"
    name = address.name
    return name.decode() if isinstance(name, bytes) else str(name)
