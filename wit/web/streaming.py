"""A request whose body is a stream, and whose handler is a coroutine that starts before it.

    async def handler(request: Request) -> None:
        ...                                       # decide; raise a WitError to refuse
        while data := await request.body.read():  # now the client is asked for its body
            ...
        sink = request.sink()                     # the first write commits status and headers
        await sink.write(b"...")

The handler is cancelled when the client goes away. When it returns, the answer is ended; when it
raises before the first write, the client gets the error; after that, the connection is cut, so
that a broken answer cannot be taken for a whole one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import RESPONSES

from wit.errors import WitError, internal_error
from wit.streams import ByteQueue, ConsumerSink, StreamClosed
from wit.web.answers import error_body
from wit.web.http1 import BadRequest, Head

if TYPE_CHECKING:
    from wit.web.channel import Channel, Upgraded

Handler = Callable[["Request"], Coroutine[Any, Any, None]]

NO_PAGE = (
    b"Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n"
    b"Cross-Origin-Opener-Policy: same-origin\r\n"
)
"""What an answer that is no page says to a browser that takes it for one. Pages set a policy of
their own (Content Security Policy Level 3), and have none of this."""

_SANE_TRACE_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Body:
    """The ByteSource of a request body. ``length`` in bytes is None when it is chunked."""

    def __init__(self, channel: Channel, length: int | None) -> None:
        self.length = length
        self.received = 0
        self._channel = channel
        self._wanted = False
        self._queue = ByteQueue(channel.hold_body, channel.release_body)
        self._ended = False
        if length == 0:
            self.end()

    def feed(self, data: bytes) -> None:
        self.received += len(data)
        self._queue.feed(data)

    def end(self) -> None:
        self._ended = True
        self._queue.end()

    def fail(self, error: Exception) -> None:
        """What is not read yet will not be; the reader gets ``error``."""
        self._ended = True
        self._queue.abort(error)

    async def read(self) -> bytes:
        """As ByteSource. Raises TimedOut if the client is too slow, BadRequest if the body is
        malformed."""
        if not self._wanted:
            self._wanted = True
            self._channel.body_wanted()
        if self._ended or self._queue.buffered:
            return await self._queue.read()
        self._channel.pace.body_wanted()
        try:
            return await self._queue.read()
        finally:
            self._channel.pace.body_came()


class Request(server.Request):
    """One request and its answer: a Twisted request (Klein takes it as it is) with a streamed
    body, identifiers, and the address that it really came from."""

    log = Logger()
    defaultContentType = None

    channel: Channel | None  # type: ignore[assignment]
    query: bytes = b""
    content: Any = None
    args: Any = None
    request_id: str = ""
    trace_id: str = ""
    address: str = ""
    body: Body
    actor_name: str = ""
    """For the access log."""
    limit_headers: bytes = b""
    """Header lines of the answer that say what the caller's rate limit leaves."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel, parsePOSTFormSubmission=False)  # type: ignore[no-untyped-call]
        self._context = channel.site
        self._sink: ConsumerSink | None = None
        self._work: Deferred[None] | None = None
        self._broken = False
        self._logged = False
        self._began = channel.site.seconds()

    def begin(self, head: Head) -> None:
        """The head is complete: find the handler and start it."""
        assert self.channel is not None
        self.method = head.method
        self.uri = head.target
        self.clientproto = head.version
        self.path, _, self.query = head.target.partition(b"?")
        for name, value in head.headers:
            self.requestHeaders.addRawHeader(name, value)
        self.body = Body(self.channel, head.length)
        self.request_id = self._context.new_request_id()
        self.trace_id = self.header(b"X-Trace-Id") or ""
        if not _SANE_TRACE_ID.fullmatch(self.trace_id):
            self.trace_id = self.request_id
        self.address = self._context.peers.address(
            self.client, self.requestHeaders.getRawHeaders(b"X-Forwarded-For")
        )
        self._work = Deferred.fromCoroutine(self._serve(self._context.route(self)))

    def header(self, name: bytes) -> str | None:
        """The value of a request header (the last, if it was sent more than once)."""
        values = self.requestHeaders.getRawHeaders(name)
        return values[-1].decode("latin-1") if values else None

    def common_headers(self) -> bytes:
        """What every answer carries, as header lines."""
        is_page = self.responseHeaders.hasHeader(b"Content-Security-Policy")
        return b"%b%b%bX-Request-Id: %b\r\nX-Trace-Id: %b\r\n%b" % (
            self._context.static_headers,
            b"" if is_page else NO_PAGE,
            self.limit_headers,
            self.request_id.encode(),
            self.trace_id.encode(),
            self._context.cors.headers(self.requestHeaders, self.path),
        )

    # answering

    def answer(self, status: int, content_type: str, body: bytes) -> None:
        """A whole answer of known size. Headers set before stay."""
        self.prepare(status, content_type)
        self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)

    def prepare(self, status: int, content_type: str) -> None:
        """Set status and type; the first write commits them."""
        self.setResponseCode(status, RESPONSES.get(status, b"Unknown"))
        self.setHeader(b"Content-Type", content_type.encode())

    def sink(self) -> ConsumerSink:
        """Where the body of the answer goes, with back-pressure. Ended when the handler returns."""
        if self._sink is None:
            self._sink = ConsumerSink(self)
        return self._sink

    def upgrade(self, successor: Upgraded, opening: bytes) -> None:
        """Have another protocol answer, to which ``opening`` stands for this request, and keep
        the connection for good. Nothing may have been written; this request is over then."""
        assert self.channel is not None and not self.startedWriting
        self.setResponseCode(101, RESPONSES[101])
        self.finished = 1
        self._log_once()
        self.channel.upgrade(successor, opening)

    def refuse(self, error: Exception) -> tuple[str, str]:
        """Set status and headers for ``error``; the sentence for the client, and the code.

        An exception that is not for clients is logged here, and its words stay in the log.
        """
        self.responseHeaders.removeHeader(b"Content-Length")
        if isinstance(error, WitError) and error.code != "internal":
            status, code, message = error.answer.http, error.code, error.message
            if retry := getattr(error, "retry_after", None):
                self.setHeader(b"Retry-After", b"%d" % retry)
        elif isinstance(error, BadRequest):
            status, code, message = error.status, "invalid", error.message
        else:
            self.log.failure(
                "request {request_id} failed",
                Failure(error),
                request_id=self.request_id,
                path=self.path.decode("latin-1"),
            )
            status, code, message = 500, "internal", internal_error(self.request_id)
        self.setResponseCode(status, RESPONSES.get(status, b"Unknown"))
        return message, code

    def fail(self, error: Exception) -> None:
        """Answer ``error`` as JSON, or cut the connection if an answer has begun."""
        message, code = self.refuse(error)
        if self.startedWriting:
            self.break_off()
        else:
            self.answer(self.code, "application/json", error_body(message, code, self.request_id))

    def break_off(self) -> None:
        """End an answer visibly incomplete: no last chunk, or fewer bytes than announced."""
        self._broken = True
        if self.channel is not None:
            self.channel.loseConnection()

    def processingFailed(self, reason: Failure) -> Failure:
        """A resource raised: twisted.web's hook."""
        self.fail(_exception(reason))
        self._end()
        return reason

    # life

    async def _serve(self, handler: Handler) -> None:
        try:
            await handler(self)
        except (CancelledError, StreamClosed):
            self.break_off()
        except Exception as error:
            if not self._disconnected and not self.finished:
                self.fail(error)
                self._end()
        else:
            self._end()

    def _end(self) -> None:
        if self._disconnected or self.finished or self._broken:
            return
        if self._sink is not None:
            self._sink.detach()
        self.finish()

    def finish(self) -> None:
        super().finish()  # type: ignore[no-untyped-call]
        self._log_once()

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        if self._work is not None:
            self._work.cancel()
        self.body.fail(StreamClosed("the client closed the connection"))
        self._log_once()

    def _log_once(self) -> None:
        if not self._logged:
            self._logged = True
            self._context.request_ended(self, self._context.seconds() - self._began)


def _exception(reason: Failure) -> Exception:
    value = reason.value
    return value if isinstance(value, Exception) else RuntimeError(repr(value))
