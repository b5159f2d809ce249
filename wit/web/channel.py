"""One HTTP connection: heads in, bodies with back-pressure, one request at a time, in order.

A request is started as soon as its head is complete. Its body stays in the kernel until the
handler reads it; ``100 Continue`` is sent at that moment and not before. The next request of a
pipeline is looked at when the answer before it has been written and its body is out of the way.

Reading from the socket stops while any of the reasons in :class:`Hold` lasts.
"""

from __future__ import annotations

import enum
import fcntl
import struct
import termios
from typing import TYPE_CHECKING, Any
from typing import Protocol as IsProtocol

from twisted.internet.interfaces import IPushProducer, ISSLTransport, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from zope.interface import implementer

from wit.errors import TimedOut
from wit.web.http1 import (
    MAX_HEAD,
    BadRequest,
    ChunkedDecoder,
    Head,
    LengthDecoder,
    parse_head,
)
from wit.web.pace import Pace
from wit.web.streaming import Request

if TYPE_CHECKING:
    from wit.web.site import WebSite

MAX_PIPELINED = 16 * 1024
"""Bytes of later requests that are taken while one is being answered."""

MAX_DRAIN = 256 * 1024
"""Bytes of an unwanted body that are read so that the connection can be kept."""

REASONS = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    505: b"HTTP Version Not Supported",
}


class State(enum.Enum):
    HEAD = "head"  # between requests, or collecting a head
    BODY = "body"  # a request is being served and its body is not complete
    ANSWER = "answer"  # the body is complete, the answer is not
    LINGER = "linger"  # the answer is out; what still comes is thrown away
    UPGRADED = "upgraded"  # another protocol has the connection
    CLOSED = "closed"


class Hold(enum.Enum):
    """Why we do not read from the socket."""

    BODY = "body"
    """The handler has not asked for the body yet, or its queue is full."""
    PIPELINE = "pipeline"
    """Enough of the next requests is here already."""
    STUCK = "stuck"
    """The client does not read its answers, so it shall not ask for more."""


class Upgraded(IsProtocol):
    """Another protocol that takes a connection over: Twisted's IProtocol, as far as it is used,
    and how it is told that the server stops."""

    def makeConnection(self, transport: Any) -> None: ...

    def dataReceived(self, data: bytes) -> None: ...

    def connectionLost(self, reason: Failure) -> None: ...

    def finish_up(self) -> None: ...


@implementer(IPushProducer)
class Channel(Protocol):
    """The protocol of a connection. It stands between the transport and the current Request,
    to which it offers what :class:`twisted.web.http.Request` expects of a channel."""

    transport: Any
    site: WebSite

    def __init__(self, site: WebSite) -> None:
        self.site = site
        self.pace = Pace(site.limits, lambda: site.now)
        self._state = State.HEAD
        self._input = b""
        self._searched = 0
        self._pumping = False
        self._holds: set[Hold] = set()
        self._request: Request | None = None
        self._decoder: LengthDecoder | ChunkedDecoder = LengthDecoder(0)
        self._persistent = True
        self._promised_continue = False
        self._producer: Any = None
        self._stuck = False
        self._unsent = 0
        self._successor: Upgraded | None = None

    # the transport's side

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, True)
        self.site.connected(self)
        self.pace.head()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state = State.CLOSED
        self._input = b""
        self.site.disconnected(self)
        request, self._request = self._request, None
        if request is not None:
            request.connectionLost(reason)
        successor, self._successor = self._successor, None
        if successor is not None:
            successor.connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:
        if self._successor is not None:
            self._successor.dataReceived(data)
            return
        if self._state in (State.LINGER, State.CLOSED):
            return
        if not self._input and self._state is State.HEAD:
            self.pace.head()
        self._input = self._input + data if self._input else data
        self._pump()

    def pauseProducing(self) -> None:
        """The write buffer is full."""
        self._stuck = True
        self._unsent = self._send_queue()
        self.pace.answer_stuck()
        if self._producer is not None:
            self._producer.pauseProducing()
        if self._state is State.HEAD:
            self._stop_reading(Hold.STUCK)

    def resumeProducing(self) -> None:
        """The write buffer is empty again."""
        self._stuck = False
        self.pace.answer_flows()
        self._go_on_reading(Hold.STUCK)
        if self._producer is not None:
            self._producer.resumeProducing()
        if self._state is State.LINGER and self._request is None:
            self._half_close()

    def stopProducing(self) -> None:
        if self._producer is not None:
            self._producer.stopProducing()

    # reading

    def _pump(self) -> None:
        """Take as much of the input as the state allows. Never entered twice at once: an answer
        that is complete at once leads back here, and the loop goes on instead."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._input and self._state in (State.HEAD, State.BODY):
                if self._state is State.BODY:
                    self._take_body()
                elif not self._take_head():
                    break
        except BadRequest as error:
            self._refuse(error.status, error.message)
        finally:
            self._pumping = False
        if self._state is State.ANSWER and len(self._input) > MAX_PIPELINED:
            self._stop_reading(Hold.PIPELINE)

    def _take_head(self) -> bool:
        """Start the request whose head is complete; False if it is not."""
        if self._input.startswith(b"\r\n"):  # section 2.2: an empty line before a request
            self._input = self._input[2:]
            return True
        end = self._input.find(b"\r\n\r\n", max(0, self._searched - 3))
        if end > MAX_HEAD or (end < 0 and len(self._input) > MAX_HEAD):
            raise BadRequest(431, f"the headers are longer than {MAX_HEAD} bytes")
        if end < 0:
            self._searched = len(self._input)
            return False
        block, self._input = self._input[:end], self._input[end + 4 :]
        self._searched = 0
        self._start(parse_head(block))
        return True

    def _start(self, head: Head) -> None:
        self.pace.working()
        self._persistent = head.keep_alive and not self.site.stopping
        if head.length == 0:
            self._state = State.ANSWER
        else:
            self._state = State.BODY
            self._decoder = ChunkedDecoder() if head.length is None else LengthDecoder(head.length)
            self._promised_continue = head.expects_continue
            self._stop_reading(Hold.BODY)
        request = Request(self)
        self._request = request
        request.begin(head)

    def _take_body(self) -> None:
        request = self._request
        assert request is not None
        data, self._input = self._input, b""
        self._promised_continue = False
        self.pace.body.moved(len(data))
        for part in self._decoder.feed(data):
            if not request.finished:
                request.body.feed(part)
        if self._decoder.complete:
            self._input = self._decoder.rest
            self._go_on_reading(Hold.BODY)
            self._state = State.ANSWER
            request.body.end()
            if request.finished:
                self._next()

    def body_wanted(self) -> None:
        """The handler begins to read the request body."""
        if self._state is State.BODY:
            if self._promised_continue and not self._input:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._promised_continue = False
            self._go_on_reading(Hold.BODY)

    def hold_body(self) -> None:
        if self._state is State.BODY:
            self._stop_reading(Hold.BODY)

    def release_body(self) -> None:
        self._go_on_reading(Hold.BODY)

    def _stop_reading(self, reason: Hold) -> None:
        if not self._holds:
            self.transport.pauseProducing()
        self._holds.add(reason)

    def _go_on_reading(self, reason: Hold) -> None:
        if reason in self._holds and self._state is not State.CLOSED:
            self._holds.remove(reason)
            if not self._holds:
                self.transport.resumeProducing()

    def upgrade(self, successor: Upgraded, opening: bytes) -> None:
        """Hand the connection over to another protocol, for good (RFC 9110, section 7.8): it
        reads ``opening``, and then what has come behind the request. The connection still counts
        as one of the site's."""
        self._state = State.UPGRADED
        self._request = None
        self._holds.clear()
        self.pace.working()
        self.pace.answer_flows()
        rest, self._input = self._input, b""
        self._successor = successor
        self.transport.unregisterProducer()
        successor.makeConnection(self.transport)
        self.transport.resumeProducing()
        for data in filter(None, (opening, rest)):
            successor.dataReceived(data)

    # ending

    def requestDone(self, request: Request) -> None:
        """The answer has been written."""
        if self._state is State.ANSWER:
            self._next()
        elif self._state is State.BODY and self._persistent:
            self.pace.closing()  # the little that is left of the body has this much time
            self._go_on_reading(Hold.BODY)
        else:
            self._linger()

    def _next(self) -> None:
        self._request = None
        if not self._persistent:
            self.loseConnection()
            return
        self._state = State.HEAD
        self.pace.idle()
        if self._stuck:
            self._stop_reading(Hold.STUCK)
        self._go_on_reading(Hold.PIPELINE)
        self._pump()

    def _refuse(self, status: int, message: str) -> None:
        """Answer bytes that are no request, or end a body that turned out to be malformed."""
        if self._request is not None and not self._request.finished:
            self._persistent = False
            self._state = State.LINGER
            self._request.body.fail(BadRequest(status, message))
            return
        if self._request is None:
            self.transport.write(
                b"HTTP/1.1 %d %b\r\nContent-Type: text/plain; charset=utf-8\r\n"
                b"Content-Length: %d\r\nConnection: close\r\n\r\n%b\n"
                % (status, REASONS[status], len(message) + 1, message.encode())
            )
        self._linger()

    def _linger(self) -> None:
        """Close our half, and read on for a while: with unread data in the kernel, a close
        would become a reset, and a reset can destroy the answer on its way to the client."""
        self._request = None
        self._state = State.LINGER
        self._input = b""
        self._holds.clear()
        self.transport.resumeProducing()
        if not self._stuck:
            self._half_close()

    def _half_close(self) -> None:
        self.pace.closing()
        self.transport.unregisterProducer()
        if ISSLTransport.providedBy(self.transport):
            self.transport.loseConnection()  # TLS says goodbye and waits for the client's
        else:
            self.transport.loseWriteConnection()

    def loseConnection(self) -> None:
        """Close when everything has been written."""
        if self._state is not State.CLOSED:
            self._state = State.LINGER
            self._input = b""
            self._unsent = self._send_queue()
            self.pace.working()
            self.pace.answer_stuck()
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def abort(self) -> None:
        """Close at once; a running handler is cancelled."""
        if self._state is not State.CLOSED:
            self.transport.abortConnection()

    def finish_up(self) -> None:
        """The server stops: take no further request."""
        if self._successor is not None:
            self._successor.finish_up()
        self._persistent = False
        if self._state is State.HEAD:
            self.loseConnection()

    def check(self) -> None:
        """Called by the site about once a second: end the connection if the client is too slow."""
        if self._state in (State.CLOSED, State.UPGRADED):
            return
        if self.pace.answer.waiting:
            unsent = self._send_queue()
            self.pace.answer.moved(abs(unsent - self._unsent))
            self._unsent = unsent
        if not self.pace.overdue():
            return
        if self._state is State.HEAD and self._input:
            self._refuse(408, "the request's headers took too long")
        elif self._state is State.HEAD and not self._stuck:
            self.loseConnection()
        elif self.pace.body.waiting and self._request is not None:
            self.pace.body_came()
            self._persistent = False
            self._request.body.fail(TimedOut("the request body came too slowly"))
        elif self._state is State.BODY and not self._stuck:
            self._linger()
        else:
            self.abort()

    def _send_queue(self) -> int:
        """Bytes in the kernel that the client has not taken yet (SIOCOUTQ, tcp(7), unix(7))."""
        try:
            answer = fcntl.ioctl(self.transport.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        except (OSError, AttributeError, ValueError):
            return 0
        return int(struct.unpack("i", answer)[0])

    # what twisted.web.http.Request asks of its channel

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def writeSequence(self, data: list[bytes]) -> None:
        self.transport.writeSequence(data)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:
        """Write the head of an answer, and settle whether the connection can go on after it."""
        request = self._request
        if request is None:
            return
        if self._state is State.BODY and not self._worth_draining():
            self._persistent = False
        parts = [version, b" ", code, b" ", reason, b"\r\n", request.common_headers()]
        for name, values in headers.getAllRawHeaders():
            for value in values:
                parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if self._persistent else b"Connection: close\r\n\r\n")
        self.transport.write(b"".join(parts))

    def _worth_draining(self) -> bool:
        """Whether the rest of the body is short, and will come at all."""
        left = self._decoder.left
        return not self._promised_continue and left is not None and left <= MAX_DRAIN

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._producer is not None:
            raise RuntimeError("the answer has a producer already")
        self._producer = producer
        if self._stuck:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        self._producer = None

    def isSecure(self) -> bool:
        return bool(ISSLTransport.providedBy(self.transport))

    def getPeer(self) -> Any:
        return self.transport.getPeer()

    def getHost(self) -> Any:
        return self.transport.getHost()
