"""Makes a transport for each connection, within the limits; what all connections share."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger

from wit.access.actor import ANONYMOUS, Actor
from wit.config import Config
from wit.latch import Latch
from wit.metrics import Metrics
from wit.repositories.traffic import RequestInfo, Service
from wit.runtime import Runtime
from wit.ssh.host_keys import HostKeys
from wit.ssh.sandbox import Sandboxes, Terminals
from wit.ssh.transport import FAREWELL_SECONDS, SshTransport
from wit.streams import ByteSink, ByteSource

MAX_SIGNING_IN = 256
"""Connections that may be signing in at once; ``ssh.max_connections`` if that is less."""

PATIENCE_SECONDS = 5.0
"""When all places are taken, one that has been signing in for longer than this is given away."""


class KeyOwners(Protocol):
    """What the door asks of :class:`wit.accounts.credentials.Credentials`."""

    async def ssh_key(self, blob: bytes) -> Actor | None: ...

    def ssh_key_used(self, actor: Actor) -> None: ...


class Session(Protocol):
    """What the door asks of :class:`wit.repositories.traffic.GitSession`."""

    async def serve_session(self, protocol: int, source: ByteSource, sink: ByteSink) -> None: ...


class Traffic(Protocol):
    """What the door asks of :class:`wit.repositories.traffic.GitTraffic`."""

    def open(
        self, actor: Actor, path: str, service: Service, request: RequestInfo
    ) -> Awaitable[Session]: ...


class Refusal(TwistedProtocol):
    """A connection over the limit: a line of text (RFC 4253, section 4.2), and the end."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._timer: Any = None

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"wit: too many connections, try again in a minute\r\n")
        self.transport.loseConnection()
        self._timer = self._reactor.callLater(FAREWELL_SECONDS, self._cut)

    def _cut(self) -> None:
        self.transport.abortConnection()  # type: ignore[union-attr]

    def connectionLost(self, reason: Any = None) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


class SshFactory(Factory[Any]):
    """One for all endpoints."""

    noisy = False
    _log = Logger()

    def __init__(
        self,
        config: Config,
        runtime: Runtime,
        *,
        credentials: KeyOwners,
        traffic: Traffic,
        metrics: Metrics,
        host_keys: HostKeys,
        sandboxes: Sandboxes | None = None,
        terminals: Terminals | None = None,
    ) -> None:
        """Without ``sandboxes`` and ``terminals``, there is only git."""
        self.config = config
        self.runtime = runtime
        self.credentials = credentials
        self.traffic = traffic
        self.sandboxes = sandboxes
        self.terminals = terminals
        self.host_keys = host_keys
        """Those of the connections to come."""
        self.requests = metrics.requests
        self.bytes_sent = metrics.bytes_sent.labels("ssh")
        self.bytes_received = metrics.bytes_received.labels("ssh")
        self.connections: set[SshTransport] = set()
        self.tasks: set[Deferred[None]] = set()
        """The commands that are running, or still cleaning up."""
        self._signing_in: dict[SshTransport, None] = {}
        self._idle = Latch()
        self._open = metrics.open_connections.labels("ssh")

    def buildProtocol(self, addr: IAddress | None) -> TwistedProtocol:
        if not self._has_place():
            return Refusal(self.runtime.reactor)
        connection = SshTransport(self.host_keys, getattr(addr, "host", "local"))
        connection.factory = self
        self.connections.add(connection)
        self._signing_in[connection] = None
        self._open.inc()
        return connection

    def _has_place(self) -> bool:
        limit = self.config.ssh.max_connections
        if len(self.connections) >= limit:
            return False
        if len(self._signing_in) < min(limit, MAX_SIGNING_IN):
            return True
        oldest = next(iter(self._signing_in))
        if oldest.started > self.runtime.reactor.seconds() - PATIENCE_SECONDS:
            return False
        del self._signing_in[oldest]
        oldest.loseConnection()
        return True

    def signed_in(self, connection: SshTransport) -> None:
        self._signing_in.pop(connection, None)

    def connection_lost(self, connection: SshTransport) -> None:
        self._signing_in.pop(connection, None)
        self.connections.discard(connection)
        self._open.dec()
        self._tell_if_idle()

    def running(self, task: Deferred[None]) -> None:
        """Remember ``task`` until it has ended."""

        def ended(_: object) -> None:
            self.tasks.discard(task)
            self._tell_if_idle()

        self.tasks.add(task)
        task.addBoth(ended)

    async def wait_until_idle(self, seconds: float) -> bool:
        """Whether no connection is open and no command running, after ``seconds`` at the latest."""
        self._idle = Latch()
        self._tell_if_idle()
        return await self._idle.wait_at_most(seconds, self.runtime.reactor)

    def _tell_if_idle(self) -> None:
        if not (self.connections or self.tasks):
            self._idle.open()

    async def owner(self, key: bytes) -> Actor | None:
        """Who signs in with this key, as of now. Raises Forbidden for a suspended user's."""
        actor = await self.credentials.ssh_key(key)
        if actor is None and self.config.ssh.anonymous_read:
            return ANONYMOUS
        return actor
