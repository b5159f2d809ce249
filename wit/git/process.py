"""Child processes, as the git engine needs them.

Twisted's ``spawnProcess`` reads pipes in small pieces, needs SIGCHLD in the main thread and cannot
give a child a file as its output. So this starts git with ``posix_spawn`` in a process group of its
own, puts big non-blocking pipes on the reactor, and hears of the exit through a pidfd. Reading is
by demand: a pipe is only watched while somebody waits for its data, so a slow client stops git by
itself and memory is one chunk. When a child has ended, its whole group has: nothing is left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from collections.abc import Coroutine, Mapping
from types import TracebackType
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wit.errors import TimedOut, TooLarge, Unavailable
from wit.git.command import Invocation
from wit.git.pipes import Descriptor, PipeSink, PipeSource, TailKeeper
from wit.latch import Latch
from wit.runtime import Runtime
from wit.streams import ByteSource, BytesSource, StreamClosed

PIPE = -1
"""Make a pipe for this stream."""

DEVNULL = -2
"""Connect this stream to nothing."""

PIPE_BYTES = 1024 * 1024
"""Wanted capacity of a pipe that carries packs; the kernel may give less (pipe(7))."""

KILL_SECONDS = 2.0
"""Between SIGTERM and SIGKILL."""

_SIGNALS_TO_DEFAULT = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

T = TypeVar("T")

log = Logger()


@implementer(IReadDescriptor)
class _ExitWatch(Descriptor):
    """A pidfd: readable when the process has ended (pidfd_open(2))."""

    def __init__(self, reactor: Any, fd: int, child: Child) -> None:
        super().__init__(reactor, fd)
        self._child = child
        reactor.addReader(self)

    def doRead(self) -> None:
        self._close()
        self._child._ended()

    def connectionLost(self, reason: Failure) -> None:
        self.doRead()


class Child:
    """A running git; ``async with`` it, so that it never outlives the work it was started for."""

    def __init__(
        self, runtime: Runtime, name: str, pid: int, pidfd: int, *, pipes: Mapping[int, int]
    ) -> None:
        """``pipes`` are our ends, by the number that the other end has in the child."""
        reactor = runtime.reactor
        self._reactor = reactor
        self._name = name
        self.pid = pid
        self._stdin = PipeSink(reactor, pipes[0]) if 0 in pipes else None
        self._stdout = PipeSource(reactor, pipes[1]) if 1 in pipes else None
        self._stderr = TailKeeper(reactor, pipes[2])
        self._watch = _ExitWatch(reactor, pidfd, self)
        self._exited = Latch()
        self._code = 0
        self._timer: Any = None

    @property
    def stdin(self) -> PipeSink:
        """The child's standard input. Close it when everything is written."""
        assert self._stdin is not None, "started without a pipe to its standard input"
        return self._stdin

    @property
    def stdout(self) -> PipeSource:
        assert self._stdout is not None, "started without a pipe from its standard output"
        return self._stdout

    @property
    def stderr_tail(self) -> bytes:
        """The last TAIL_BYTES bytes of standard error; complete once ``wait`` has returned."""
        return self._stderr.tail

    @property
    def running(self) -> bool:
        return not self._exited.opened

    async def wait(self) -> int:
        """The exit status, negative for the signal that ended it. Any number may wait."""
        await self._exited.wait()
        return self._code

    def kill(self) -> None:
        """SIGTERM to the whole group, SIGKILL to what is left after KILL_SECONDS."""
        if self.running and self._timer is None:
            self._signal_group(signal.SIGTERM)
            self._timer = self._reactor.callLater(KILL_SECONDS, self._signal_group, signal.SIGKILL)

    async def close(self) -> None:
        """Close our ends of the pipes, kill the child if it still runs, and wait for its end."""
        if self._stdin is not None:
            self._stdin.close()
        if self._stdout is not None:
            self._stdout.close()
        self.kill()
        await self.wait()

    async def __aenter__(self) -> Child:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            log.debug("the group of {name} (pid {pid}) is gone", name=self._name, pid=self.pid)

    def _ended(self) -> None:
        # The zombie still holds its pid, so the group is surely ours: end what it left behind.
        self._signal_group(signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._stderr.finish()
        if self._stdin is not None:
            self._stdin.close()
        self._code = os.waitstatus_to_exitcode(status)
        self._exited.open()


def spawn(
    runtime: Runtime,
    invocation: Invocation,
    *,
    stdin: int = PIPE,
    stdout: int = PIPE,
    extra_fds: Mapping[int, int] | None = None,
) -> Child:
    """Start ``invocation``; must be called in the reactor's thread, which it holds for about 1 ms.

    ``stdin`` and ``stdout`` are PIPE, DEVNULL or an open descriptor, which stays the caller's.
    ``extra_fds`` maps a number in the child (3 or more) to an open descriptor. No other descriptor
    is inherited, as Python opens all of them close-on-exec.

    Raises Unavailable if the system has no process, descriptor or memory left for it.
    """
    opened: list[int] = []
    ours: dict[int, int] = {}
    try:
        ends = {0: stdin, 1: stdout, 2: PIPE, **(extra_fds or {})}
        for number, wanted in ends.items():
            if wanted == PIPE:
                reading, writing = os.pipe2(os.O_CLOEXEC)
                opened += (reading, writing)
                theirs, mine = (reading, writing) if number == 0 else (writing, reading)
                os.set_blocking(mine, False)
                if number != 2:
                    enlarge(mine)
                ends[number], ours[number] = theirs, mine
            elif wanted == DEVNULL:
                ends[number] = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
                opened.append(ends[number])
        actions = []
        for number, theirs in ends.items():
            source = theirs
            if source <= max(ends):
                # Its number is, or may be, another one's target: move it out of the way first.
                source = fcntl.fcntl(theirs, fcntl.F_DUPFD_CLOEXEC, max(ends) + 1)
                opened.append(source)
            actions.append((os.POSIX_SPAWN_DUP2, source, number))
        pid = os.posix_spawn(
            invocation.argv[0],
            invocation.argv,
            invocation.env,
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=_SIGNALS_TO_DEFAULT,
        )
        pidfd = _watch(pid)
    except BaseException as error:
        for fd in opened:
            os.close(fd)
        if not isinstance(error, OSError):
            raise
        log.error("cannot start git {name}: {error}", name=invocation.name, error=error)
        raise Unavailable("the server cannot start git right now; try again in a moment") from error
    for fd in opened:
        if fd not in ours.values():
            os.close(fd)
    return Child(runtime, invocation.name, pid, pidfd, pipes=ours)


@attrs.frozen
class Completed:
    """How a command ended and what it said."""

    code: int
    stdout: bytes
    stderr: bytes


async def run(
    runtime: Runtime,
    invocation: Invocation,
    stdin: bytes = b"",
    *,
    limit: int = 1024 * 1024,
    timeout: float = 60.0,  # noqa: ASYNC109
) -> Completed:
    """Run a command to its end. Cancelling kills the group and waits until it is gone.

    Raises TooLarge beyond ``limit`` bytes of output, TimedOut after ``timeout`` seconds, and
    Unavailable as :func:`spawn` does.
    """
    try:
        return await within(runtime, timeout, _complete(runtime, invocation, stdin, limit))
    except TimeoutError:
        raise TimedOut(f"git {invocation.name} took longer than {timeout:g} seconds") from None


async def _complete(
    runtime: Runtime, invocation: Invocation, stdin: bytes, limit: int
) -> Completed:
    parts: list[bytes] = []
    size = 0
    async with spawn(runtime, invocation, stdin=PIPE if stdin else DEVNULL) as child:
        feeding = feed(child, BytesSource(stdin)) if stdin else None
        try:
            while data := await child.stdout.read():
                size += len(data)
                if size > limit:
                    raise TooLarge(f"git {invocation.name} answered more than {limit} bytes")
                parts.append(data)
            code = await child.wait()
        finally:
            if feeding is not None:
                feeding.cancel()
        return Completed(code, b"".join(parts), child.stderr_tail)


def feed(child: Child, source: ByteSource) -> Deferred[None]:
    """Write all of ``source`` to the child and close its input, beside what the caller does.

    Never fails: a child that stops reading tells the rest by how it ends, and if the source
    breaks off, the child is killed. Cancel it when the child's output has been read.
    """

    async def write_all() -> None:
        try:
            while data := await source.read():
                try:
                    await child.stdin.write(data)
                except StreamClosed:
                    return
        except StreamClosed:
            child.kill()
        finally:
            child.stdin.close()

    def ended(failure: Failure) -> None:
        if not isinstance(failure.value, CancelledError):
            log.failure("feeding a process failed", failure)

    done: Deferred[None] = Deferred.fromCoroutine(write_all())
    return done.addErrback(ended)


async def within(runtime: Runtime, seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``; after ``seconds`` it is cancelled and TimeoutError raised."""
    return await Deferred.fromCoroutine(work).addTimeout(
        seconds, runtime.reactor, onTimeoutCancel=_timed_out
    )


def _timed_out(result: T | Failure, seconds: float) -> T | Failure:
    """As Twisted does it, but with Python's own TimeoutError."""
    if isinstance(result, Failure) and isinstance(result.value, CancelledError):
        raise TimeoutError(f"{seconds:g} seconds")
    return result


def seal_descriptors() -> None:
    """Mark what this process itself inherited (sockets of systemd) as close-on-exec.

    Called once at start: everything opened later is sealed by Python.
    """
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > 2:
            with contextlib.suppress(OSError):
                os.set_inheritable(fd, False)


def enlarge(pipe: int) -> None:
    """Ask for a pipe of PIPE_BYTES; an account with many pipes keeps the usual 64 KiB."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _watch(pid: int) -> int:
    """A pidfd of the child just started. If there is none to be had, neither is there a child."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
