"""The way out of a sandbox whose network is ``restricted``: an HTTP proxy with an allow-list.

It listens on the sandbox's own 127.0.0.1 and knows CONNECT (RFC 9110, section 9.3.6) and plain
requests in absolute form (RFC 9112, section 3.2.2). A host that is not on the list, or whose
addresses are not of the public internet, is refused with a sentence that says so; connections go
to the address that was looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from wit.addresses import resolve_public
from wit.errors import WitError
from wit.runtime import Runtime

HEAD_BYTES = 16 * 1024
HEAD_SECONDS = 15.0
CONNECT_SECONDS = 15.0
MAX_CONNECTIONS = 64
"""Of one sandbox."""
PORTS = (80, 443)

_HOP_BY_HOP = (b"connection", b"proxy-connection", b"proxy-authorization", b"keep-alive")

log = Logger()


@attrs.frozen
class Target:
    host: str
    port: int
    first: bytes
    """What the host is sent first: nothing, or a plain request."""
    tunnel: bool


class Refusal(Exception):
    """``status`` with its words, and a sentence."""

    def __init__(self, status: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


def is_allowed(allow: Sequence[str], host: str, port: int) -> bool:
    """Whether the list names the host: ``example.org``, ``*.example.org`` (below it, not itself),
    with ``:PORT`` for other ports than 80 and 443."""
    host = host.lower().rstrip(".")
    for entry in allow:
        pattern, _, wanted = entry.partition(":")
        if int(wanted) != port if wanted else port not in PORTS:
            continue
        if host == pattern or (pattern.startswith("*.") and host.endswith(pattern[1:])):
            return True
    return False


def parse(head: bytes) -> Target:
    """A request's head, without the empty line. Raises Refusal."""
    lines = head.split(b"\r\n")
    try:
        method, target, version = lines[0].decode("ascii").split(" ")
    except ValueError:
        raise Refusal("400 Bad Request", "this is not an HTTP request") from None
    if method == "CONNECT":
        host, port = _host_and_port(target, None)
        return Target(host, port, b"", tunnel=True)
    if not target.startswith("http://"):
        raise Refusal("400 Bad Request", "this proxy takes CONNECT, and http:// addresses")
    authority, _, path = target.removeprefix("http://").partition("/")
    host, port = _host_and_port(authority, 80)
    kept = [
        line for line in lines[1:] if line.partition(b":")[0].strip().lower() not in _HOP_BY_HOP
    ]
    first = b"\r\n".join(
        [f"{method} /{path} {version}".encode(), *kept, b"Connection: close", b"", b""]
    )
    return Target(host, port, first, tunnel=False)


def _host_and_port(authority: str, default: int | None) -> tuple[str, int]:
    host, colon, port = authority.rpartition(":")
    if not colon or authority.endswith("]"):
        host, port = authority, str(default or "")
    host = host.strip("[]")
    if not host or "@" in host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise Refusal("400 Bad Request", f"{authority[:100]!r} is no host and port")
    return host, int(port)


class _Relay(Protocol):
    """One side of a connection: what comes in goes out at ``peer``, as fast as that takes it."""

    transport: Any
    peer: _Relay | None = None

    def dataReceived(self, data: bytes) -> None:
        if self.peer is not None:
            self.peer.transport.write(data)

    def join(self, peer: _Relay) -> None:
        self.peer, peer.peer = peer, self
        self.transport.registerProducer(peer.transport, True)
        peer.transport.registerProducer(self.transport, True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        peer, self.peer = self.peer, None
        if peer is not None:
            peer.peer = None
            peer.transport.unregisterProducer()
            peer.transport.loseConnection()


class ProxyProtocol(_Relay):
    """A client in the sandbox."""

    def __init__(self, factory: ProxyFactory) -> None:
        self._factory = factory
        self._received = b""
        self._work: Deferred[None] | None = None
        self._timer: Any = None

    def connectionMade(self) -> None:
        self._factory.connections.add(self)
        self._timer = self._factory.runtime.reactor.callLater(
            HEAD_SECONDS, self.transport.abortConnection
        )
        if len(self._factory.connections) > MAX_CONNECTIONS:
            self._refuse(Refusal("503 Service Unavailable", "too many connections at once"))

    def dataReceived(self, data: bytes) -> None:
        if self.peer is not None:
            super().dataReceived(data)
            return
        self._received += data
        if self._work is None:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            if end:
                self._received = rest
                self.transport.pauseProducing()
                self._work = Deferred.fromCoroutine(self._serve(head))
            elif len(self._received) > HEAD_BYTES:
                self._refuse(Refusal("431 Request Header Fields Too Large", "too long a request"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._factory.connections.discard(self)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._work is not None:
            self._work.cancel()
        super().connectionLost(reason)

    async def _serve(self, head: bytes) -> None:
        try:
            target = parse(head)
            remote = await self._factory.connect(target)
        except Refusal as refusal:
            self._refuse(refusal)
            return
        except CancelledError:
            return
        if self._timer.active():
            self._timer.cancel()
        self.join(remote)
        if target.tunnel:
            self.transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        remote.transport.write(target.first + self._received)
        self._received = b""
        self.transport.resumeProducing()

    def _refuse(self, refusal: Refusal) -> None:
        body = f"wit sandbox: {refusal}\n".encode()
        self.transport.write(
            f"HTTP/1.1 {refusal.status}\r\nContent-Type: text/plain; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nX-Wit-Refused: {refusal}\r\n"
            "Connection: close\r\n\r\n".encode("ascii", "replace")
            + body
        )
        self.transport.loseConnection()


class ProxyFactory(Factory):
    """The proxy of one sandbox."""

    noisy = False

    def __init__(self, runtime: Runtime, allow: Sequence[str]) -> None:
        self.runtime = runtime
        self.allow = allow
        self.connections: set[ProxyProtocol] = set()

    def buildProtocol(self, address: object) -> ProxyProtocol:
        return ProxyProtocol(self)

    async def connect(self, target: Target) -> _Relay:
        """A connection to where the request wants to go. Raises Refusal."""
        if not is_allowed(self.allow, target.host, target.port):
            raise Refusal(
                "403 Forbidden",
                f"{target.host}:{target.port} is not on this server's list of hosts that sandboxes "
                "may reach (sandboxes.local.allow)",
            )
        try:
            addresses = await resolve_public(self.runtime, target.host, target.port)
        except WitError as error:
            raise Refusal("403 Forbidden", error.message) from None
        for address in addresses:
            endpoint = HostnameEndpoint(
                self.runtime.reactor, address, target.port, timeout=CONNECT_SECONDS
            )
            try:
                relay: _Relay = await connectProtocol(endpoint, _Relay())
                return relay
            except CancelledError:
                raise
            except Exception as error:
                log.debug("{host} does not answer: {error}", host=target.host, error=error)
        raise Refusal("502 Bad Gateway", f"{target.host}:{target.port} does not answer")

    def close(self) -> None:
        """End all connections."""
        for connection in list(self.connections):
            connection.transport.abortConnection()
