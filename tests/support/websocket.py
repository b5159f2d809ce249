"""A WebSocket client (Autobahn's) that a test talks through, a message at a time."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint

_reactor: Any = reactor
SECONDS = 20.0


class Refused(Exception):
    """The upgrade was; the answer's first line is the message."""


class _Protocol(WebSocketClientProtocol):
    def onOpen(self) -> None:
        self.factory.events.put(("open", self.websocket_protocol_in_use))

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        value = payload if isBinary else json.loads(payload)
        self.factory.events.put(("bytes" if isBinary else "json", value))

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        self.factory.events.put(("close", (code, reason)))


class Client:
    """Open from the beginning; ``close`` it."""

    def __init__(
        self,
        port: int,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
    ) -> None:
        self.events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.seen = b""
        """Output: binary frames, or the text of ``data`` messages."""
        self.messages: list[dict[str, Any]] = []
        self.closed: tuple[int | None, str | None] | None = None
        self._protocol: Any = None
        _reactor.callFromThread(self._connect, port, path, dict(headers or {}), list(subprotocols))
        kind, value = self.events.get(timeout=SECONDS)
        if kind != "open":
            raise Refused(str(value))
        self.subprotocol = value

    def _connect(self, port: int, path: str, headers: Any, subprotocols: Any) -> None:
        factory: Any = WebSocketClientFactory(
            f"ws://127.0.0.1:{port}{path}",
            headers=headers,
            protocols=subprotocols,
            reactor=_reactor,
        )
        factory.events = self.events
        factory.noisy = False
        factory.protocol = _Protocol
        connected = TCP4ClientEndpoint(_reactor, "127.0.0.1", port).connect(factory)
        connected.addCallbacks(
            lambda protocol: setattr(self, "_protocol", protocol),
            lambda failure: self.events.put(("close", (None, str(failure.value)))),
        )

    # sending

    def send(self, **message: Any) -> None:
        self.send_raw(json.dumps(message).encode())

    def send_raw(self, payload: bytes, *, binary: bool = False) -> None:
        """Dropped when the server has closed meanwhile."""
        _reactor.callFromThread(self._send, payload, binary)

    def _send(self, payload: bytes, binary: bool) -> None:
        if self._protocol.state == self._protocol.STATE_OPEN:
            self._protocol.sendMessage(payload, binary)

    def type(self, data: bytes) -> None:
        self.send_raw(data, binary=True)

    def pause(self) -> None:
        """Read no more."""
        _reactor.callFromThread(lambda: self._protocol.transport.pauseProducing())

    def go_on(self) -> None:
        _reactor.callFromThread(lambda: self._protocol.transport.resumeProducing())

    def drop(self) -> None:
        """Vanish without a word."""
        _reactor.callFromThread(lambda: self._protocol.transport.abortConnection())
        self.until_closed()

    def close(self) -> None:
        if self.closed is None:
            _reactor.callFromThread(self._protocol.sendClose, 1000)
            self.until_closed()

    # receiving

    def step(self, seconds: float = SECONDS) -> bool:
        """Take the next event; false if it was the last."""
        kind, value = self.events.get(timeout=seconds)
        if kind == "bytes":
            self.seen += value
        elif kind == "json":
            self.messages.append(value)
            if value.get("type") == "data":
                self.seen += value["data"].encode()
        else:
            self.closed = value
            return False
        return True

    def until(self, condition: Callable[[], Any]) -> Any:
        """Go on until ``condition()``; fails if the connection ends before."""
        while not (value := condition()):
            assert self.step(), f"closed {self.closed}: {self.messages[-2:]} {self.seen[-200:]!r}"
        return value

    def until_seen(self, text: bytes) -> None:
        self.until(lambda: text in self.seen)

    def until_message(self, **wanted: Any) -> dict[str, Any]:
        """The first message not taken before that has these fields."""

        def found() -> dict[str, Any] | None:
            for number, message in enumerate(self.messages):
                if all(message.get(name) == value for name, value in wanted.items()):
                    del self.messages[number]
                    return message
            return None

        return self.until(found)  # type: ignore[no-any-return]

    def until_closed(self) -> tuple[int | None, str | None]:
        while self.closed is None:
            self.step()
        return self.closed
