"""One terminal: a PTY in a sandbox, the end of what it printed, and its viewers.

One pump reads the PTY for all. Reading waits (so the program waits, too) while every viewer who may
type is behind; one who is slower than the others loses a part and is told, and those who only watch
are never waited for. With nobody there the program goes on, at a rate that leaves the server quick.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from wit import config
from wit.access.actor import Actor
from wit.errors import WitError
from wit.runtime import Runtime
from wit.sandboxes.provider import Execution, Exit, TerminalSize
from wit.sandboxes.terminals.attachment import Attachment, Viewer
from wit.sandboxes.terminals.osc import OutputFilter
from wit.sandboxes.terminals.ring import Ring
from wit.sandboxes.terminals.sizes import smallest, wiggle

PROMPT_BYTES = 8 * 1024
"""Output up to this much in BURST_SECONDS is shown at once, and only more is joined: an echo never
waits for anything."""

FRAME_BYTES = 32 * 1024
BURST_SECONDS = 0.004

UNWATCHED_BYTES = 64 * 1024
UNWATCHED_RATE = 1024 * 1024
"""Bytes that are read between two pauses, and in a second, with nobody in front who may type."""

HANGUP = 129
"""128 and SIGHUP."""


class Session:
    """``on_end`` is called once, when the program is over."""

    log = Logger()

    def __init__(
        self,
        execution: Execution,
        rules: config.Terminals,
        runtime: Runtime,
        *,
        sandbox_id: str,
        owner: Actor,
        size: TerminalSize,
        kind: str,
        on_end: Callable[[Session], None],
    ) -> None:
        self.id = execution.id
        """That of its row in the audit, and of the contract's session."""
        self.sandbox_id = sandbox_id
        self.owner = owner
        self.kind = kind
        self.size = size
        self.ring = Ring(rules.scrollback_bytes)
        self.ended: Exit | None = None
        self.opened_at: datetime = runtime.now()
        self.viewers: tuple[Attachment, ...] = ()
        self._execution = execution
        self._rules = rules
        self._runtime = runtime
        self._on_end = on_end
        self._filter = OutputFilter(clipboard=rules.clipboard)
        self._began = self._active = self._alone = self._now()
        self._reason: str | None = None
        self._room: Deferred[None] | None = None
        self._unwatched = 0
        self._pending: list[bytes] = []
        self._pending_bytes = 0
        self._burst_began = 0.0
        self._burst = 0
        self._timer: IDelayedCall | None = None
        self._sizes: deque[TerminalSize] = deque(maxlen=4)
        self._resizing = False

    def start(self) -> None:
        """Read what the program prints, from now on to its end."""
        Deferred.fromCoroutine(self._live())

    @property
    def title(self) -> str:
        return self._filter.title

    # viewers

    def attach(
        self,
        viewer: Viewer,
        actor: Actor,
        *,
        size: TerminalSize | None,
        view_only: bool,
        offset: int | None,
    ) -> Attachment:
        """Have ``viewer`` see everything from now on, after what he missed since ``offset``."""
        self._flush()
        attachment = Attachment(self, viewer, actor, size=size, view_only=view_only)
        self._fit((*self.viewers, attachment))
        whole = attachment.replay(offset)
        if self.title:
            attachment.tell(lambda viewer: viewer.titled(self.title))
        if self.ended is not None:
            how = self.ended
            attachment.tell(lambda viewer: viewer.ended(how))
            return attachment
        self.viewers += (attachment,)
        if not whole:
            self.redraw()
        self.wake()
        return attachment

    def detach(self, attachment: Attachment) -> None:
        if attachment in self.viewers:
            self.viewers = tuple(other for other in self.viewers if other is not attachment)
            self._alone = self._now()
            self._fit(self.viewers)
            self.wake()

    def drop(self, which: Callable[[Attachment], bool], reason: str) -> None:
        """Send viewers away."""
        for attachment in filter(which, self.viewers):
            attachment.tell(lambda viewer: viewer.ended(Exit(HANGUP, "HUP", reason)))
            self.detach(attachment)

    # input and size

    async def write(self, data: bytes) -> None:
        """Raises wit.streams.StreamClosed."""
        self._active = self._now()
        await self._execution.write(data)

    def fit(self) -> None:
        """Take the size that all windows can show."""
        self._fit(self.viewers)

    def redraw(self) -> None:
        """Have a full-screen program draw everything anew."""
        self._set_size(wiggle(self.size))
        self._set_size(self.size)

    def _fit(self, viewers: tuple[Attachment, ...]) -> None:
        size = smallest(
            viewer.size for viewer in viewers if viewer.size is not None and not viewer.view_only
        )
        if size is None or size == self.size or self.ended is not None:
            return
        self.size = size
        self._set_size(size)
        for attachment in self.viewers:
            attachment.tell(lambda viewer: viewer.resized(size))

    def _set_size(self, size: TerminalSize) -> None:
        self._sizes.append(size)
        if not self._resizing:
            self._resizing = True
            Deferred.fromCoroutine(self._resize())

    async def _resize(self) -> None:
        try:
            while self._sizes and self.ended is None:
                await self._execution.resize(self._sizes.popleft())
        except Exception as error:
            self.log.warn("resizing a terminal failed: {error}", error=str(error))
        finally:
            self._resizing = False

    # output

    async def _live(self) -> None:
        """From the first byte to the end."""
        try:
            while (output := await self._execution.read()) is not None:
                self._print(output.data)
                await self._make_room(len(output.data))
            how = await self._execution.wait()
            await self._execution.close()
        except WitError as error:
            self.log.info("a terminal was lost: {error}", error=error.message, terminal=self.id)
            how = Exit(HANGUP, "HUP", "lost")
        except Exception:
            self.log.failure("a terminal failed", terminal=self.id)
            how = Exit(HANGUP, "HUP", "lost")
        self._end(how if self._reason is None else attrs.evolve(how, reason=self._reason))

    def _end(self, how: Exit) -> None:
        self._flush()
        self._show(self._filter.end())
        self.ended = how
        self._active = self._now()
        viewers, self.viewers = self.viewers, ()
        for attachment in viewers:
            attachment.tell(lambda viewer: viewer.ended(how))
        self._on_end(self)

    def _print(self, data: bytes) -> None:
        self._active = now = self._now()
        if not 0 <= now - self._burst_began <= BURST_SECONDS:
            self._burst_began = now
            self._burst = 0
        self._burst += len(data)
        self._pending.append(data)
        self._pending_bytes += len(data)
        if self._burst <= PROMPT_BYTES or self._pending_bytes >= FRAME_BYTES:
            self._flush()
        elif self._timer is None:
            self._timer = self._runtime.reactor.callLater(BURST_SECONDS, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._flush()

    def _flush(self) -> None:
        if self._pending:
            data = b"".join(self._pending)
            self._pending.clear()
            self._pending_bytes = 0
            before = self.title
            self._show(self._filter.feed(data))
            if self.title != before:
                for attachment in self.viewers:
                    attachment.tell(lambda viewer: viewer.titled(self.title))

    def _show(self, data: bytes) -> None:
        if data:
            self.ring.append(data)
            for attachment in self.viewers:
                attachment.show(data)

    async def _make_room(self, count: int) -> None:
        """Returns when more may be read."""
        while self._reason is None:
            typing = [viewer for viewer in self.viewers if not viewer.view_only]
            if not typing:
                self._unwatched += count
                if self._unwatched >= UNWATCHED_BYTES:
                    pause, self._unwatched = self._unwatched / UNWATCHED_RATE, 0
                    await self._runtime.sleep(pause)
                return
            if not all(viewer.blocked for viewer in typing):
                return
            self._room = Deferred()
            await self._room

    def wake(self) -> None:
        """Somebody came, went, or has taken something: look again whether to read on."""
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    # its end

    def overdue(self) -> str | None:
        """Why the terminal has lived long enough, if it has and is not being closed yet."""
        now, rules = self._now(), self._rules
        if self._reason is not None:
            return None
        if now - self._began > rules.max_seconds:
            return "expired"
        if now - self._active > rules.idle_seconds:
            return "idle"
        if not self.viewers and now - self._alone > rules.detached_seconds:
            return "abandoned"
        return None

    def ended_for(self) -> float:
        """Seconds since it was over."""
        return 0.0 if self.ended is None else self._now() - self._active

    async def close(self, reason: str) -> None:
        """Hang up; the viewers are told ``reason`` when the program is gone."""
        if self.ended is None:
            self._reason = self._reason or reason
            self.wake()
            await self._execution.close()

    def _now(self) -> float:
        return float(self._runtime.reactor.seconds())
