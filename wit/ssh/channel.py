"""One session channel: the requests that precede a command, and the command's byte streams.

Flow control, both ways (design.md, "Twisted's traps"):

* Incoming data goes into a queue, and the client's window is opened again only by what the consumer
  has taken; the window is small until a push begins.
* Outgoing data waits for the client's window and for a turn on the transport, a slice at a time,
  so that nothing but the caller's own chunk is ever buffered here.
* End of file, exit status and close follow when the last byte has been handed over.

The work runs in one coroutine, which is cancelled when the client goes away.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from wit.access.actor import Actor
from wit.errors import Forbidden, TimedOut, WitError, internal_error
from wit.git import pktline
from wit.repositories.traffic import RequestInfo, Service
from wit.ssh.command import parse_command, parse_git_protocol
from wit.ssh.fields import Fields
from wit.ssh.greeting import greeting
from wit.streams import ByteQueue, StreamClosed

if TYPE_CHECKING:
    from wit.ssh.connection import SshConnection

WINDOW = 128 * 1024
"""Bytes that a client may send before anybody has taken them: enough for any request."""

PUSH_WINDOW = 2 * 1024 * 1024
"""The same for a push; with a round trip of 100 ms it allows 20 MB/s."""

LOCAL_MAX_PACKET = 32 * 1024
"""Bytes of data in one packet (RFC 4253, section 6.1)."""

SLICE = 64 * 1024
"""Bytes that one channel writes before the others have their turn."""

FATAL = 128
"""Exit status of a command that could not be run, as git has it."""

_WINDOW_LIMIT = (1 << 32) - 1


class Channel:
    """A session (RFC 4254, section 6) in which one git command can run."""

    local_max_packet = LOCAL_MAX_PACKET

    _log = Logger()

    def __init__(
        self,
        connection: SshConnection,
        channel_id: int,
        remote_id: int,
        remote_window: int,
        remote_max_packet: int,
    ) -> None:
        self._connection = connection
        self._transport = connection.transport
        self._context = connection.transport.factory
        self.id = channel_id
        self.remote_id = remote_id
        self.local_window = WINDOW
        """Bytes that the client may still send."""
        self.moved = self._now()
        """Reactor time at which data last moved, either way."""
        self._window_size = WINDOW
        self._taken = 0
        self._remote_window = remote_window
        self._remote_max_packet = min(remote_max_packet, SLICE)
        self._window_opened: Deferred[None] | None = None
        self._source = ByteQueue(consumed=self._consumed)
        self._closed = False
        self._gone = False
        self._terminal = False
        self._version = 0
        self._speaks_git = False
        self._request_id = self._context.runtime.new_id()
        self._sent = 0
        self._sending = False
        self._task: Deferred[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether nothing more can be asked for: something runs, or has run."""
        return self._task is not None or self._closed

    def drain(self) -> None:
        """The server is stopping; what runs may end by itself."""

    def _now(self) -> float:
        return float(self._context.runtime.reactor.seconds())

    # -- requests ------------------------------------------------------------------------------

    def request_received(self, kind: bytes, want_answer: bool, fields: Fields) -> None:
        """Section 6: one command or greeting in each session; everything else is refused."""

        def answer(success: bool) -> None:
            if want_answer:
                self._connection.send_request_answer(self, success)

        busy = self.busy
        if kind == b"exec" and not busy:
            line = fields.string()
            answer(True)
            self._start(self._exec(line))
        elif kind == b"shell" and not busy:
            answer(True)
            self._start(self._greet())
        elif kind == b"pty-req" and not busy:
            self._terminal = True
            answer(True)
        elif kind == b"env" and not busy:
            answer(self._set_variable(fields.string(), fields.string()))
        else:
            answer(False)

    def _set_variable(self, name: bytes, value: bytes) -> bool:
        version = parse_git_protocol(value) if name == b"GIT_PROTOCOL" else None
        if version is not None:
            self._version = version
        return version is not None

    # -- the work ------------------------------------------------------------------------------

    def _start(self, work: Coroutine[Deferred[Any], Any, int]) -> None:
        self._task = Deferred.fromCoroutine(self._run(work))
        self._context.running(self._task)

    def _beside(self, work: Coroutine[Deferred[Any], Any, None]) -> Deferred[None]:
        """Do something beside the work; when it cannot go on, the work sees why."""
        running: Deferred[None] = Deferred.fromCoroutine(work)
        running.addErrback(lambda failure: failure.trap(StreamClosed, CancelledError, WitError))
        running.addErrback(lambda failure: self._log.failure("an SSH channel failed", failure))
        return running

    async def _run(self, work: Coroutine[Deferred[Any], Any, int]) -> None:
        """Do the work, tell what went wrong, and end the channel with the exit status."""
        status, outcome, text = 0, "ok", ""
        try:
            status = await work
        except WitError as error:
            status, outcome, text = error.answer.ssh_exit, error.code, error.message
        except Exception:
            status = FATAL
            if self._gone or self._transport.ended:
                outcome = "cancelled"
            else:
                outcome, text = "internal", internal_error(self._request_id)
                self._log.failure("ssh request {request_id} failed", request_id=self._request_id)
        self._context.requests.labels("ssh", outcome).inc()
        if text:
            try:
                await self._explain(text)
            except (StreamClosed, CancelledError):
                pass  # nobody is there to read it
        self._close(status)

    async def _exec(self, line: bytes) -> int:
        command = parse_command(line)
        if self._terminal:
            raise Forbidden("git commands run without a terminal: leave out -t")
        self._speaks_git = True
        actor = await self._actor()
        self._log.info(
            "ssh {service} {path!r} by {actor}",
            request_id=self._request_id,
            service=command.service.value,
            path=command.path,
            actor=actor.username,
            address=self._transport.address,
        )
        request = RequestInfo(self._request_id, self._transport.address, "ssh")
        session = await self._context.traffic.open(actor, command.path, command.service, request)
        if command.service is Service.RECEIVE_PACK:
            self._widen(PUSH_WINDOW)
        await session.serve_session(self._version, self._source, self)
        return 0

    async def _greet(self) -> int:
        local_address = self._transport.transport.getHost()
        await self._say(greeting(await self._actor(), self._context.config, local_address))
        return 0

    async def _actor(self) -> Actor:
        """Who is signed in, as of now: the key may have been removed since."""
        assert self._transport.key is not None
        actor = await self._context.owner(self._transport.key)
        if actor is None:
            raise Forbidden("your SSH key has been removed from this server")
        return actor

    async def _explain(self, text: str) -> None:
        """Say why: as an error packet while git waits for its first, on standard error else."""
        if self._speaks_git and not self._sent:
            await self.write(pktline.error(text))
        else:
            await self._say(f"wit: {text}")

    async def _say(self, text: str) -> None:
        """Lines on standard error, or on the terminal if there is one."""
        newline = "\r\n" if self._terminal else "\n"
        lines = "".join(f"{line}{newline}" for line in text.splitlines())
        await self._send(lines.encode(), stderr=not self._terminal)

    # -- what goes out -------------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """The command's output (wit.streams.ByteSink)."""
        self._sent += len(data)
        await self._send(data, stderr=False)
        self._context.bytes_sent.inc(len(data))

    async def _send(self, data: bytes, stderr: bool) -> None:
        """Returns when all of ``data`` has been handed to the transport, and more would fit."""
        self._sending = True
        try:
            await self._send_all(data, stderr)
        finally:
            self._sending = False

    async def _send_all(self, data: bytes, stderr: bool) -> None:
        send = self._connection.send_stderr if stderr else self._connection.send_data
        view = memoryview(data)
        while True:
            await self._transport.writers.turn()
            if self._closed or self._transport.ended:
                raise StreamClosed("the client closed the channel")
            if not view:
                return
            if not self._remote_window:
                await self._wait_for_window()
                continue
            self.moved = self._now()
            size = min(len(view), self._remote_window, SLICE)
            for start in range(0, size, self._remote_max_packet):
                send(self, view[start : min(start + self._remote_max_packet, size)])
            self._remote_window -= size
            view = view[size:]

    async def _wait_for_window(self) -> None:
        if self._window_opened is None:
            self._window_opened = Deferred()
        try:
            await self._window_opened
        finally:
            self._window_opened = None

    def add_window(self, size: int) -> None:
        """The client takes ``size`` bytes more (section 5.2)."""
        self._remote_window = min(self._remote_window + size, _WINDOW_LIMIT)
        self.moved = self._now()
        self._open_window()

    def _open_window(self) -> None:
        opened, self._window_opened = self._window_opened, None
        if opened is not None and not opened.called:
            opened.callback(None)

    # -- what comes in -------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Raises ValueError if the client sends more than its window."""
        self._use_window(len(data))
        self._context.bytes_received.inc(len(data))
        if not self._closed:
            self._source.feed(data)

    def extended_data_received(self, data: bytes) -> None:
        """Standard error of a client is read and forgotten."""
        self._use_window(len(data))
        self._consumed(len(data))

    def _use_window(self, size: int) -> None:
        if size > self.local_window or size > LOCAL_MAX_PACKET:
            raise ValueError("more data than the window allows")
        self.local_window -= size
        self.moved = self._now()

    def _consumed(self, size: int) -> None:
        """Somebody took ``size`` bytes: give them back once they are worth a message."""
        self._taken += size
        self.moved = self._now()
        if self._taken >= self._window_size // 4 and not self._closed:
            given, self._taken = self._taken, 0
            self.local_window += given
            self._connection.send_window_adjust(self, given)

    def _widen(self, window_size: int) -> None:
        more = window_size - self._window_size
        self._window_size = window_size
        self.local_window += more
        self._connection.send_window_adjust(self, more)

    def eof_received(self) -> None:
        self._source.end()

    # -- the end -------------------------------------------------------------------------------

    def _close(self, exit_status: int) -> None:
        """Everything has been sent; what still comes in is dropped."""
        if not self._closed:
            self._closed = True
            self._connection.send_end(self, exit_status)

    def close_received(self) -> None:
        """The client wants no more: answer, and stop the work."""
        if not self._closed:
            self._closed = True
            self._connection.send_close(self)
        self._stop()

    def lost(self) -> None:
        """The connection is gone."""
        self._closed = True
        self._stop()

    def too_slow(self, idle_seconds: float) -> None:
        """Nothing has moved for too long."""
        if self._closed:
            return
        error = TimedOut(f"nothing moved for {idle_seconds:g} seconds")
        self._log.info(
            "ssh channel from {address} closed: {reason}",
            address=self._transport.address,
            reason=error.message,
        )
        self._close(error.answer.ssh_exit)
        self._stop()

    def _stop(self) -> None:
        self._gone = True
        task = self._task
        if task is not None and not task.called:
            task.cancel()
        self._source.abort(StreamClosed("the client closed the channel"))
        self._open_window()
