"""A command that runs in a container: an exec instance of the engine's, and its stream."""

from __future__ import annotations

import signal as signals
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as Overdue
from twisted.logger import Logger

from wit.errors import Invalid, Unavailable, WitError
from wit.runtime import Runtime, shielded
from wit.sandboxes.docker.engine import Engine, Refused
from wit.sandboxes.docker.hijack import ExecStream
from wit.sandboxes.docker.scripts import Started
from wit.sandboxes.provider import Command, Exit, Output, Signal, TerminalSize
from wit.streams import StreamClosed

STALLED_SECONDS = (0.25, 4.0)
"""When a command is looked at whose output nobody takes, as its stream's end is not seen: at first,
and how often at last."""
SETTLE_SECONDS = 5.0
"""An engine may need so long from a stream's end to the exit code, or to end what is killed."""
STOPPING_SECONDS = 0.2
END_OF_FILE = b"\x04"


@attrs.frozen
class Instance:
    """An exec instance that has begun."""

    id: str
    """The engine's name of it."""
    mark: str
    """In the environment of the command and of what it starts."""
    stream: ExecStream
    started: Started
    command: Command
    sweep: bool = True
    """Whether it might leave something running in the background."""


class Surroundings(Protocol):
    """What an execution asks of the container that it is in."""

    @property
    def runtime(self) -> Runtime: ...

    @property
    def engine(self) -> Engine: ...

    async def kill(self, signal: Signal, started: Started, mark: str) -> None:
        """Signal the command and all that it started. Raises WitError when that is impossible."""
        ...

    async def sweep(self, started: Started, mark: str) -> None:
        """Kill what a command that has ended left running. Raises WitError."""
        ...

    async def kills(self) -> int:
        """How often something was killed for using too much memory. Raises WitError."""
        ...

    async def runs(self) -> bool:
        """Whether the container still runs. Raises WitError."""
        ...

    async def has(self, exec_id: str) -> bool:
        """Whether a command's process is there, which its exec instance may not yet know."""
        ...

    def over(self, execution: DockerExecution) -> None:
        """The execution is closed."""
        ...


class DockerExecution:
    """See :class:`wit.sandboxes.provider.Execution`.

    What a command leaves running in the background is ended when the execution is closed.
    """

    log = Logger()

    def __init__(self, surroundings: Surroundings, instance: Instance) -> None:
        self.id = instance.mark
        self.started = instance.started
        """What the command said of itself."""
        self._runtime = surroundings.runtime
        self._reactor = surroundings.runtime.reactor
        self._engine = surroundings.engine
        self._surroundings = surroundings
        self._exec_id = instance.id
        self._sweep = instance.sweep
        self._stream = instance.stream
        self._terminal = instance.command.terminal is not None
        self._exit: Exit | None = None
        self._reason: str | None = None
        self._killed = False
        self._waiting: set[Deferred[None]] = set()
        self._closing: Deferred[None] | None = None
        self._timer: Any = None
        self._look_timer: Any = None
        self._look_pause = STALLED_SECONDS[0]
        self._stream.stalled = self._look_later
        if instance.command.seconds is not None:
            self._timer = self._reactor.callLater(instance.command.seconds, self._overdue)
        self._background(self._watch(), "watching a command")

    # its channels

    async def read(self) -> Output | None:
        return await self._stream.read()

    async def write(self, data: bytes) -> None:
        if self._exit is not None:
            raise StreamClosed("the command has ended")
        await self._stream.write(data)

    async def end_input(self) -> None:
        if not self._terminal:
            self._stream.end_input()
        elif self._exit is None:
            try:
                await self._stream.write(END_OF_FILE)
            except StreamClosed:
                return

    async def resize(self, size: TerminalSize) -> None:
        if not self._terminal:
            raise Invalid("this command has no terminal")
        await resize(self._engine, self._exec_id, size)

    # its life

    async def signal(self, signal: Signal) -> None:
        if signal is Signal.KILL:
            await self._end()
        elif self._exit is None:
            await self._surroundings.kill(signal, self.started, self.id)

    async def wait(self) -> Exit:
        while self._exit is None:
            await self._changed()
        return self._exit

    def lose(self) -> None:
        """The sandbox is being destroyed, and this ends with it."""
        self._reason = self._reason or "lost"
        self._stream.drain()

    def leave(self) -> None:
        """Let go of it without ending it: the daemon stops, the container goes on."""
        self._stop_timers()
        self._settle(Exit(137, "KILL", "lost"))
        self._stream.drop()
        self._stream.abort()

    async def close(self) -> None:
        if self._closing is not None:
            if not self._closing.called:
                await self._once(self._closing)
            return
        self._closing = Deferred()
        try:
            # Whoever closes may be cancelled; what runs must be ended all the same.
            await shielded(self._close())
        finally:
            self._closing.callback(None)

    async def _once(self, done: Deferred[None]) -> None:
        turn: Deferred[None] = Deferred()
        done.addCallback(lambda _: turn.callback(None))
        await turn

    async def _close(self) -> None:
        self._stop_timers()
        self._stream.drop()
        try:
            if self._exit is None:
                await self._end()
            elif self._sweep and self._exit.reason != "lost":
                await self._surroundings.sweep(self.started, self.id)
        except WitError as error:
            self.log.warn("a command could not be ended: {error}", error=error.message)
        if self._exit is None:
            settling = Deferred.fromCoroutine(self.wait())
            settling.addTimeout(SETTLE_SECONDS, self._reactor)
            settling.addErrback(lambda failure: failure.trap(Overdue))
            await settling
        self._stream.abort()
        self._settle(Exit(137, "KILL", self._reason or "lost"))
        self._surroundings.over(self)

    def _overdue(self) -> None:
        if self._exit is None:
            self._reason = self._reason or "timeout"
            self._background(self._end(), "ending an overdue command")

    async def _end(self) -> None:
        if self._exit is not None:
            return
        self._killed = True
        self._stream.drain()
        await self._surroundings.kill(Signal.KILL, self.started, self.id)

    # how it ended

    async def _watch(self) -> None:
        """From the end of the stream to how the command ended."""
        if not self._stream.ended:
            await self._stream.closed
        deadline = self._reactor.seconds() + SETTLE_SECONDS
        pause = 0.01
        while self._exit is None:
            found = await self._ask()
            if found is not None:
                self._settle(found)
            elif self._reactor.seconds() < deadline:
                await self._runtime.sleep(pause)
                pause = min(pause * 2, 0.5)
            else:
                # It runs, but its stream broke off, and there is no way to have another.
                self.lose()
                await self._end()
                deadline += SETTLE_SECONDS

    def _look_later(self) -> None:
        if self._exit is None and not (self._look_timer and self._look_timer.active()):
            self._look_timer = self._reactor.callLater(self._look_pause, self._look_now)

    def _look_now(self) -> None:
        if self._exit is None and self._stream.full:
            self._background(self._look(), "looking at a command")
        else:
            self._look_pause = STALLED_SECONDS[0]

    async def _look(self) -> None:
        """Whether it has ended behind the output that nobody takes."""
        found = await self._ask()
        if found is not None:
            self._settle(found)
        if found is not None or not await self._surroundings.has(self._exec_id):
            self._stream.drain()
        else:
            self._look_pause = min(2 * self._look_pause, STALLED_SECONDS[1])
            self._look_later()

    async def _ask(self) -> Exit | None:
        """How it ended, by the engine; None while it runs."""
        try:
            found = await self._engine.call("GET", f"/exec/{self._exec_id}/json")
        except Unavailable:
            # Gone with its container, or with the engine.
            return Exit(137, "KILL", "lost")
        if found["Running"] or found["ExitCode"] is None:
            return None
        code = int(found["ExitCode"])
        if code <= 128:
            return Exit(code)
        return Exit(code, _name(code), self._reason or await self._why())

    async def _why(self) -> str | None:
        """Why a command ended by a signal that is not known to be ours."""
        try:
            if not self._killed and await self._surroundings.kills() > self.started.kills:
                return "memory"
        except WitError:
            # Nothing runs in a container that is just being stopped; the engine says so soon.
            await self._runtime.sleep(STOPPING_SECONDS)
        try:
            return None if await self._surroundings.runs() else "lost"
        except WitError:
            return "lost"

    def _settle(self, how: Exit) -> None:
        if self._exit is None:
            self._exit = how
            self._stop_timers()
            for waiting in list(self._waiting):
                waiting.callback(None)

    async def _changed(self) -> None:
        waiting: Deferred[None] = Deferred()
        self._waiting.add(waiting)
        try:
            await waiting
        finally:
            self._waiting.discard(waiting)

    def _stop_timers(self) -> None:
        for timer in (self._timer, self._look_timer):
            if timer is not None and timer.active():
                timer.cancel()

    def _background(self, work: Any, what: str) -> None:
        Deferred.fromCoroutine(work).addErrback(
            lambda failure: self.log.failure("{what} failed", failure, what=what)
        )


async def resize(engine: Engine, exec_id: str, size: TerminalSize) -> None:
    """Of a terminal that has been started; nothing when its command has ended."""
    query = {"h": str(size.rows), "w": str(size.columns)}
    try:
        await engine.call("POST", f"/exec/{exec_id}/resize", query)
    except Refused as refused:
        if refused.status not in (404, 409, 500):
            raise


def _name(code: int) -> str | None:
    try:
        return signals.Signals(code - 128).name.removeprefix("SIG")
    except ValueError:
        return None
