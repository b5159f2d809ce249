"""Commands on pipes: a session of their own, its log followed over a WebSocket."""

from __future__ import annotations

import signal as signals
from base64 import b64encode
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from wit.errors import Invalid, Unavailable, WitError
from wit.runtime import Runtime, shielded
from wit.sandboxes.daytona import scripts
from wit.sandboxes.daytona.log_stream import Decoder, Said
from wit.sandboxes.daytona.sockets import Socket, connect
from wit.sandboxes.daytona.toolbox import Toolbox
from wit.sandboxes.daytona.wire import Refused
from wit.sandboxes.provider import Channel, Command, Exit, Output, Signal, TerminalSize
from wit.streams import StreamClosed

MAX_READ = 64 * 1024
INPUT_BYTES = 24 * 1024
"""Bytes of one input call."""
CREDIT_STEP = scripts.WINDOW // 2
RECONNECTS = 6
"""Times that a connection is opened anew without anything having come over it."""

LOST = Exit(137, None, "lost")


def exit_of(code: int, reason: str | None = None) -> Exit:
    """A shell's code; over 128 it stands for a signal, as far as a shell can tell."""
    try:
        name = signals.Signals(code - 128).name.removeprefix("SIG") if code > 128 else None
    except ValueError:
        name = None
    return Exit(code, name, reason)


class Outputs:
    """Output that has come and was not read; a reader that is cancelled loses nothing."""

    def __init__(self, taken: Callable[[Said], object]) -> None:
        self._taken = taken
        self._waiting: Deferred[None] | None = None
        self._chunks: deque[Said] = deque()
        self._ended = False
        self.size = 0

    def feed(self, said: Said) -> None:
        if self._ended or not said.output.data:
            self._taken(said)
            return
        self._chunks.append(said)
        self.size += len(said.output.data)
        self._wake()

    def end(self, *, drop: bool = False) -> None:
        self._ended = True
        if drop:
            self._chunks.clear()
            self.size = 0
        self._wake()

    async def read(self) -> Output | None:
        while not self._chunks:
            if self._ended:
                return None
            self._waiting = Deferred()
            try:
                await self._waiting
            finally:
                self._waiting = None
        channel, size = self._chunks[0].output.channel, 0
        parts: list[bytes] = []
        while self._chunks and self._chunks[0].output.channel is channel:
            said = self._chunks[0]
            data = said.output.data
            if size + len(data) > MAX_READ:
                if not parts:  # larger than a read by itself: hand on its beginning
                    self._chunks[0] = Said(Output(channel, data[MAX_READ:]), said.cost)
                    parts.append(data[:MAX_READ])
                    size = MAX_READ
                break
            self._chunks.popleft()
            parts.append(data)
            size += len(data)
            self._taken(said)
        self.size -= size
        return Output(channel, b"".join(parts))

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)


class Running:
    """What commands on pipes and on terminals have in common."""

    log = Logger()

    def __init__(
        self,
        runtime: Runtime,
        toolbox: Toolbox,
        gone: Callable[[], Awaitable[bool]],
        seconds: float | None,
    ) -> None:
        self.id = runtime.random_bytes(12).hex()
        self._runtime = runtime
        self._toolbox = toolbox
        self._gone = gone
        self._seconds = seconds
        self._outputs = Outputs(self._taken)
        self._socket: Socket | None = None
        self._exit: Exit | None = None
        self._reason: str | None = None
        self._waiting: list[Deferred[Exit]] = []
        self._limit: IDelayedCall | None = None
        self._closed = False

    async def read(self) -> Output | None:
        return await self._outputs.read()

    async def signal(self, signal: Signal) -> None:
        if self._exit is None:
            await self._ask(self._toolbox.run(scripts.SIGNAL, self.id, signal.value))

    async def wait(self) -> Exit:
        if self._exit is not None:
            return self._exit
        waiting: Deferred[Exit] = Deferred()
        self._waiting.append(waiting)
        try:
            return await waiting
        finally:
            self._waiting.remove(waiting)

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await shielded(self._close())

    async def _close(self) -> None:
        self._drop_socket()
        if self._exit is None:
            await self._ask(self._toolbox.run(scripts.SIGNAL, self.id, Signal.KILL.value))
        await self._ask(self._let_go())
        await self._ask(self._toolbox.run(scripts.END, self.id))
        self._end(exit_of(137, self._reason))
        self._outputs.end(drop=True)

    async def _let_go(self) -> None:
        raise NotImplementedError

    def _taken(self, said: Said) -> None:
        """This output has been read."""

    def _begin_time(self) -> None:
        if self._seconds is not None:
            self._limit = self._runtime.reactor.callLater(self._seconds, self._time_is_up)

    def _time_is_up(self) -> None:
        self._limit = None
        if self._exit is None:
            self._reason = "timeout"
            self._spawn(self.signal(Signal.KILL))

    def _end(self, how: Exit) -> None:
        """The first to call this says how it ended."""
        if self._exit is not None:
            return
        self._exit = how
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        for waiting in list(self._waiting):
            if not waiting.called:
                waiting.callback(how)

    def _lose(self) -> None:
        """The sandbox is gone, or nothing can be learnt of the command any more."""
        self._drop_socket()
        self._end(LOST)
        self._outputs.end()

    def _drop_socket(self) -> None:
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.drop()

    async def _ask(self, asking: Any) -> None:
        """Something that may fail because there is nothing left that it could be done to."""
        with suppress(Refused, Unavailable):
            await asking

    def _spawn(self, work: Any) -> None:
        """Run beside; what goes wrong in it unforeseen ends the command rather than hang."""

        def failed(failure: Any) -> None:
            if failure.check(CancelledError) is None:
                self.log.failure("a command at Daytona", failure=failure)
                self._lose()

        Deferred.fromCoroutine(work).addErrback(failed)


class Piped(Running):
    """A command on three pipes."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._decoder = Decoder()
        self._command = ""
        self._log_bytes = 0
        self._skip = 0
        self._failures = 0
        self._read = dict.fromkeys(Channel, 0)
        self._credited = dict.fromkeys(Channel, 0)
        self._input = DeferredLock()
        self._input_ended = False

    async def start(self, command: Command, cwd: str) -> None:
        """Raises Refused, Unavailable, Invalid; then nothing of it is left."""
        arguments = (self.id, cwd, str(scripts.WINDOW), *command.argv)
        scripts.quoted(command.argv)
        text = scripts.exports(command.env) + scripts.script(scripts.PIPES, *arguments)
        await self._toolbox.new_session(self.id)
        try:
            self._command = await self._toolbox.start_in_session(self.id, text)
            await self._follow()
        except (Refused, WitError, CancelledError):
            await self.close()
            raise
        self._begin_time()

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), INPUT_BYTES):
            await self._send(data[at : at + INPUT_BYTES])

    async def end_input(self) -> None:
        if not self._input_ended:
            with suppress(StreamClosed):
                await self._send(b"")
            self._input_ended = True

    async def resize(self, size: TerminalSize) -> None:
        raise Invalid("this command has no terminal whose size could be changed")

    async def _send(self, data: bytes) -> None:
        """One message of input; one after the other, so that none overtakes another."""
        await self._input.acquire()
        try:
            if self._exit is not None or self._input_ended:
                raise StreamClosed("the command reads no more")
            encoded = b64encode(data).decode()
            message = f"{len(encoded) + 1}\n{encoded}\n" if data else "0\n"
            sending = Deferred.fromCoroutine(
                self._toolbox.send_input(self.id, self._command, message)
            )
            ended: Deferred[Exit] = Deferred()
            ended.addCallback(lambda _: sending.cancel())
            self._waiting.append(ended)
            try:
                await sending
            except (Refused, Unavailable, CancelledError) as error:
                if self._exit is None and isinstance(error, Unavailable | CancelledError):
                    raise
                raise StreamClosed("the command reads no more") from None
            finally:
                self._waiting.remove(ended)
        finally:
            self._input.release()

    async def _let_go(self) -> None:
        await self._toolbox.end_session(self.id)

    # the log

    async def _follow(self) -> None:
        """Read the log from its beginning, passing over what has been read before."""
        self._skip = self._log_bytes
        url = self._toolbox.log_url(self.id, self._command)
        self._socket = await connect(
            self._runtime, url, self._toolbox.key, self._received, self._cut
        )

    def _received(self, data: bytes, binary: bool) -> None:
        if self._skip:
            passed = min(self._skip, len(data))
            self._skip -= passed
            data = data[passed:]
        if not data:
            return
        self._log_bytes += len(data)
        self._failures = 0
        for said in self._decoder.feed(data):
            self._outputs.feed(said)
        if self._decoder.code is not None:
            self._end(exit_of(self._decoder.code, self._reason))
        if self._decoder.complete:
            self._drop_socket()
            self._outputs.end()
        elif self._outputs.size > 2 * scripts.WINDOW and self._socket is not None:
            self._socket.pause()  # more than its credit: somebody in there does not keep to it

    def _cut(self, code: int, reason: str) -> None:
        self._socket = None
        if not self._closed:
            self._spawn(self._follow_again())

    async def _follow_again(self) -> None:
        """The log's end was not seen: the connection broke, or the sandbox is gone."""
        while not self._closed and not self._decoder.complete:
            if self._failures >= RECONNECTS or await self._gone():
                self._lose()
                return
            await self._runtime.sleep(0.1 * 2**self._failures)
            self._failures += 1
            try:
                if self._failures > 2 and await self._ended_without_mark():
                    return
                await self._follow()
                return
            except Unavailable:
                continue

    async def _ended_without_mark(self) -> bool:
        """The log was read to its end twice: our script itself could not run."""
        try:
            code = await self._toolbox.exit_code(self.id, self._command)
        except Refused:
            return False
        if code is not None:
            self._end(exit_of(code, self._reason))
            self._outputs.end()
        return code is not None

    def _taken(self, said: Said) -> None:
        channel = said.output.channel
        self._read[channel] += said.cost
        if self._socket is not None and self._outputs.size < scripts.WINDOW:
            self._socket.resume()
        if self._read[channel] - self._credited[channel] >= CREDIT_STEP and self._exit is None:
            self._credited[channel] = self._read[channel]
            self._spawn(self._ask(self._give_credit(channel)))

    async def _give_credit(self, channel: Channel) -> None:
        file = "out" if channel is Channel.STDOUT else "err"
        credit = str(self._credited[channel] + scripts.WINDOW)
        await self._toolbox.run(scripts.CREDIT, self.id, file, credit)
