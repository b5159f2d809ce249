"""A site without a network, on a clock that the test moves; and a site on a loopback port."""

# mypy: disable-error-code="no-untyped-call"
from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from wit.config import Server
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.web.channel import Channel
from wit.web.site import Route, WebSite
from wit.web.streaming import Handler, Request


def route_to(handler: Handler) -> list[Route]:
    return [lambda request: handler]


class Wire(StringTransport):
    """A transport in memory that remembers how it was ended."""

    def __init__(self) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", "192.0.2.7", 4711))
        self.half_closed = False
        self.aborted = False

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True
        super().abortConnection()

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass


class Offline:
    """Connections to ``handler`` in memory; ``clock`` is the only time there is."""

    def __init__(self, handler: Handler, limits: Server | None = None) -> None:
        self.clock = Clock()
        self.site = WebSite(route_to(handler), limits or Server(), Runtime(self.clock), Metrics())
        self.site.doStart()

    def connect(self) -> tuple[Channel, Wire]:
        channel = self.site.buildProtocol(None)
        assert channel is not None
        wire = Wire()
        channel.makeConnection(wire)
        return channel, wire

    def advance(self, seconds: int) -> None:
        """Second by second, as the reactor would."""
        self.clock.pump([1.0] * seconds)


def lose(channel: Channel) -> None:
    channel.connectionLost(Failure(ConnectionDone()))


class Online:
    """A site on a loopback port, and raw sockets to it."""

    def __init__(self, port: int, site: WebSite) -> None:
        self.port = port
        self.site = site
        self.url = f"http://127.0.0.1:{port}"

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def exchange(self, data: bytes) -> bytes:
        """Send ``data``, and read until the server closes."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_to_end(connection)


def read_to_end(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def read_until(connection: socket.socket, mark: bytes) -> bytes:
    data = b""
    while mark not in data:
        part = connection.recv(65536)
        assert part, f"closed after {data!r}"
        data += part
    return data


@contextmanager
def online(
    run: Callable[[Any], Any],
    runtime: Runtime,
    routes: list[Route],
    limits: Server | None = None,
    metrics: Metrics | None = None,
) -> Iterator[Online]:
    site = WebSite(routes, limits or Server(), runtime, metrics or Metrics())

    async def listen() -> Any:
        endpoint = serverFromString(runtime.reactor, "tcp:0:interface=127.0.0.1")
        return await endpoint.listen(site)

    async def close() -> None:
        await port.stopListening()
        site.finish_up()
        site.abort_all()
        while site.connections:
            await runtime.sleep(0.01)

    port = run(listen())
    try:
        yield Online(port.getHost().port, site)
    finally:
        run(close())


async def say_hello(request: Request) -> None:
    request.answer(200, "text/plain", b"hello " + request.path + b"\n")
