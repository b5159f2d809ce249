"""A WebSocket to Daytona (RFC 6455), read only as fast as its reader takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IPushProducer
from twisted.internet.ssl import optionsForClientTLS
from zope.interface import implementer

from wit.errors import Unavailable
from wit.runtime import Runtime
from wit.sandboxes.daytona.wire import CONNECT_SECONDS, socket_headers

MAX_MESSAGE = 4 * 1024 * 1024
PING_SECONDS = 20.0
"""Proxies close what is silent; an answer is not insisted on, since we may not be reading."""


class Socket(WebSocketClientProtocol):  # type: ignore[misc]
    """One connection. Its owner sets ``received`` and ``closed`` before it opens."""

    transport: Any
    received: Callable[[bytes, bool], None]
    """Called with each message and whether it is binary."""
    closed: Callable[[int, str], None]
    """Called once, with the close code (1006: without one) and the reason."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: Deferred[None] = Deferred()
        self._paused = False
        self._gate = _Gate()

    def onOpen(self) -> None:
        self.registerProducer(self._gate, True)
        if not self.opened.called:
            self.opened.callback(None)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.received(payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self._gate.resumeProducing()
        if not self.opened.called:
            self.opened.errback(Unavailable("Daytona refused a connection; try again later"))
            return
        self.closed(code or 1006, reason or "")

    def send(self, data: bytes) -> None:
        """A binary message; nothing when the connection is closing."""
        if self.state == self.STATE_OPEN:
            self.sendMessage(data, isBinary=True)  # type: ignore[no-untyped-call]

    async def drained(self) -> None:
        """Wait while what was sent waits for the network."""
        await self._gate.passed()

    def pause(self) -> None:
        if not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        if self._paused and self.transport is not None:
            self._paused = False
            self.transport.resumeProducing()

    def drop(self) -> None:
        """Be done with it; ``closed`` is not called any more."""
        self.closed = _nobody
        self.resume()
        if self.transport is not None:
            self.transport.abortConnection()


@implementer(IPushProducer)
class _Gate:
    """Shut by the transport while it holds much that is not sent."""

    def __init__(self) -> None:
        self._shut = False
        self._waiting: list[Deferred[None]] = []

    async def passed(self) -> None:
        while self._shut:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            await waiting

    def pauseProducing(self) -> None:
        self._shut = True

    def resumeProducing(self) -> None:
        self._shut = False
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.called:
                one.callback(None)

    def stopProducing(self) -> None:
        self.resumeProducing()


def _nobody(code: int, reason: str) -> None:
    return None


async def connect(
    runtime: Runtime,
    url: str,
    key: str,
    received: Callable[[bytes, bool], None],
    closed: Callable[[int, str], None],
    *,
    protocols: Sequence[str] = (),
) -> Socket:
    """Open a WebSocket to an ``https`` (or ``http``) address. Raises Unavailable."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    scheme = "wss" if secure else "ws"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    make_factory: Any = WebSocketClientFactory
    factory = make_factory(
        f"{scheme}{url[len(parts.scheme) :]}",
        headers=socket_headers(key),
        protocols=list(protocols),
        reactor=runtime.reactor,
    )
    factory.protocol = Socket
    factory.setProtocolOptions(
        openHandshakeTimeout=CONNECT_SECONDS,
        closeHandshakeTimeout=2,
        maxMessagePayloadSize=MAX_MESSAGE,
        maxFramePayloadSize=MAX_MESSAGE,
        autoPingInterval=PING_SECONDS,
        autoPingTimeout=0,
        tcpNoDelay=True,
    )
    endpoint: Any = HostnameEndpoint(runtime.reactor, host, port, timeout=CONNECT_SECONDS)
    if secure:
        endpoint = wrapClientTLS(optionsForClientTLS(host), endpoint)
    try:
        socket: Socket = await endpoint.connect(factory)
    except (OSError, ConnectError) as error:
        raise Unavailable("Daytona does not answer; try again later") from error
    socket.received, socket.closed = received, closed
    try:
        await socket.opened
    except CancelledError:
        socket.drop()
        raise
    return socket
