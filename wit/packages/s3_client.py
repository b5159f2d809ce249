"""Objects of one bucket of an S3-compatible service: put, get, size, delete, list.

Requests are path-style and signed (Signature Version 4). All of them may be repeated, and are, when
the service is busy or cannot be reached.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import urlsplit
from xml.etree import ElementTree

import attrs
import treq
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
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
    ResponseNeverReceived,
)
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from wit.errors import NotFound, Unavailable
from wit.git.process import within
from wit.packages.s3_signing import EMPTY_SHA256, S3Request, Signer, encoded_path, encoded_query
from wit.runtime import Runtime
from wit.streams import ByteQueue, StreamClosed

CONNECT_SECONDS = 10.0
SECONDS = 30.0
"""Until an answer begins, or goes on."""

UNREAD_SECONDS = 300.0
"""A download that nobody reads for so long is ended."""

SLOWEST_UPLOAD = 256 * 1024
"""Bytes per second; an upload that is slower is given up."""

CONNECTIONS = 32
"""Idle connections that are kept."""

TRIES = 4
FIRST_WAIT = 0.2
"""Seconds before the second try; each further one waits twice as long."""

BUSY = frozenset((429, 500, 502, 503, 504))
MAX_ANSWER = 4 * 1024 * 1024
"""Bytes of an answer in XML; a list of 1 000 objects has some 300 kB."""

SENTENCE = "the storage of packages does not answer; try again later"

_BROKEN = (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)
_UNREACHABLE = (OSError, ConnectError, RequestNotSent, TimeoutError, StreamClosed, *_BROKEN)

T = TypeVar("T")


@attrs.frozen
class Stored:
    """An object as a list shows it."""

    key: str
    modified: datetime


@attrs.frozen
class Head:
    """What an object says of itself."""

    size: int
    modified: datetime


class Refused(Exception):
    """An answer that is an error; ``code`` is S3's own word for it, empty if it gave none."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(f"{status} {code} {message}".strip())
        self.status = status
        self.code = code


class S3Client:
    """``endpoint`` is the address of the service, without the bucket.

    What the service says about a failure is in the log; whoever asked reads ``SENTENCE``.
    """

    log = Logger()

    def __init__(self, endpoint: str, bucket: str, signer: Signer, runtime: Runtime) -> None:
        address = urlsplit(endpoint)
        self._origin = f"{address.scheme}://{address.netloc}"
        self._host = address.netloc
        self._base = address.path.strip("/")
        self._bucket = bucket
        self._signer = signer
        self._runtime = runtime
        self._pool = HTTPConnectionPool(runtime.reactor)
        self._pool.maxPersistentPerHost = CONNECTIONS
        self._agent = Agent(runtime.reactor, connectTimeout=CONNECT_SECONDS, pool=self._pool)

    async def close(self) -> None:
        await self._pool.closeCachedConnections()

    async def put(self, key: str, path: str, size: int, sha256: str) -> None:
        """Store the file at ``path``. Raises Unavailable."""

        async def send() -> None:
            with await self._runtime.in_thread(Path(path).open, "rb") as file:
                await self._whole("PUT", key, payload=sha256, file=file)

        await self._patiently("put", send, size)

    async def get(self, key: str, start: int = 0, stop: int | None = None) -> Download:
        """The bytes from ``start`` up to ``stop``, of which there is at least one.

        Raises NotFound, Unavailable.
        """
        ranged = start > 0 or stop is not None
        last = "" if stop is None else str(stop - 1)
        headers = {"range": f"bytes={start}-{last}"} if ranged else {}

        async def ask() -> Download:
            response = await self._request("GET", key, headers=headers)
            if response.code != (206 if ranged else 200):
                await self._refuse(response)
            body = Download(self._runtime)
            response.deliverBody(body)
            return body

        return await self._patiently("get", ask)

    async def head(self, key: str) -> Head | None:
        """What is known of an object; None if there is none. Raises Unavailable."""

        async def ask() -> Head | None:
            response = await self._request("HEAD", key)
            await _collected(response)
            if response.code == 404:
                return None
            if response.code != 200:
                raise Refused(response.code)
            modified = parsedate_to_datetime(_header(response, "last-modified"))
            return Head(int(_header(response, "content-length")), modified)

        return await self._patiently("head", ask)

    async def delete(self, key: str) -> None:
        """Remove it, if it is there. Raises Unavailable."""
        await self._patiently("delete", lambda: self._whole("DELETE", key))

    async def list(self, prefix: str, token: str = "") -> tuple[list[Stored], str]:
        """Up to 1 000 objects whose keys begin with ``prefix``, and the token of the next ones,
        which is empty when there are none. Raises Unavailable."""
        query = {"list-type": "2", "prefix": prefix}
        if token:
            query["continuation-token"] = token
        body = await self._patiently("list", lambda: self._whole("GET", "", query=query))
        return _listed(body)

    async def _patiently(self, what: str, ask: Callable[[], Awaitable[T]], size: int = 0) -> T:
        """The result of ``ask``, which sends ``size`` bytes and is tried again as long as that may
        help."""
        seconds = SECONDS + size / SLOWEST_UPLOAD

        async def once() -> T:
            try:
                return await ask()
            except ConnectingCancelledError as error:
                raise CancelledError from error
            except _BROKEN as error:
                if any(reason.check(CancelledError) for reason in error.reasons):
                    raise CancelledError from error
                raise

        for attempt in range(TRIES):
            reason: Exception
            try:
                return await within(self._runtime, seconds, once())
            except Refused as error:
                if error.code == "NoSuchKey":
                    raise NotFound("there is no such file") from None
                again, reason = error.status in BUSY, error
            except _UNREACHABLE as error:
                again, reason = True, error
            self.log.warn(
                "S3 {what} failed: {reason}", what=what, reason=repr(reason), attempt=attempt + 1
            )
            if not again or attempt == TRIES - 1:
                raise Unavailable(SENTENCE) from reason
            await self._runtime.sleep(FIRST_WAIT * 2**attempt)
        raise AssertionError("the last try returns or raises")

    async def _whole(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        payload: str = EMPTY_SHA256,
        file: IO[bytes] | None = None,
    ) -> bytes:
        """The whole body of a successful answer. Raises Refused."""
        response = await self._request(method, key, query=query, payload=payload, file=file)
        if not 200 <= response.code < 300:
            await self._refuse(response)
        return await _collected(response)

    async def _request(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        payload: str = EMPTY_SHA256,
        file: IO[bytes] | None = None,
    ) -> IResponse:
        path = encoded_path(self._base, self._bucket, key)
        request = S3Request(method, self._host, path, query or {}, headers or {}, payload)
        signed = self._signer.headers(request, self._runtime.now())
        del signed["host"]
        url = self._origin + path + (f"?{encoded_query(query)}" if query else "")
        return await self._agent.request(
            method.encode(),
            url.encode(),
            Headers({name: [value] for name, value in signed.items()}),
            FileBodyProducer(file) if file is not None else None,
        )

    async def _refuse(self, response: IResponse) -> None:
        """Raises Refused, with what the body of the answer says."""
        try:
            error = _parsed(await _collected(response))
        except ElementTree.ParseError:
            raise Refused(response.code) from None
        raise Refused(
            response.code, error.findtext("Code", ""), error.findtext("Message", "")[:300]
        )


def _header(response: IResponse, name: str) -> str:
    """Raises Refused."""
    values = response.headers.getRawHeaders(name)
    if not values:
        raise Refused(response.code, "", f"an answer without {name}")
    return str(values[0])


async def _collected(response: IResponse) -> bytes:
    body = bytearray()

    def collect(part: bytes) -> None:
        if len(body) + len(part) > MAX_ANSWER:
            raise Refused(response.code, "", f"the answer has more than {MAX_ANSWER} bytes")
        body.extend(part)

    await treq.collect(response, collect)
    return bytes(body)


def _parsed(body: bytes) -> ElementTree.Element:
    """The document; S3 has no use for a DTD, with which one may be a bomb. Raises ParseError."""
    if b"<!DOCTYPE" in body:
        raise ElementTree.ParseError("a document type")
    return ElementTree.fromstring(body)  # noqa: S314 - no entities without a DTD


def _listed(body: bytes) -> tuple[list[Stored], str]:
    """What a ListBucketResult holds. Raises Unavailable."""
    try:
        root = _parsed(body)
        found = [
            Stored(
                entry.findtext("{*}Key", ""),
                datetime.fromisoformat(entry.findtext("{*}LastModified", "")),
            )
            for entry in root.iterfind("{*}Contents")
        ]
    except (ElementTree.ParseError, ValueError) as error:
        raise Unavailable(SENTENCE) from error
    return found, root.findtext("{*}NextContinuationToken", "")


class Download(Protocol):
    """A Blob (wit/packages/blobs.py): a body as it comes, which is held up when nobody reads.

    What stands still, on either side, is ended.
    """

    transport: Any

    def __init__(self, runtime: Runtime) -> None:
        self._queue = ByteQueue(self._pause, self._resume)
        self._clock: IDelayedCall = runtime.reactor.callLater(SECONDS, self._give_up)

    async def read(self) -> bytes:
        return await self._queue.read()

    async def close(self) -> None:
        if self._clock.active():
            self._clock.cancel()
            self._give_up()

    def dataReceived(self, data: bytes) -> None:
        if self._clock.active():
            self._clock.reset(SECONDS)
            self._queue.feed(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._clock.active():
            self._clock.cancel()
        whole = reason.check(ResponseDone) is not None
        self._queue.end(None if whole else StreamClosed("the storage broke off a download"))

    def _pause(self) -> None:
        if self.transport is not None:
            self.transport.pauseProducing()
            self._clock.reset(UNREAD_SECONDS)

    def _resume(self) -> None:
        if self.transport is not None and self._clock.active():
            self._clock.reset(SECONDS)
            self.transport.resumeProducing()

    def _give_up(self) -> None:
        self._queue.abort(StreamClosed("a download stood still or was left"))
        if self.transport is not None:
            self.transport.stopProducing()
