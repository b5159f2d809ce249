"""Requests to E2B: TLS verified, limits on time and size, nothing followed or unpacked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    PotentialDataLoss,
    RequestGenerationFailed,
    RequestNotSent,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IResponse

from wit.git.process import within
from wit.runtime import Runtime
from wit.sandboxes.e2b.bodies import BytesBody
from wit.streams import StreamClosed

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 30.0
"""A connection that nobody used for so long is closed: sooner than E2B's own proxies do it."""

CONNECTIONS = 16
"""Idle connections that are kept to one host."""


class Unreachable(Exception):
    """No answer came. ``sent`` is False when surely nothing was sent, so that it may be repeated.

    The text names the host, never an address with arguments.
    """

    def __init__(self, message: str, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class TooLong(Exception):
    """The answer is larger than it may be."""


@attrs.frozen
class Answer:
    status: int
    headers: Headers
    body: bytes = attrs.field(repr=False)

    def header(self, name: str) -> str:
        """The header's value; empty if there is none."""
        values = self.headers.getRawHeaders(name) or [""]
        return values[0]


class Http:
    """The connections to one service."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._pool = HTTPConnectionPool(runtime.reactor)
        self._pool.maxPersistentPerHost = CONNECTIONS
        self._pool.cachedConnectionTimeout = IDLE_SECONDS  # type: ignore[assignment]
        self._agent = Agent(runtime.reactor, connectTimeout=CONNECT_SECONDS, pool=self._pool)

    async def close(self) -> None:
        await self._pool.closeCachedConnections()

    async def ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | IBodyProducer = b"",
        *,
        seconds: float | None,
        limit: int,
    ) -> Answer:
        """The whole answer. ``seconds`` None: as long as it takes; the caller cancels.

        Raises Unreachable, TooLong (over ``limit`` bytes), and StreamClosed when the body's own
        source broke off.
        """
        work = self._ask(method, url, headers, body, limit)
        if seconds is None:
            return await work
        try:
            return await within(self._runtime, seconds, work)
        except TimeoutError:
            raise Unreachable(f"{_host(url)} did not answer in {seconds:g} seconds") from None

    async def _ask(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | IBodyProducer,
        limit: int,
    ) -> Answer:
        return await self.rest(await self.open(method, url, headers, body), limit)

    async def rest(self, response: IResponse, limit: int) -> Answer:
        """The body of an answer that was opened. Raises Unreachable, TooLong."""
        collector = _Collector(self._runtime.reactor, limit)
        response.deliverBody(collector)
        return Answer(response.code, response.headers, await collector.done)

    async def open(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | IBodyProducer = b"",
    ) -> IResponse:
        """The answer's head; its body is the caller's. Raises Unreachable, StreamClosed."""
        fields = Headers({"User-Agent": ["wit"], **{name: [v] for name, v in headers.items()}})
        producer: IBodyProducer | None
        if isinstance(body, bytes):
            producer = None if method in ("GET", "DELETE") else BytesBody(body)
        else:
            producer = body
        try:
            return await self._agent.request(method.encode(), url.encode(), fields, producer)
        except ConnectingCancelledError as error:
            raise CancelledError from error
        except (ConnectError, RequestNotSent, OSError) as error:
            raise Unreachable(f"{_host(url)} cannot be reached", sent=False) from error
        except (
            RequestGenerationFailed,
            RequestTransmissionFailed,
            ResponseNeverReceived,
            ResponseFailed,
        ) as error:
            # Twisted wraps what its parts ran into, our own cancelling included.
            for reason in error.reasons:
                if reason.check(StreamClosed, CancelledError):
                    raise reason.value from error
            raise Unreachable(f"the connection to {_host(url)} failed") from error


class _Collector(Protocol):
    """Takes an answer's body, up to a limit."""

    def __init__(self, reactor: Any, limit: int) -> None:
        self._reactor = reactor
        self._limit = limit
        self._body = bytearray()
        self.done: Deferred[bytes] = Deferred(lambda _: hang_up(self, reactor))

    def dataReceived(self, data: bytes) -> None:
        if self.done.called:
            return
        self._body += data
        if len(self._body) > self._limit:
            self.done.errback(TooLong(f"an answer of more than {self._limit} bytes"))
            hang_up(self, self._reactor)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.done.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(bytes(self._body))
        else:
            self.done.errback(Unreachable("the answer broke off"))


def hang_up(body: Protocol, reactor: Any) -> None:
    """Close the connection that an answer's body comes on, unless all of it has come.

    In a moment, not now: within ``dataReceived`` the body's end may be next, after which the
    connection is another request's.
    """
    transport = body.transport
    if transport is not None:
        reactor.callLater(0, transport.loseConnection)


def _host(url: str) -> str:
    return urlsplit(url).hostname or "E2B"
