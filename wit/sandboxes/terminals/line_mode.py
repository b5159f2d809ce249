"""A shell for sandboxes whose engine has no terminals (contract, rest.md, "Terminal WebSocket").

It stands where a shell on a PTY would: it echoes what is typed, lets a line be edited, shows a
prompt, and runs each line as a command of its own, on pipes. Nothing stays from one line to the
next but the files, and a command gets no input: what is typed meanwhile is the next line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from wit.errors import Invalid, WitError
from wit.latch import Latch
from wit.sandboxes.provider import Channel, Command, Execution, Exit, Output, Signal, TerminalSize
from wit.sandboxes.records import SandboxOver
from wit.sandboxes.terminals.line_editor import BELL, Echo, Key, Line, LineEditor
from wit.streams import ByteQueue, StreamClosed

SHELL = ("sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash -i; exec sh -i")
"""What runs in a terminal for which nothing else was asked."""

PROMPT = "$ "

GREETING = "wit: there is no real terminal here: each line is run as a command of its own\r\n"

MAX_AHEAD = 32
"""Lines that are kept while a command runs; each one more rings the bell."""

OUTPUT_BYTES = 64 * 1024

_HUNG_UP = Exit(129, "HUP")

Start = Callable[[Command], Awaitable[Execution]]
"""Starts a command on pipes."""


class LineMode:
    """See :class:`wit.sandboxes.provider.Execution`."""

    log = Logger()

    def __init__(self, start: Start, command: Command, size: TerminalSize) -> None:
        """``command`` is the shell that was asked for: its folder and environment count."""
        self.id = "line-mode"
        self._start = start
        self._command = command
        self._size = size
        self._editor = LineEditor()
        self._output = ByteQueue(self._pause, self._go_on, high_water=OUTPUT_BYTES)
        self._room = Latch()
        self._room.open()
        self._lines: deque[str | None] = deque()
        """What was typed and not run yet; None is the end of input."""
        self._typed: Deferred[None] | None = None
        self._busy = False
        self._running: Execution | None = None
        self._wanted: Signal | None = None
        """For a command that is just being started."""
        self._exit = _HUNG_UP
        self._exited = Latch()
        self._closing = False
        Deferred.fromCoroutine(self._live())

    async def read(self) -> Output | None:
        data = await self._output.read()
        return Output(Channel.STDOUT, data) if data else None

    async def write(self, data: bytes) -> None:
        """Never waits: what is too much is not echoed, and lines that are too many are dropped."""
        if self._exited.opened:
            raise StreamClosed("the shell has ended")
        for event in self._editor.feed(data):
            match event:
                case Echo(text):
                    self._say(text)
                case Line(text):
                    self._type(text)
                case Key.END:
                    self._type(None)
                case Key.INTERRUPT:
                    await self._interrupt(Signal.INT)
                case Key.QUIT:
                    await self._interrupt(Signal.KILL)

    async def end_input(self) -> None:
        await self.write(Key.END.value.encode())

    async def resize(self, size: TerminalSize) -> None:
        """Told to the next command, by COLUMNS and LINES."""
        self._size = size

    async def signal(self, signal: Signal) -> None:
        """As to an interactive shell: HUP and KILL end it, the others what it runs."""
        if signal in (Signal.HUP, Signal.KILL):
            await self.close()
        elif self._running is not None:
            await self._running.signal(signal)

    async def wait(self) -> Exit:
        await self._exited.wait()
        return self._exit

    async def close(self) -> None:
        self._closing = True
        self._wake()
        self._room.open()
        if self._running is not None:
            await self._running.close()
        await self.wait()

    # what is typed

    def _type(self, line: str | None) -> None:
        if len(self._lines) >= MAX_AHEAD:
            self._say(BELL)
            return
        self._lines.append(line)
        self._wake()

    async def _interrupt(self, signal: Signal) -> None:
        """End what runs, and forget what was to be run after it."""
        self._lines.clear()
        if not self._busy:
            self._say(PROMPT)
        elif self._running is None:
            self._wanted = signal
        else:
            await self._send(self._running, signal)

    async def _send(self, running: Execution, signal: Signal) -> None:
        try:
            await running.signal(signal)
        except WitError as error:
            self._say(f"wit: {error.message}\r\n")

    def _wake(self) -> None:
        typed, self._typed = self._typed, None
        if typed is not None:
            typed.callback(None)

    async def _next_line(self) -> str | None:
        while not (self._lines or self._closing):
            self._typed = Deferred()
            await self._typed
        return None if self._closing else self._lines.popleft()

    # what is run

    async def _live(self) -> None:
        try:
            self._exit = await self._converse()
        except SandboxOver as error:
            self._say(f"wit: {error.message}\r\n")
            self._exit = attrs.evolve(_HUNG_UP, reason="lost")
        except Exception:
            self.log.failure("a line mode failed")
            self._exit = attrs.evolve(_HUNG_UP, reason="lost")
        finally:
            self._output.end()
            self._exited.open()

    async def _converse(self) -> Exit:
        """Until its end, which is that of the last command, or what ``exit`` says."""
        self._say(GREETING)
        how = Exit(0)
        while not self._closing:
            self._say(PROMPT)
            line = await self._next_line()
            if self._closing:
                break
            words = ["exit"] if line is None else line.split()
            if words[:1] == ["exit"] and (status := _status(words, how.code)) is not None:
                return Exit(status)
            if line is None or not words:
                continue
            self._busy, self._wanted = True, None
            try:
                how = await self._run(line)
            except SandboxOver:
                raise
            except WitError as error:
                self._say(f"wit: {error.message}\r\n")
            finally:
                self._busy = False
            if how.reason == "lost":
                return how
            if how.reason is not None:
                self._say(f"wit: ended by wit: {how.reason}\r\n")
        return _HUNG_UP

    async def _run(self, line: str) -> Exit:
        size = {"COLUMNS": str(self._size.columns), "LINES": str(self._size.rows)}
        execution = await self._start(
            attrs.evolve(
                self._command,
                argv=("sh", "-c", line),
                env={**self._command.env, **size},
                terminal=None,
            )
        )
        self._running = execution
        try:
            with suppress(StreamClosed):
                await execution.end_input()
            if self._wanted is not None:
                await self._send(execution, self._wanted)
            while not self._closing and (output := await execution.read()) is not None:
                self._show(output.data.replace(b"\n", b"\r\n"))
                await self._room.wait()
            return await execution.wait() if not self._closing else _HUNG_UP
        finally:
            self._running = None
            await execution.close()

    # what is shown

    def _say(self, text: str) -> None:
        """Dropped while nobody takes the output, as a terminal's driver drops an echo."""
        if self._room.opened:
            self._show(text.encode())

    def _show(self, data: bytes) -> None:
        for start in range(0, len(data), OUTPUT_BYTES):
            self._output.feed(data[start : start + OUTPUT_BYTES])

    def _pause(self) -> None:
        if not self._closing:
            self._room = Latch()

    def _go_on(self) -> None:
        self._room.open()


def line_mode(start: Start, command: Command) -> LineMode:
    """In the place of SHELL on a terminal. Raises Invalid for any other program."""
    if tuple(command.argv) != SHELL or command.terminal is None:
        raise Invalid("there are no terminals in this sandbox: run the command without one")
    return LineMode(start, command, command.terminal)


def _status(words: list[str], last: int) -> int | None:
    """What ``exit`` ends with; None if it is to be left to a shell to complain of."""
    if len(words) == 1:
        return last
    if len(words) == 2 and words[1].isascii() and words[1].isdigit() and len(words[1]) <= 9:
        return int(words[1]) & 0xFF
    return None
