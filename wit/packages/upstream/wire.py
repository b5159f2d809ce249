"""Requests to one uplink: only to the hosts that its settings name, with limits on everything."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast
from urllib.parse import urljoin, urlsplit

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, succeed
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    HTTPConnectionPool,
    PotentialDataLoss,
    RequestNotSent,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from wit.config import Uplink
from wit.git.process import within
from wit.runtime import Runtime
from wit.streams import ByteQueue, BytesSink, StreamClosed, copy

CONNECT_SECONDS = 10.0
IDLE_SECONDS = 30.0
"""A connection that nobody used for so long is closed."""

CONNECTIONS = 32
"""Requests to one uplink at once; the next ones wait."""

MAX_REDIRECTS = 3


_BROKEN = (RequestTransmissionFailed, ResponseNeverReceived, ResponseFailed)
"""What Twisted wraps everything in that it ran into, our own cancelling included."""


class Failed(Exception):
    """The uplink did not answer, or not as it should. The text is for the log."""


@attrs.frozen
class Answer:
    """An answer's head, and its body as it comes."""

    status: int
    size: int | None
    """Bytes of the body, if the uplink says so."""
    headers: Headers
    body: Body

    def header(self, name: str) -> str:
        """The header's value; empty if there is none."""
        values = self.headers.getRawHeaders(name) or [""]
        return values[0]


class Wire:
    """The connections to one uplink. ``token`` goes to the uplink's own host and no other."""

    def __init__(self, uplink: Uplink, token: str, runtime: Runtime) -> None:
        self.uplink = uplink
        self._base = uplink.url.rstrip("/")
        self._token = token
        self._runtime = runtime
        self._slots = DeferredSemaphore(CONNECTIONS)
        self._pool = HTTPConnectionPool(runtime.reactor)
        self._pool.maxPersistentPerHost = CONNECTIONS
        self._pool.cachedConnectionTimeout = IDLE_SECONDS  # type: ignore[assignment]
        connect = min(CONNECT_SECONDS, uplink.timeout_seconds)
        self._agent: IAgent = Agent(runtime.reactor, connectTimeout=connect, pool=self._pool)
        own = urlsplit(self._base)
        self._origin = _origin(self._base)
        self._schemes = ("https",) if own.scheme == "https" else ("https", "http")
        self._hosts = {own.netloc.lower(), *(host.lower() for host in uplink.hosts)}

    async def close(self) -> None:
        await self._pool.closeCachedConnections()

    def may_ask(self, url: str) -> bool:
        """Whether ``url`` lies on the uplink's host or one that its settings name."""
        try:
            parts = urlsplit(url)
            plain = url.isascii() and url.isprintable() and " " not in url
        except ValueError:
            return False
        return plain and parts.scheme in self._schemes and parts.netloc.lower() in self._hosts

    @asynccontextmanager
    async def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> AsyncIterator[Answer]:
        """The answer, within which its body can be read.

        ``target`` is a path that begins with a slash, below the uplink's address, or a whole URL.
        Redirects of a GET are followed where :meth:`may_ask` allows. Raises Failed.
        """
        url = self._base + target if target.startswith("/") else target
        await self._slots.acquire()
        try:
            answer = await self._follow(method, url, headers or {}, body)
            try:
                yield answer
            finally:
                answer.body.close()
        finally:
            self._slots.release()

    async def _follow(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes
    ) -> Answer:
        for _ in range(MAX_REDIRECTS + 1):
            if not self.may_ask(url):
                raise Failed(f"{url[:200]!r} is on a host that the uplink's settings do not name")
            answer = await self._once(method, url, headers, body)
            if method != "GET" or answer.status not in (301, 302, 303, 307, 308):
                return answer
            answer.body.close()
            url = urljoin(url, answer.header("Location"))
        raise Failed("too many redirects")

    async def _once(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        fields = Headers({"User-Agent": ["wit"], **{name: [v] for name, v in headers.items()}})
        if self._token and _origin(url) == self._origin:
            fields.setRawHeaders("Authorization", [f"Bearer {self._token}"])
        producer = _Sent(body) if body else None
        host = urlsplit(url).hostname
        try:
            response = await within(
                self._runtime,
                self.uplink.timeout_seconds,
                self._request(method, url, fields, producer),
            )
        except TimeoutError:
            raise Failed(f"{host} did not answer in {self.uplink.timeout_seconds:g} s") from None
        except (ConnectError, RequestNotSent, *_BROKEN, OSError) as error:
            reasons = getattr(error, "reasons", ())
            why = ", ".join(reason.getErrorMessage() for reason in reasons) or str(error)
            raise Failed(f"{host} cannot be reached: {why}") from error
        arriving = Body(self._runtime.reactor, self.uplink.timeout_seconds)
        response.deliverBody(arriving)
        size = response.length if isinstance(response.length, int) else None
        return Answer(response.code, size, response.headers, arriving)

    async def _request(
        self, method: str, url: str, headers: Headers, body: IBodyProducer | None
    ) -> IResponse:
        try:
            return await self._agent.request(method.encode(), url.encode(), headers, body)
        except ConnectingCancelledError as error:
            raise CancelledError from error
        except _BROKEN as error:
            if any(reason.check(CancelledError) for reason in error.reasons):
                raise CancelledError from error
            raise


async def whole(answer: Answer, limit: int, runtime: Runtime) -> bytes:
    """The body, unpacked if it is gzip'd, of ``limit`` bytes at most. Raises Failed."""
    sink = BytesSink(limit)
    try:
        await copy(answer.body, sink)
        if answer.header("Content-Encoding").lower() in ("gzip", "x-gzip"):
            return await runtime.in_thread(_gunzip, sink.value(), limit)
    except StreamClosed as error:
        raise Failed(str(error)) from error
    except ValueError as error:
        raise Failed(f"the answer: {error}") from error
    return sink.value()


def _gunzip(data: bytes, limit: int) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        unpacked = unpacker.decompress(data, limit + 1)
    except zlib.error as error:
        raise ValueError(f"not gzip: {error}") from None
    if len(unpacked) > limit:
        raise ValueError(f"more than {limit} bytes")
    if not unpacker.eof:
        raise ValueError("its gzip stream breaks off")
    return unpacked


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()


class Body(Protocol):
    """An answer's body as a ByteSource; it breaks off when nothing comes for ``seconds``."""

    def __init__(self, reactor: Any, seconds: float) -> None:
        self._reactor = reactor
        self._seconds = seconds
        self._over = False
        self._timer: Any = None
        self._queue = ByteQueue(self._pause, self._resume)

    async def read(self) -> bytes:
        """Raises StreamClosed if the answer broke off."""
        return await self._queue.read()

    def close(self) -> None:
        """Nothing more is wanted."""
        if self._over:
            return
        self._end(StreamClosed("closed"))
        if self.transport is not None:
            # In a moment, not now: within dataReceived the body's end may be next, after which
            # the connection is another request's.
            self._reactor.callLater(0, self.transport.loseConnection)

    def connectionMade(self) -> None:
        self._watch()

    def dataReceived(self, data: bytes) -> None:
        if self._timer is not None:
            self._timer.reset(self._seconds)
        self._queue.feed(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        whole = reason.check(ResponseDone, PotentialDataLoss)
        self._end(None if whole else StreamClosed("the uplink's answer broke off"))

    def _watch(self) -> None:
        self._timer = self._reactor.callLater(self._seconds, self._too_slow)

    def _unwatch(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def _too_slow(self) -> None:
        self._timer = None
        self._queue.end(StreamClosed(f"nothing came from the uplink for {self._seconds:g} s"))
        self.close()

    def _end(self, error: Exception | None) -> None:
        self._over = True
        self._unwatch()
        self._queue.end(error)

    def _pause(self) -> None:
        self._unwatch()
        if not self._over:
            self._producer().pauseProducing()

    def _resume(self) -> None:
        if not self._over:
            self._watch()
            self._producer().resumeProducing()

    def _producer(self) -> IPushProducer:
        return cast(IPushProducer, self.transport)


@implementer(IBodyProducer)
class _Sent:
    """A small body, written at once."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.length = len(data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._data)
        return succeed(None)

    def stopProducing(self) -> None:
        pass

    def pauseProducing(self) -> None:
        pass

    def resumeProducing(self) -> None:
        pass
