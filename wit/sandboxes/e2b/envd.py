"""The daemon in one E2B sandbox (envd): its processes and files, over HTTP."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

import attrs
from twisted.internet import protocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from wit.errors import Invalid, NotFound, TooLarge, Unavailable, WitError
from wit.runtime import Runtime
from wit.sandboxes.e2b import connect
from wit.sandboxes.e2b.bodies import SourceBody
from wit.sandboxes.e2b.connect import Frames, ProtocolError, RpcError
from wit.sandboxes.e2b.http import Answer, Http, TooLong, Unreachable, hang_up
from wit.sandboxes.e2b.messages import Event, parse_event
from wit.sandboxes.e2b.text import plain
from wit.streams import ByteSource

PORT = 49983
CALL_SECONDS = 60.0
FILE_SECONDS = 600.0
KEEPALIVE_SECONDS = 20
"""How often the daemon is asked to say that a silent stream is still there."""

SILENCE_SECONDS = 70.0
"""A stream that says nothing for so long, though somebody reads, is taken for cut."""

ENDED_SECONDS = 10.0
"""How long a connection may stay open after the last message that came on it."""

MAX_ANSWER = 4 * 1024 * 1024


@attrs.frozen
class Access:
    """Where a sandbox's daemon is, and what lets us in."""

    url: str
    headers: Mapping[str, str] = attrs.field(repr=False)


class StreamEnd(Exception):
    """A stream ended; ``cut`` when that was not the daemon's doing."""

    def __init__(self, error: RpcError | None, cut: bool) -> None:
        super().__init__(str(error) if error else "cut off" if cut else "ended")
        self.error = error
        self.cut = cut


class Listener(Protocol):
    """Who follows a stream. Both are called on the reactor and must not raise."""

    def on_event(self, event: Event) -> None: ...

    def on_end(self, end: StreamEnd) -> None:
        """Once, after the last event."""
        ...


class EventStream(protocol.Protocol):
    """A stream of events, on its way to a listener, which may pause it."""

    def __init__(self, reactor: Any, listener: Listener) -> None:
        self._listener = listener
        self._frames = Frames()
        self._ended = False
        self._reactor = reactor
        self._silence = reactor.callLater(SILENCE_SECONDS, self.abort)

    def dataReceived(self, data: bytes) -> None:
        if self._ended:
            return
        self._watch(SILENCE_SECONDS)
        try:
            for frame in self._frames.feed(data):
                if frame.last:
                    self._end(frame.error, cut=False)
                    return
                event = parse_event(frame.message)
                if event is not None:
                    self._listener.on_event(event)
        except ProtocolError:
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end(None, cut=True)
        self._watch(None)

    def pause(self) -> None:
        if not self._ended and self.transport is not None:
            self.transport.pauseProducing()  # type: ignore[attr-defined]
            self._watch(None)

    def resume(self) -> None:
        if not self._ended and self.transport is not None:
            self._watch(SILENCE_SECONDS)
            self.transport.resumeProducing()  # type: ignore[attr-defined]

    def abort(self) -> None:
        """Hang up; what the stream is about goes on."""
        hang_up(self, self._reactor)
        self._end(None, cut=True)

    def _watch(self, seconds: float | None) -> None:
        """Hang up after so many seconds from now, unless called again; None: no more."""
        if self._silence.active():
            self._silence.cancel()
        if seconds is not None:
            self._silence = self._reactor.callLater(seconds, self.abort)

    def _end(self, error: RpcError | None, cut: bool) -> None:
        """The last message came, or none will; the rest of the body is let through."""
        if self._ended:
            return
        self._ended = True
        self._watch(ENDED_SECONDS)
        if self.transport is not None:
            self.transport.resumeProducing()  # type: ignore[attr-defined]
        self._listener.on_end(StreamEnd(error, cut))


class Envd:
    """``renew`` asks the control plane for the access, and ``gone`` what became of a sandbox that
    E2B's proxy does not find: it raises SandboxLost or what else there is to say.
    """

    def __init__(
        self,
        http: Http,
        runtime: Runtime,
        access: Access,
        renew: Callable[[], Awaitable[Access]],
        gone: Callable[[], Awaitable[None]],
    ) -> None:
        self.runtime = runtime
        self.access = access
        self._http = http
        self._renew = renew
        self._gone = gone

    async def call(
        self, method: str, message: Mapping[str, Any], seconds: float | None = CALL_SECONDS
    ) -> Mapping[str, Any]:
        """A unary call, such as ``process.Process/List``.

        Raises RpcError, SandboxLost, Unavailable.
        """
        headers = {"Content-Type": "application/json", "Connect-Protocol-Version": "1"}
        if seconds is not None:
            headers["Connect-Timeout-Ms"] = str(int(seconds * 1000))
        body = json.dumps(message).encode()
        answer = await self._ask("POST", f"/{method}", headers, body, seconds=seconds)
        if answer.status != 200:
            raise connect.unary_error(answer.status, answer.body)
        try:
            return connect.parse(answer.body)
        except ProtocolError as error:
            raise Unavailable("the sandbox answered what was not expected") from error

    async def follow(
        self,
        method: str,
        message: Mapping[str, Any],
        listener: Listener,
        *,
        user: str | None = None,
        life: float | None = None,
    ) -> EventStream:
        """A call whose events go to ``listener`` from now on, also when it fails later.

        ``life``: seconds after which the daemon itself kills what was started.
        Raises SandboxLost, Unavailable, RpcError.
        """
        headers = {
            "Content-Type": "application/connect+json",
            "Connect-Protocol-Version": "1",
            "Connect-Accept-Encoding": "identity",
            "Keepalive-Ping-Interval": str(KEEPALIVE_SECONDS),
        }
        if life is not None:
            headers["Connect-Timeout-Ms"] = str(int(life * 1000))
        if user is not None:
            headers["Authorization"] = connect.basic_user(user)
        body = connect.envelope(message)
        for renewed in (False, True):
            try:
                response = await self._http.open(
                    "POST", f"{self.access.url}/{method}", {**headers, **self.access.headers}, body
                )
            except Unreachable as error:
                raise Unavailable(f"E2B: {error}; try again later") from error
            if response.code == 200:
                break
            answer = await self._http.rest(response, MAX_ANSWER)
            if not await self._recovered(answer, renewed):
                raise connect.unary_error(answer.status, answer.body)
        stream = EventStream(self.runtime.reactor, listener)
        response.deliverBody(stream)
        return stream

    async def read_file(self, path: str, limit: int) -> bytes:
        """Raises NotFound, Invalid (no file), TooLarge."""
        query = urlencode({"path": path})
        try:
            answer = await self._ask(
                "GET", f"/files?{query}", {}, b"", seconds=FILE_SECONDS, limit=limit
            )
        except TooLong:
            raise TooLarge(f"the file is larger than {limit} bytes") from None
        if answer.status != 200:
            raise _file_error(answer)
        return answer.body

    async def write_file(self, path: str, content: ByteSource, seconds: float) -> None:
        """Write a file, making its folders; belongs to the sandbox's own user.

        Raises Invalid (a directory is there), TooLarge (no room), and StreamClosed when
        ``content`` broke off.
        """
        body = SourceBody(content, f"wit{secrets.token_hex(16)}")
        query = urlencode({"path": path})
        headers = {"Content-Type": body.content_type}
        answer = await self._ask("POST", f"/files?{query}", headers, body, seconds=seconds)
        if answer.status != 200:
            raise _file_error(answer)

    async def _ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | SourceBody,
        *,
        seconds: float | None,
        limit: int = MAX_ANSWER,
    ) -> Answer:
        for renewed in (False, True):
            try:
                answer = await self._http.ask(
                    method,
                    f"{self.access.url}{path}",
                    {**headers, **self.access.headers},
                    body,
                    seconds=seconds,
                    limit=limit,
                )
            except Unreachable as error:
                raise Unavailable(f"E2B: {error}; try again later") from error
            except TooLong as error:
                if limit != MAX_ANSWER:
                    raise
                raise Unavailable("the sandbox's answer is too long") from error
            if not await self._recovered(answer, renewed or not isinstance(body, bytes)):
                break
        return answer

    async def _recovered(self, answer: Answer, renewed: bool) -> bool:
        """Whether the call may be tried again, with new access."""
        if answer.status == 401 and not renewed:
            self.access = await self._renew()
            return True
        if answer.status == 502:
            await self._gone()
        return False


def _file_error(answer: Answer) -> WitError:
    try:
        said = plain(connect.parse(answer.body).get("message"))
    except ProtocolError:
        said = ""
    said = said or f"status {answer.status}"
    match answer.status:
        case 404:
            return NotFound(f"there is no such file in the sandbox: {said}")
        case 400:
            return Invalid(f"this is not a file: {said}")
        case 507:
            return TooLarge("the sandbox's disk is full")
    if "not a directory" in said or "is a directory" in said:
        return Invalid(f"this is not a file: {said}")
    return Unavailable(f"the sandbox could not do this: {said}")
