"""A command that runs in a local sandbox."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from wit.errors import Invalid, WitError
from wit.git.pipes import PipeSink
from wit.latch import Latch
from wit.runtime import Runtime
from wit.sandboxes.local.keeper.walls import Who
from wit.sandboxes.local.link import Answers, Keeper
from wit.sandboxes.local.streams import Outputs, TerminalSink
from wit.sandboxes.provider import Channel, Exit, Output, Signal, TerminalSize
from wit.streams import StreamClosed

END_OF_INPUT = b"\x04"
STATUS_BYTES = 4096
RETRY_SECONDS = 0.01
"""Between two tries to signal a command that is just starting."""

_NUMBERS = {
    Signal.INT: signal.SIGINT,
    Signal.TERM: signal.SIGTERM,
    Signal.KILL: signal.SIGKILL,
    Signal.HUP: signal.SIGHUP,
}

log = Logger()


@attrs.frozen
class Ends:
    """Our ends of a command's streams: three pipes, or one terminal, which is all three."""

    stdin: int
    outputs: dict[Channel, int]
    terminal: int = -1
    """Descriptor of the terminal, for its size."""

    def close(self) -> None:
        for fd in {self.stdin, self.terminal, *self.outputs.values()} - {-1}:
            os.close(fd)


def open_pipes() -> tuple[Ends, list[int]]:
    """Our ends, and those of the command: standard input, output and error. Raises OSError."""
    theirs, ours = [], []
    for number in range(3):
        reading, writing = os.pipe2(os.O_CLOEXEC)
        their, our = (reading, writing) if number == 0 else (writing, reading)
        os.set_blocking(our, False)
        theirs.append(their)
        ours.append(our)
    return Ends(ours[0], {Channel.STDOUT: ours[1], Channel.STDERR: ours[2]}), theirs


def terminal_ends(master: int) -> Ends:
    """The descriptor that the keeper gave, for reading, writing and its size. Raises OSError."""
    os.set_blocking(master, False)
    writing = fcntl.fcntl(master, fcntl.F_DUPFD_CLOEXEC, 3)
    control = fcntl.fcntl(master, fcntl.F_DUPFD_CLOEXEC, 3)
    return Ends(writing, {Channel.STDOUT: master}, control)


def set_size(terminal: int, size: TerminalSize) -> None:
    """ioctl_tty(2), TIOCSWINSZ. Raises Invalid for a size that no terminal has."""
    check_size(size)
    sizes = struct.pack("HHHH", size.rows, size.columns, 0, 0)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, sizes)


def check_size(size: TerminalSize) -> None:
    """Raises Invalid."""
    if not (0 < size.columns <= 0xFFFF and 0 < size.rows <= 0xFFFF):
        raise Invalid(f"a terminal cannot have {size.columns} columns and {size.rows} rows")


class LocalExecution:
    """One bubblewrap, and what it runs. See :class:`wit.sandboxes.provider.Execution`."""

    def __init__(
        self,
        runtime: Runtime,
        keeper: Keeper,
        *,
        id: str,
        who: Who,
        ends: Ends,
        process: tuple[int, int],
        told: int,
        walls: list[int],
        answers: Answers,
        seconds: float | None,
        out_of_memory: Callable[[], int],
        ended: Callable[[LocalExecution], object],
    ) -> None:
        """``process`` is bubblewrap's pid and pidfd; ``told`` the file that it writes the pid of
        the sandboxed process to; ``out_of_memory`` counts kills in the sandbox for memory."""
        self.id = id
        self._runtime = runtime
        self._keeper = keeper
        self._who = who
        self._pid, self._pidfd = process
        self._told = told
        self._walls = walls
        self._answers = answers
        sink = PipeSink if ends.terminal < 0 else TerminalSink
        self._stdin = sink(runtime.reactor, ends.stdin)
        self._outputs = Outputs(runtime.reactor, ends.outputs)
        self._terminal = ends.terminal
        self._out_of_memory = out_of_memory
        self._kills = out_of_memory()
        self._on_end = ended
        self._exited = Latch()
        self._exit = Exit(137, "KILL", "lost")
        self._reason: str | None = None
        self._closed = False
        self._timer: Any = None
        if seconds is not None:
            self._timer = runtime.reactor.callLater(seconds, self.kill, "timeout")
        Deferred.fromCoroutine(self._watch()).addErrback(
            lambda failure: log.failure("watching a sandbox's command failed", failure)
        )

    @property
    def running(self) -> bool:
        return not self._exited.opened

    async def read(self) -> Output | None:
        return await self._outputs.read()

    async def write(self, data: bytes) -> None:
        if self._exited.opened:
            raise StreamClosed("the command has ended")
        await self._stdin.write(data)

    async def end_input(self) -> None:
        if self._terminal < 0:
            self._stdin.close()
        else:
            with suppress(StreamClosed):
                await self.write(END_OF_INPUT)

    async def resize(self, size: TerminalSize) -> None:
        if self._terminal < 0:
            raise Invalid("this command has no terminal whose size could be changed")
        if not self._closed:
            set_size(self._terminal, size)

    async def signal(self, signal: Signal) -> None:
        if signal is Signal.KILL:
            self.kill(None)
            await self.wait()
            return
        # While it starts there may be nobody yet who could take it.
        while self.running and not await self._signalled(_NUMBERS[signal]):
            await self._exited.wait_at_most(RETRY_SECONDS, self._runtime.reactor)

    async def _signalled(self, number: int) -> bool:
        child = self._child()
        if child is None:
            return False
        values = {"who": self._who, "outer": self._pid, "child": child, "number": int(number)}
        try:
            sent, _ = await self._keeper.ask("signal", values, self._walls)
        except WitError:
            if self.running:
                raise
            return True
        return bool(sent)

    async def wait(self) -> Exit:
        await self._exited.wait()
        return self._exit

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.kill(None)
            self._stdin.close()
            self._outputs.close()
            if self._terminal >= 0:
                os.close(self._terminal)
        await self.wait()

    def kill(self, reason: str | None) -> None:
        """End it with everything that it started, for ``reason`` (of Exit), at once."""
        if self.running:
            self._reason = self._reason or reason
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _child(self) -> int | None:
        """The pid of the first process inside, as soon as bubblewrap has told it."""
        for line in os.pread(self._told, STATUS_BYTES, 0).splitlines():
            with suppress(ValueError):
                told = json.loads(line)
                if "child-pid" in told:
                    return int(told["child-pid"])
        return None

    async def _watch(self) -> None:
        """Wait for the end."""
        message = await self._answers.next()
        self._answers.close()
        if message is not None:
            self._exit = self._how(os.waitstatus_to_exitcode(message.values["status"]))
        elif self._reason:
            self._exit = attrs.evolve(self._exit, reason=self._reason)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        os.close(self._pidfd)
        os.close(self._told)
        self._exited.open()
        self._on_end(self)

    def _how(self, code: int) -> Exit:
        code = code if code >= 0 else 128 - code
        name = None
        with suppress(ValueError):
            name = signal.Signals(code - 128).name.removeprefix("SIG") if code > 128 else None
        reason = self._reason
        if reason is None and name == "KILL" and self._out_of_memory() > self._kills:
            reason = "memory"
        return Exit(code, name, reason)
