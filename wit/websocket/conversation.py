"""What both forms of messages have in common: a WebSocket, what is waited for, and a terminal."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from wit.errors import WitError, internal_error
from wit.sandboxes.provider import Exit, TerminalSize
from wit.sandboxes.terminals.attachment import Attachment
from wit.sandboxes.terminals.terminals import Terminal
from wit.streams import ByteQueue, StreamClosed
from wit.websocket.flow import Flow
from wit.websocket.socket import Socket
from wit.websocket.visit import Core, Visit

MAX_EARLY = 64 * 1024
"""Bytes of messages that are kept until the terminal is ready; reading stops beyond them."""

INPUT_BYTES = 256 * 1024
"""Typed bytes that wait for a program that does not read; reading stops beyond them."""

NORMAL = 1000


class Conversation(ABC):
    """A viewer (wit.sandboxes.terminals.attachment.Viewer) on a WebSocket
    (wit.websocket.socket.Conversation)."""

    log = Logger()

    def __init__(self, core: Core, visit: Visit, *, acknowledges: bool) -> None:
        self._core = core
        self._visit = visit
        self._flow = Flow(acknowledges=acknowledges)
        self._attachment: Attachment | None = None
        self._ready = False
        self._early: list[tuple[bytes, bool]] = []
        self._early_bytes = 0
        self._input = ByteQueue(self._input_full, self._input_free, high_water=INPUT_BYTES)
        self._work: list[Deferred[None]] = []

    # the form's own

    @abstractmethod
    async def prepare(self) -> None:
        """Get so far that messages can be taken. Raises WitError."""

    @abstractmethod
    def take(self, payload: bytes, is_binary: bool) -> None:
        """One message. Raises Invalid."""

    @abstractmethod
    def refuse(self, error: WitError | None, message: str) -> None:
        """Say why it goes no further and close; without ``error`` the fault is ours."""

    # a viewer, in the form's messages

    @abstractmethod
    def replay(self, offset: int, data: bytes) -> None: ...

    @abstractmethod
    def output(self, data: bytes) -> None: ...

    @abstractmethod
    def lost(self, count: int) -> None: ...

    @abstractmethod
    def resized(self, size: TerminalSize) -> None: ...

    @abstractmethod
    def titled(self, title: str) -> None: ...

    @abstractmethod
    def ended(self, how: Exit) -> None: ...

    # the socket's side

    def opened(self, socket: Socket) -> None:
        self.socket = socket
        self.spawn(self._begin())

    def received(self, payload: bytes, is_binary: bool) -> None:
        if self._ready:
            self._take(payload, is_binary)
            return
        self._early.append((payload, is_binary))
        self._early_bytes += len(payload) + 64
        if self._early_bytes > MAX_EARLY:
            self.socket.stop_reading()

    def stuck(self) -> None:
        self._flow.stuck()

    def flowing(self) -> None:
        self._flow.flowing()
        self.settle()

    def closed(self) -> None:
        for work in self._work:
            work.cancel()
        if self._attachment is not None:
            self._attachment.detach()

    # for the forms

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine until the connection ends; what it raises ends the connection."""
        running: Deferred[None] = Deferred.fromCoroutine(work)
        running.addErrback(self._failed)
        self._work = [other for other in self._work if not other.called]
        self._work.append(running)

    def attach(
        self, terminal: Terminal, size: TerminalSize | None, offset: int | None = None
    ) -> None:
        """Look at ``terminal`` from now on."""
        self._attachment = terminal.attach(
            self, size=size, view_only=self._visit.view_only, offset=offset
        )
        self.settle()
        if not self._attachment.view_only:
            self.spawn(self._type(self._attachment))

    @property
    def attached(self) -> Attachment | None:
        return self._attachment

    def type(self, data: bytes) -> None:
        """Input for the terminal, kept until there is one; what a watcher types is dropped."""
        if self._attachment is None or not self._attachment.view_only:
            self._input.feed(data)

    def sent(self, count: int) -> None:
        self._flow.sent(count)
        self.settle()

    def acknowledged(self, total: int) -> None:
        self._flow.acknowledged(total)
        self.settle()

    def settle(self) -> None:
        """Tell the terminal what has been taken."""
        if self._attachment is not None and (count := self._flow.newly_taken()):
            self._attachment.taken(count)

    # within

    async def _begin(self) -> None:
        if self._visit.refused is not None:
            raise self._visit.refused
        await self.prepare()
        self._ready = True
        early, self._early = self._early, []
        for payload, is_binary in early:
            self._take(payload, is_binary)
        self.socket.go_on_reading()

    def _take(self, payload: bytes, is_binary: bool) -> None:
        try:
            self.take(payload, is_binary)
        except WitError as error:
            self.refuse(error, error.message)

    async def _type(self, attachment: Attachment) -> None:
        try:
            while data := await self._input.read():
                await attachment.write(data)
        except StreamClosed:
            pass  # the terminal is over, and says so itself

    def _input_full(self) -> None:
        """As long as we do not read, no acknowledgement can come; waiting for one would have the
        program wait for us and us for the program."""
        self.socket.stop_reading()
        self._flow.acknowledge_all()
        self.settle()

    def _input_free(self) -> None:
        self.socket.go_on_reading()

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, CancelledError):
            return
        if isinstance(error, WitError) and error.code != "internal":
            self.refuse(error, error.message)
            return
        self.log.failure("a terminal's WebSocket failed", failure)
        self.refuse(None, internal_error(self._visit.request_id))


def farewell(how: Exit) -> tuple[int, str]:
    """The close code and the sentence for a viewer whose terminal has ended so."""
    match how.reason:
        case "revoked":
            return 4403, "you may no longer use this terminal"
        case "kicked":
            return 4409, "somebody else has taken this terminal over"
        case "idle":
            return 4408, "the terminal was idle for too long"
        case "abandoned":
            return 4408, "nobody looked at the terminal for too long"
        case "expired":
            return 4408, "the terminal has reached its longest life"
        case "lost":
            return 4410, "the sandbox is gone"
        case "restart":
            return 1001, "the server is being restarted"
        case "closed":
            return NORMAL, "the terminal was closed"
        case "memory":
            return NORMAL, "the program used too much memory"
    return NORMAL, "the program has ended"
