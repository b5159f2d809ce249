"""The daemon's end of the keeper: starting it, asking it, and its answers.

See :mod:`wit.sandboxes.local.keeper.service` for what travels.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from wit.errors import Conflict, Invalid, NotFound, TooLarge, Unavailable, WitError
from wit.git.command import Invocation
from wit.git.pipes import Descriptor
from wit.git.process import DEVNULL, Child, spawn
from wit.runtime import Runtime
from wit.sandboxes.local import keeper
from wit.sandboxes.local.keeper.kernel import receive

AT_ONCE = 32
"""Requests that the keeper works on at once, each in a process."""

_SOCKET_FD = 3
_MESSAGE_BYTES = 4096
_MAX_FDS = 4

log = Logger()


@attrs.frozen
class Message:
    """One message of an answer, with descriptors, which are the receiver's to close."""

    values: Mapping[str, Any]
    fds: tuple[int, ...]

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)


@implementer(IReadDescriptor)
class Answers(Descriptor):
    """The messages that answer one request."""

    def __init__(self, reactor: Any, channel: socket.socket) -> None:
        channel.setblocking(False)
        self._socket = channel
        self._messages: deque[Message] = deque()
        self._waiting: Deferred[None] | None = None
        super().__init__(reactor, channel.fileno())
        reactor.addReader(self)

    async def next(self) -> Message | None:
        """The next one; None when no more will come. For one that waits at a time."""
        while not self._messages and not self.closed:
            self._waiting = Deferred()
            await self._waiting
        return self._messages.popleft() if self._messages else None

    def doRead(self) -> None:
        try:
            data, fds = receive(self._socket, _MESSAGE_BYTES, _MAX_FDS)
        except BlockingIOError:
            return
        except OSError:
            data, fds = b"", []
        if data:
            self._messages.append(Message(json.loads(data), tuple(fds)))
        else:
            self._end()
        self._wake()

    def connectionLost(self, reason: Failure) -> None:
        self._end()
        self._wake()

    def close(self) -> None:
        """Let go of it, and of what has come and nobody took."""
        self._end()
        while self._messages:
            self._messages.popleft().close()
        self._wake()

    def _end(self) -> None:
        if not self.closed:
            self._reactor.removeReader(self)
            self._fd = -1
            self._socket.close()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and not waiting.called:
            waiting.callback(None)


class Keeper:
    """The program, started when it is first needed and again should it ever end."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._slots = DeferredSemaphore(AT_ONCE)
        self._child: Child | None = None
        self._requests: socket.socket | None = None

    async def ask(
        self, operation: str, values: Mapping[str, Any], fds: Sequence[int] = ()
    ) -> tuple[Any, tuple[int, ...]]:
        """What is answered, and descriptors, which are the caller's to close.

        Raises Invalid, NotFound or TooLarge as the request deserves, and Unavailable when the
        machine cannot do it.
        """
        answers = await self.begin(operation, values, fds)
        try:
            return await first(answers)
        finally:
            answers.close()

    async def begin(
        self, operation: str, values: Mapping[str, Any], fds: Sequence[int] = ()
    ) -> Answers:
        """The same, for who wants to hear more than the first message."""
        await self._slots.acquire()  # type: ignore[misc]
        try:
            payload = os.memfd_create("request")
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                with os.fdopen(os.dup(payload), "wb") as file:
                    file.write(json.dumps(values).encode())
                given = [payload, theirs.fileno(), *fds]
                socket.send_fds(self._running(), [operation.encode()], given)
            except OSError as error:
                ours.close()
                log.error("cannot ask the sandbox keeper: {error}", error=error)
                raise Unavailable("the server cannot start sandboxes right now") from error
            finally:
                theirs.close()
                os.close(payload)
        except BaseException:
            self._slots.release()
            raise
        return _Counted(self._runtime.reactor, ours, self._slots)

    async def stop(self) -> None:
        """End the keeper, and with it whatever runs in sandboxes."""
        if self._requests is not None:
            self._requests.close()
            self._requests = None
        child, self._child = self._child, None
        if child is not None:
            await child.close()

    def _running(self) -> socket.socket:
        if self._child is not None and self._child.running and self._requests is not None:
            return self._requests
        if self._child is not None:
            log.error(
                "the sandbox keeper has ended: {words}",
                words=self._child.stderr_tail.decode(errors="replace"),
            )
        if self._requests is not None:
            self._requests.close()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = str(Path(keeper.__file__).parent / "__main__.py")
        invocation = Invocation(
            (sys.executable, "-I", "-S", program, str(_SOCKET_FD)),
            {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        )
        try:
            self._child = spawn(
                self._runtime,
                invocation,
                stdin=DEVNULL,
                stdout=DEVNULL,
                extra_fds={_SOCKET_FD: theirs.fileno()},
            )
        finally:
            theirs.close()
        ours.setblocking(False)
        self._requests = ours
        return ours


class _Counted(Answers):
    """Gives its place back with the first message: what comes later is a command's end."""

    def __init__(self, reactor: Any, channel: socket.socket, slots: DeferredSemaphore) -> None:
        self._slots: DeferredSemaphore | None = slots
        super().__init__(reactor, channel)

    def _wake(self) -> None:
        slots, self._slots = self._slots, None
        if slots is not None:
            slots.release()
        super()._wake()


async def first(answers: Answers) -> tuple[Any, tuple[int, ...]]:
    """The answer itself. Raises as :meth:`Keeper.ask`."""
    message = await answers.next()
    if message is None:
        raise Unavailable("the sandbox was ended meanwhile, or the server has no room for it")
    if "error" in message.values:
        raise error_of(message.values["error"], message.values["message"])
    return message.values["ok"], message.fds


def error_of(kind: str, sentence: str) -> WitError:
    if kind == "missing":
        return NotFound("there is no such file or directory")
    if kind == "not_directory":
        return Invalid("this is not a directory")
    if kind == "invalid":
        return Invalid(sentence)
    if kind == "large":
        return TooLarge(sentence)
    if kind == "taken":
        return Conflict(sentence)
    if kind == "full":
        return TooLarge("the sandbox's disk is full")
    return Unavailable(f"the server cannot do this in a sandbox: {sentence}")


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        with suppress(OSError):
            os.close(fd)
