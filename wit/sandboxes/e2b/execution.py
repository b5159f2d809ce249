"""A command that runs in an E2B sandbox.

Its output is a stream from the daemon there. Not reading it is back-pressure: what is buffered here
is bounded, then the connection is not read, then the daemon's writes stop, then the command's.
Dropping the stream does not end the command, and what it says while nobody follows is thrown away
by the daemon; so a stream that is cut ends a command on pipes as ``lost`` (its output would have a
hole that nobody sees), while a terminal is followed again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from wit.errors import Conflict, Invalid, NotFound, TimedOut, Unavailable, WitError
from wit.git.process import within
from wit.latch import Latch
from wit.runtime import shielded
from wit.sandboxes.e2b import scripts
from wit.sandboxes.e2b.connect import RpcError
from wit.sandboxes.e2b.envd import Envd, EventStream, StreamEnd
from wit.sandboxes.e2b.inputs import Input
from wit.sandboxes.e2b.messages import (
    Event,
    Started,
    select,
    size_message,
    start_message,
)
from wit.sandboxes.e2b.outputs import Outputs
from wit.sandboxes.provider import (
    Command,
    Exit,
    Output,
    SandboxLost,
    Signal,
    TerminalSize,
)

START_SECONDS = 60.0
KILL_SECONDS = 30.0
KILLED_SECONDS = 15.0
"""How long the news of a kill may take until it is believed without them."""

ACKNOWLEDGED_SECONDS = 5.0
"""How long the acknowledgement of input may come after the news of the command's end."""

LIFE_SLACK = 60.0
"""Seconds after a command's own time limit at which the daemon ends it, should we be gone."""

REATTACH_SECONDS = 60.0
REATTACH_FIRST = 0.25
REATTACH_MOST = 10.0

LOST = Exit(255, None, "lost")
KILLED = Exit(137, "KILL")

log = Logger()


class E2bExecution:
    """An Execution; made by :func:`start`."""

    def __init__(
        self,
        envd: Envd,
        command: Command,
        on_end: Callable[[E2bExecution], None],
        *,
        ours: bool = False,
    ) -> None:
        """``ours``: a script of wit's own, without input, which the daemon itself ends in time."""
        self.id = ""
        self._ours = ours
        self._envd = envd
        self._runtime = envd.runtime
        self._command = command
        self._on_end = on_end
        self._mark = self._runtime.random_bytes(16).hex()
        self._pid = 0
        self._started = Latch()
        self._failure: WitError | None = None
        self._stream: EventStream | None = None
        self._outputs = Outputs()
        self._input = Input(envd, terminal=self._terminal)
        self._exit: Exit | None = None
        self._exited = Latch()
        self._dead = False
        self._timed_out = False
        self._timer: Any = None
        self._closed = False

    @property
    def _terminal(self) -> bool:
        return self._command.terminal is not None

    async def start(self, user: str | None = None) -> None:
        """Raises Invalid, NotFound (its folder), SandboxLost, Unavailable; then nothing runs."""
        message = start_message(self._command, self._mark, stdin=not self._ours)
        seconds = self._command.seconds
        life = None if seconds is None else seconds + (0 if self._ours else LIFE_SLACK)
        try:
            await within(self._runtime, START_SECONDS, self._begin(message, user, life))
        except BaseException as error:
            self._closed = True
            if self._stream is not None:
                self._stream.abort()
            self._finish(LOST)
            if not isinstance(error, RpcError | Invalid | SandboxLost):
                self._kill_behind()
            if isinstance(error, TimeoutError):
                raise Unavailable("the sandbox did not start the command in time") from error
            if isinstance(error, RpcError):
                raise _start_error(error, self._command) from error
            raise
        if seconds is not None and self._exit is None:
            self._timer = self._runtime.reactor.callLater(seconds, self._time_is_over)

    async def _begin(self, message: dict[str, Any], user: str | None, life: float | None) -> None:
        self._stream = await self._envd.follow(
            "process.Process/Start", message, self, user=user, life=life
        )
        self._outputs.come_from(self._stream)
        await self._started.wait()
        if self._failure is not None:
            raise self._failure

    # What comes from the daemon

    def on_event(self, event: Event) -> None:
        match event:
            case Started():
                self._pid = self._input.pid = event.pid
                self.id = str(event.pid)
                self._started.open()
            case Output():
                self._outputs.put(event)
            case Exit():
                self._dead = True
                self._finish(attrs.evolve(event, reason="timeout") if self._timed_out else event)

    def on_end(self, end: StreamEnd) -> None:
        if not self._started.opened:
            self._failure = end.error or Unavailable("the sandbox did not start the command")
            self._started.open()
        elif self._exit is None and not self._closed:
            Deferred.fromCoroutine(self._cut(end)).addErrback(
                lambda failure: log.failure("following a command in a sandbox", failure)
            )

    async def _cut(self, end: StreamEnd) -> None:
        """The stream ended without the command's end."""
        if end.error is not None and end.error.rpc_code == "deadline_exceeded":
            self._timed_out = True
        elif self._terminal and await self._reattached():
            return
        if self._exit is None:
            self._finish(attrs.evolve(KILLED, reason="timeout") if self._timed_out else LOST)
            self._kill_behind()

    async def _reattached(self) -> bool:
        """Follow a terminal again; a sandbox that is paused meanwhile is waited for."""
        reactor = self._runtime.reactor
        until, pause = reactor.seconds() + REATTACH_SECONDS, REATTACH_FIRST
        while self._exit is None and not self._closed:
            await self._runtime.sleep(pause)
            pause = min(pause * 2, REATTACH_MOST)
            if self._exit is not None or self._closed:
                break
            try:
                message = {"process": select(self._pid)}
                self._stream = await self._envd.follow("process.Process/Connect", message, self)
                self._outputs.come_from(self._stream)
            except Conflict:
                until = reactor.seconds() + REATTACH_SECONDS
            except (SandboxLost, RpcError):
                return False
            except WitError:
                if reactor.seconds() > until:
                    return False
            else:
                return True
        return False

    def _finish(self, how: Exit) -> None:
        if self._exit is not None:
            return
        self._exit = how
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        nobody_left = self._closed or how.reason == "lost"
        self._input.close(0.0 if nobody_left else ACKNOWLEDGED_SECONDS)
        self._exited.open()
        self._outputs.end()
        self._on_end(self)

    # What the caller does

    async def read(self) -> Output | None:
        return await self._outputs.read()

    async def write(self, data: bytes) -> None:
        await self._input.write(data)

    async def end_input(self) -> None:
        await self._input.end()

    async def resize(self, size: TerminalSize) -> None:
        if not self._terminal:
            raise Invalid("this command has no terminal")
        if self._exit is None:
            message = {"process": select(self._pid), "pty": size_message(size)}
            try:
                await self._envd.call("process.Process/Update", message)
            except (RpcError, SandboxLost) as error:
                log.debug("a terminal that ended was resized: {error}", error=error)

    async def signal(self, signal: Signal) -> None:
        if self._exit is None:
            self._outputs.take_the_rest()
            await self._send_signal(signal)

    async def wait(self) -> Exit:
        await self._exited.wait()
        assert self._exit is not None
        return self._exit

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self._stream is not None:
            self._stream.abort()
        self._finish(KILLED)
        self._outputs.clear()
        if not self._dead:
            await shielded(self._kill())

    def lose(self) -> None:
        """The sandbox is gone, and the command with it."""
        self._dead = True
        self._finish(LOST)
        self.let_go()

    def let_go(self) -> None:
        """Stop following; the command goes on."""
        if self._stream is not None:
            self._closed = True
            self._stream.abort()

    # Ending it

    def _time_is_over(self) -> None:
        self._timed_out = True
        self._outputs.take_the_rest()

        async def end() -> None:
            await self._kill()
            await self._exited.wait_at_most(KILLED_SECONDS, self._runtime.reactor)
            if self._stream is not None and self._exit is None:
                self._stream.abort()
            self._finish(attrs.evolve(KILLED, reason="timeout"))

        Deferred.fromCoroutine(end()).addErrback(
            lambda failure: log.failure("ending a command in a sandbox", failure)
        )

    def _kill_behind(self) -> None:
        """Kill it without waiting, as far as the sandbox can be reached."""
        Deferred.fromCoroutine(self._kill()).addErrback(
            lambda failure: log.failure("killing a command in a sandbox", failure)
        )

    async def _kill(self) -> None:
        """Kill it with all that it started; says in the log when that could not be done."""
        if self._ours:
            return
        try:
            await self._send_signal(Signal.KILL)
            self._dead = True
        except WitError as error:
            log.info("a command in a sandbox may still run: {error}", error=error)

    async def _send_signal(self, signal: Signal) -> None:
        """To the command and all that it started: they are found by the mark in their environment.

        The daemon itself could only signal the command, and only with TERM or KILL; that is what
        is left when a shell cannot be started.
        """
        try:
            ran = await run(
                self._envd,
                Command(scripts.signal(signal, self._mark), cwd="/", seconds=KILL_SECONDS),
                user="root",
            )
            if ran.code == 0:
                return
        except (SandboxLost, Conflict):
            raise
        except WitError as error:
            log.debug("signalling by a script failed: {error}", error=error)
        if self._pid and signal in (Signal.TERM, Signal.KILL):
            message = {"process": select(self._pid), "signal": f"SIGNAL_SIG{signal.value}"}
            try:
                await self._envd.call("process.Process/SendSignal", message)
            except RpcError as error:
                if error.rpc_code != "not_found":
                    raise


@attrs.frozen
class Ran:
    """How one of our own scripts ended, and what it said."""

    code: int
    stdout: bytes
    stderr: bytes


async def run(
    envd: Envd, command: Command, user: str | None = None, limit: int = 1024 * 1024
) -> Ran:
    """Run a command without input to its end.

    Raises what starting one does, TimedOut, and Unavailable when it says more than ``limit`` bytes
    on a channel or the connection is cut.
    """
    execution = E2bExecution(envd, command, lambda _: None, ours=True)
    await execution.start(user)
    parts: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
    try:
        while output := await execution.read():
            part = parts[output.channel]
            part += output.data
            if len(part) > limit:
                raise Unavailable(f"the sandbox answered more than {limit} bytes")
        how = await execution.wait()
    finally:
        await execution.close()
    if how.reason == "timeout":
        raise TimedOut("the sandbox took too long")
    if how.reason is not None:
        raise Unavailable("the connection to the sandbox was cut off; try again")
    return Ran(how.code, bytes(parts["stdout"]), bytes(parts["stderr"]))


def _start_error(error: RpcError, command: Command) -> WitError:
    if error.rpc_code in ("invalid_argument", "not_found") and "does not exist" in error.detail:
        return NotFound(f"there is no folder {command.cwd!r} in the sandbox")
    if error.rpc_code == "invalid_argument":
        return Invalid(f"the sandbox refused this command: {error.detail}")
    return error
