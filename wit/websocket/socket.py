"""One WebSocket: Autobahn's server protocol within our limits, and with back-pressure both ways."""

from __future__ import annotations

import json
from collections.abc import Callable
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any, Protocol

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import implementer

from wit.runtime import Runtime
from wit.websocket.messages import MAX_MESSAGE

HANDSHAKE_SECONDS = 5
PING_SECONDS = 20
PONG_SECONDS = 10
CLOSE_SECONDS = 10
"""Within which the other end must have read what was sent before a close, and answered it."""

MAX_REASON = 123
"""Bytes of a close's reason (RFC 6455, section 5.5)."""

SEND_BUFFER = 128 * 1024
"""Bytes that the kernel keeps of what was sent: more of it would only make a slow browser show the
past for longer, and its answers to pings come too late."""

GOING_AWAY = 1001


class Conversation(Protocol):
    """Who speaks over a socket."""

    def opened(self, socket: Socket) -> None: ...

    def received(self, payload: bytes, is_binary: bool) -> None: ...

    def stuck(self) -> None:
        """What is sent now is kept in memory: the other end does not read."""
        ...

    def flowing(self) -> None:
        """All that was sent is out."""
        ...

    def closed(self) -> None:
        """Called once, at the end of a connection that was opened."""
        ...


@implementer(IPushProducer)
class Socket(WebSocketServerProtocol):
    """Sending never fails: what is sent to one that is closing or gone is dropped."""

    transport: Any

    own_log = Logger()

    def __init__(
        self,
        conversation: Conversation,
        subprotocol: str | None,
        headers: dict[str, str],
        finished: Callable[[], None],
    ) -> None:
        super().__init__()
        self.conversation = conversation
        self.close_code = 1006
        """What this connection ended with, for the log."""
        self._subprotocol = subprotocol
        self._own_headers = headers
        self._finished = finished
        self._opened = False
        self._reading = True

    # sending

    def send_json(self, message: dict[str, Any]) -> None:
        if self.state == self.STATE_OPEN:
            text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
            self.sendMessage(text.encode())

    def send_bytes(self, data: bytes) -> None:
        if self.state == self.STATE_OPEN:
            self.sendMessage(data, True)

    def close(self, code: int, reason: str) -> None:
        """Say good-bye with a code of RFC 6455, section 7.4, and a sentence (cut to fit)."""
        if self.state == self.STATE_OPEN:
            self.close_code = code
            cut = reason.encode()[:MAX_REASON].decode("utf-8", "ignore")
            self.sendCloseFrame(code=code, reasonUtf8=cut.encode())

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Autobahn's way out. Its own prepares lines for a log, which take longer than the rest."""
        self.transport.write(data)

    # receiving

    def stop_reading(self) -> None:
        if self._reading and self.state == self.STATE_OPEN:
            self._reading = False
            self.transport.pauseProducing()

    def go_on_reading(self) -> None:
        if not self._reading:
            self._reading = True
            if self.state in (self.STATE_OPEN, self.STATE_CLOSING):
                self.transport.resumeProducing()

    # the transport's side

    def dataReceived(self, data: bytes) -> None:
        self._dataReceived(data)

    def pauseProducing(self) -> None:
        if self._opened:
            self.conversation.stuck()

    def resumeProducing(self) -> None:
        if self._opened:
            self.conversation.flowing()

    def stopProducing(self) -> None:
        """The connection is lost, which connectionLost tells as well."""

    # Autobahn's side

    def onConnect(self, request: Any) -> tuple[str | None, dict[str, str]]:
        return self._subprotocol, self._own_headers

    def onOpen(self) -> None:
        del self.http_request_data, self.http_response_data, self.http_headers
        self._opened = True
        if set_option := getattr(self.transport.getHandle(), "setsockopt", None):
            set_option(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER)  # TLS has no socket of its own
        self.transport.registerProducer(self, True)
        self.conversation.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        try:
            self.conversation.received(payload, isBinary)
        except Exception:
            self.own_log.failure("a WebSocket failed")
            self.close(1011, "internal error")

    def onAutoPingTimeout(self) -> None:
        """No answer to a ping; but none can come while we do not read."""
        if self._reading:
            super().onAutoPingTimeout()
        else:
            self._sendAutoPing()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        if self.localCloseCode is None and self.remoteCloseCode is not None:
            self.close_code = self.remoteCloseCode
        elif self.localCloseCode is not None:
            self.close_code = self.localCloseCode
        if self._opened:
            self._opened = False
            self.conversation.closed()
        self._finished()

    def finish_up(self) -> None:
        """The server stops."""
        self.close(GOING_AWAY, "the server is being restarted")


def make_factory(runtime: Runtime) -> WebSocketServerFactory:
    """What all sockets have in common. Origins are looked at before a socket is made."""
    factory = WebSocketServerFactory(reactor=runtime.reactor, server="")
    factory.setProtocolOptions(
        versions=[13],
        webStatus=False,
        maxFramePayloadSize=MAX_MESSAGE,
        maxMessagePayloadSize=MAX_MESSAGE,
        failByDrop=False,
        openHandshakeTimeout=HANDSHAKE_SECONDS,
        closeHandshakeTimeout=CLOSE_SECONDS,
        autoPingInterval=PING_SECONDS,
        autoPingTimeout=PONG_SECONDS,
        allowNullOrigin=True,
    )
    return factory
