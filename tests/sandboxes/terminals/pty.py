"""Sandboxes that are none: programs on real PTYs of this machine, and programs that a test plays."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import termios
import uuid
from typing import Any

import attrs
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from wit.access.actor import Actor
from wit.errors import NotFound
from wit.latch import Latch
from wit.runtime import Runtime
from wit.sandboxes.provider import Channel, Command, Exit, Output, Signal, TerminalSize
from wit.streams import ByteQueue, StreamClosed

_reactor: Any = reactor


class Played:
    """An Execution whose program is the test: ``say`` prints, ``typed`` is what came in."""

    def __init__(self, size: TerminalSize | None = None) -> None:
        self.id = uuid.uuid4().hex
        self.typed: list[bytes] = []
        self.sizes: list[TerminalSize] = [] if size is None else [size]
        self.closed = 0
        self.said = 0
        """Bytes that were read by the terminal."""
        self.unread: list[bytes] = []
        self._waiting: Deferred[None] | None = None
        self._ended: Exit | None = None
        self._end = Latch()

    def say(self, *output: bytes) -> None:
        self.unread += output
        self._wake()

    def exit(self, code: int = 0) -> None:
        self._ended = self._ended or Exit(code)
        self._end.open()
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def read(self) -> Output | None:
        while not self.unread:
            if self._ended is not None:
                return None
            self._waiting = Deferred()
            await self._waiting
        data = self.unread.pop(0)
        self.said += len(data)
        return Output(Channel.STDOUT, data)

    async def write(self, data: bytes) -> None:
        if self._ended is not None:
            raise StreamClosed("it is over")
        self.typed.append(data)

    async def end_input(self) -> None:
        await self.write(b"\x04")

    async def resize(self, size: TerminalSize) -> None:
        self.sizes.append(size)

    async def signal(self, signal: Signal) -> None:
        self.exit(128)

    async def wait(self) -> Exit:
        await self._end.wait()
        assert self._ended is not None
        return self._ended

    async def close(self) -> None:
        self.closed += 1
        self.exit(129)


class OnPty(ProcessProtocol):
    """An Execution on a PTY of this machine."""

    def __init__(self, command: Command) -> None:
        assert command.terminal is not None
        self.id = uuid.uuid4().hex
        self._queue = ByteQueue(self._pause, self._go_on)
        self._end = Latch()
        self._how = Exit(0)
        self._stuck: Deferred[None] | None = None
        master, slave = pty.openpty()
        _set_size(master, command.terminal)
        environment = {"PATH": os.environ["PATH"], "PS1": "$ ", "HOME": "/", **command.env}
        self._process = _reactor.spawnProcess(
            self,
            "/usr/bin/env",
            ["env", *command.argv],
            env=environment,
            path="/tmp",
            usePTY=(master, slave, os.ttyname(slave)),
        )
        self._process.registerProducer(self, True)
        self._reaper = LoopingCall(self._reap)
        self._reaper.start(0.02, now=False)

    def _reap(self) -> None:
        """The reactor of the tests runs in a thread, where no SIGCHLD comes."""
        if self._process.pid is None:
            self._reaper.stop()
        else:
            self._process.reapProcess()

    # of the process

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._queue.feed(data)

    def processExited(self, reason: Failure) -> None:
        value: Any = reason.value
        code = value.exitCode if value.exitCode is not None else 128 + value.signal
        self._how = Exit(code)
        self._process.resumeProducing()
        _reactor.callLater(0.2, self._process.loseConnection)

    def processEnded(self, reason: Failure) -> None:
        self._queue.end()
        self._end.open()
        self.stopProducing()

    def _pause(self) -> None:
        self._process.pauseProducing()

    def _go_on(self) -> None:
        self._process.resumeProducing()

    # as a producer of input

    def pauseProducing(self) -> None:
        self._stuck = self._stuck or Deferred()

    def resumeProducing(self) -> None:
        stuck, self._stuck = self._stuck, None
        if stuck is not None:
            stuck.callback(None)

    stopProducing = resumeProducing

    # as an Execution

    async def read(self) -> Output | None:
        data = await self._queue.read()
        return Output(Channel.STDOUT, data) if data else None

    async def write(self, data: bytes) -> None:
        if self._process.pid is None:
            raise StreamClosed("it is over")
        self._process.write(data)
        if self._stuck is not None:
            await self._stuck

    async def end_input(self) -> None:
        await self.write(b"\x04")

    async def resize(self, size: TerminalSize) -> None:
        if self._process.pid is not None:
            _set_size(self._process.fd, size)

    async def signal(self, signal: Signal) -> None:
        self._process.signalProcess(signal.value)

    async def wait(self) -> Exit:
        await self._end.wait()
        return self._how

    async def close(self) -> None:
        if self._process.pid is not None:
            self._process.signalProcess("KILL")
        await self._end.wait()


def _set_size(fd: int, size: TerminalSize) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.columns, 0, 0))


@attrs.define
class Box:
    id: str
    user_id: str
    repo_id: str | None = None


@attrs.define
class FakeSandboxes:
    """Sandboxes as terminals know them. ``played``: programs are Played, not real."""

    boxes: dict[str, Box] = attrs.field(factory=dict)
    watchers: set[str] = attrs.field(factory=set)
    """Users who administer everything."""
    played: bool = False
    executions: list[Any] = attrs.field(factory=list)
    commands: list[Command] = attrs.field(factory=list)

    async def pause(self) -> None:
        """A real one takes its time as well."""
        if not self.played:
            await Runtime(_reactor).sleep(0.01)

    async def get(self, actor: Actor, sandbox_id: str) -> Box:
        box = self.boxes.get(sandbox_id)
        if box is None or (box.user_id != actor.user_id and actor.user_id not in self.watchers):
            raise NotFound("sandbox not found")
        return box

    async def for_repository(self, actor: Actor, repo: Any) -> Box:
        for box in self.boxes.values():
            if box.repo_id == repo["id"] and box.user_id == actor.user_id:
                return box
        raise NotFound("sandbox not found")

    async def execute(
        self, actor: Actor, sandbox_id: str, command: Command, kind: str = "exec"
    ) -> Any:
        self.commands.append(command)
        await self.pause()
        execution = Played(command.terminal) if self.played else OnPty(command)
        self.executions.append(execution)
        return execution
