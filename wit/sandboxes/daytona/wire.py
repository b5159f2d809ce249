"""Requests to Daytona: JSON and streams over HTTP, with time limits, size limits and retries."""

from __future__ import annotations

import json
from collections.abc import Coroutine, Mapping
from typing import IO, Any, TypeVar

import attrs
import treq
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    FileBodyProducer,
    HTTPConnectionPool,
    RequestGenerationFailed,
    RequestNotSent,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from wit.errors import Unavailable
from wit.git.process import within
from wit.runtime import Runtime
from wit.streams import ByteQueue, ByteSource, StreamClosed

SDK_VERSION = "0.226.1"
"""The daemon keeps stdout and stderr apart only for clients of version 0.167.0 or later."""

CONNECT_SECONDS = 10.0
SECONDS = 30.0
"""Until an answer has come whole, unless a call says otherwise."""

ABANDONED_SECONDS = 300.0
"""A download that nobody reads for so long is ended."""

MAX_ANSWER = 16 * 1024 * 1024
"""Bytes of a JSON answer."""

TRIES = 4
MAX_WAIT = 30.0

BROKEN = (RequestGenerationFailed, RequestTransmissionFailed, ResponseFailed)
UNREACHABLE = (OSError, ConnectError, RequestNotSent, TimeoutError, *BROKEN)

T = TypeVar("T")


class Refused(Exception):
    """Daytona answered with an error status; ``message`` is its own sentence, cut short."""

    def __init__(self, status: int, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message
        self.retry_after = retry_after


@attrs.frozen
class Wire:
    """The HTTP client. TLS certificates are verified against the system's authorities."""

    runtime: Runtime
    _pool: HTTPConnectionPool
    _agent: Agent

    @classmethod
    def make(cls, runtime: Runtime) -> Wire:
        pool = HTTPConnectionPool(runtime.reactor)
        pool.maxPersistentPerHost = 8
        pool.cachedConnectionTimeout = 15
        return cls(runtime, pool, Agent(runtime.reactor, connectTimeout=CONNECT_SECONDS, pool=pool))

    async def close(self) -> None:
        await self._pool.closeCachedConnections()

    async def json(
        self,
        method: str,
        url: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        seconds: float = SECONDS,
        repeatable: bool | None = None,
    ) -> Any:
        """The decoded answer, None for an empty one.

        A request that may be sent twice (``repeatable``; all but POST, unless said) is tried again
        when the service is busy or cannot be reached; others only on 429, which did nothing.
        Raises Refused, Unavailable.
        """
        again = method != "POST" if repeatable is None else repeatable
        content = None if body is None else json.dumps(body).encode()
        headers = _headers(key)
        if content is not None:
            headers["Content-Type"] = "application/json"
        for attempt in range(1, TRIES + 1):
            wait = min(0.25 * 2**attempt, MAX_WAIT)
            try:
                answer = await self._within(
                    seconds, self._once(method, url, query, headers, content)
                )
            except Refused as error:
                busy = error.status == 429 or (again and error.status in (502, 503, 504))
                if not busy or attempt == TRIES:
                    raise
                wait = min(max(wait, error.retry_after or 0), MAX_WAIT)
            except UNREACHABLE as error:
                if not again or attempt == TRIES:
                    raise Unavailable("Daytona does not answer; try again later") from error
            else:
                return _decoded(answer)
            await self.runtime.sleep(wait)
        raise AssertionError("the last try returns or raises")

    async def _once(
        self,
        method: str,
        url: str,
        query: Mapping[str, str] | None,
        headers: dict[str, str],
        content: bytes | None,
    ) -> bytes:
        response = await self._client().request(
            method,
            url,
            params=dict(query or {}),
            headers=Headers(_raw(headers)),
            data=content,
            allow_redirects=False,
            unbuffered=True,
        )
        return await _checked(response)

    async def send_file(
        self, url: str, key: str, path: str, file: IO[bytes], seconds: float
    ) -> None:
        """A file as the SDK's multipart upload sends it. Raises Refused, Unavailable."""

        async def send() -> None:
            response = await self._client().request(
                "POST",
                url,
                headers=Headers(_raw(_headers(key))),
                data={"files[0].path": path},
                files={
                    "files[0].file": (
                        "file",
                        "application/octet-stream",
                        FileBodyProducer(file),
                    )
                },
                allow_redirects=False,
                unbuffered=True,
            )
            await _checked(response)

        try:
            await self._within(seconds, send())
        except UNREACHABLE as error:
            raise Unavailable("Daytona broke off an upload; try again later") from error

    async def stream(self, url: str, key: str, query: Mapping[str, str]) -> ByteSource:
        """The body of a GET as it comes; not reading holds it up. Raises Refused, Unavailable."""

        async def ask() -> ByteSource:
            response = await self._client().request(
                "GET",
                url,
                params=dict(query),
                headers=Headers(_raw(_headers(key))),
                allow_redirects=False,
                unbuffered=True,
            )
            if response.code >= 300:
                await _checked(response)
            body = _Body(self.runtime)
            response.deliverBody(body)
            return body.queue

        try:
            return await self._within(SECONDS, ask())
        except UNREACHABLE as error:
            raise Unavailable("Daytona does not answer; try again later") from error

    async def _within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T:
        """As ``within``; a request that is cancelled says so, whatever state it was in."""

        async def plainly() -> T:
            try:
                return await work
            except BROKEN as error:
                if any(reason.check(CancelledError) for reason in error.reasons):
                    raise CancelledError from error
                raise

        return await within(self.runtime, seconds, plainly())

    def _client(self) -> HTTPClient:
        # A client for each request: one that stays would hand one account's cookies to the next.
        return HTTPClient(self._agent)


def _headers(key: str) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {key}",
        "X-Daytona-Source": "wit",
        "X-Daytona-SDK-Version": SDK_VERSION,
        "User-Agent": "wit",
        "Accept": "application/json, */*",
    }


def _raw(headers: Mapping[str, str]) -> dict[str, list[str]]:
    return {name: [value] for name, value in headers.items()}


def socket_headers(key: str) -> dict[str, str]:
    """Headers of a WebSocket's handshake."""
    return {name: value for name, value in _headers(key).items() if name not in ("Accept",)}


async def _checked(response: IResponse) -> bytes:
    body = bytearray()

    def collect(part: bytes) -> None:
        if len(body) + len(part) > MAX_ANSWER:
            raise Refused(502, "the answer is too long")
        body.extend(part)

    await treq.collect(response, collect)
    if response.code >= 300:
        raise Refused(response.code, _sentence(bytes(body)), _retry_after(response))
    return bytes(body)


def _decoded(body: bytes) -> Any:
    if not body.strip():
        return None
    try:
        return json.loads(body)
    except ValueError:
        raise Refused(502, "an answer that is not JSON") from None


def _sentence(body: bytes) -> str:
    """What an error answer says, from any of Daytona's forms of it."""
    try:
        answer = json.loads(body)
    except ValueError:
        return "no reason given"
    if not isinstance(answer, dict):
        return "no reason given"
    message = answer.get("message") or answer.get("error") or "no reason given"
    text = "; ".join(map(str, message)) if isinstance(message, list) else str(message)
    return "".join(letter for letter in text if letter.isprintable())[:300]


def _retry_after(response: IResponse) -> float | None:
    values = response.headers.getRawHeaders("retry-after") or []
    return float(values[0]) if values and values[0].isascii() and values[0].isdigit() else None


class _Body(Protocol):
    """Receives a response's body into a queue that holds it up when nobody reads."""

    transport: Any

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._abandoned: IDelayedCall | None = None
        self.queue = ByteQueue(self._pause, self._resume)

    def dataReceived(self, data: bytes) -> None:
        self.queue.feed(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_clock()
        whole = reason.check(ResponseDone) is not None
        self.queue.end(None if whole else StreamClosed("Daytona broke off a download"))

    def _pause(self) -> None:
        if self.transport is not None:
            self.transport.pauseProducing()
            self._abandoned = self._runtime.reactor.callLater(ABANDONED_SECONDS, self._give_up)

    def _resume(self) -> None:
        self._stop_clock()
        if self.transport is not None:
            self.transport.resumeProducing()

    def _give_up(self) -> None:
        self._abandoned = None
        self.queue.abort(StreamClosed("nobody read this download"))
        if self.transport is not None:
            self.transport.stopProducing()

    def _stop_clock(self) -> None:
        clock, self._abandoned = self._abandoned, None
        if clock is not None and clock.active():
            clock.cancel()
