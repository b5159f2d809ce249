"""One who looks at a terminal, and how much of its output he has not seen yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger

from wit.access.actor import Actor
from wit.errors import Forbidden
from wit.sandboxes.provider import Exit, TerminalSize

if TYPE_CHECKING:
    from wit.sandboxes.terminals.session import Session

HIGH_WATER = 512 * 1024
"""Bytes that a viewer may be behind before the terminal waits for him."""

LOW_WATER = 128 * 1024
"""Bytes behind at which the terminal goes on."""

MAX_BEHIND = 1024 * 1024
"""A viewer that is so far behind others is sent nothing until he has caught up."""


class Viewer(Protocol):
    """A door's side of it. Nothing here waits; what a viewer has taken, he says."""

    def replay(self, offset: int, data: bytes) -> None:
        """What was printed before, from ``offset`` on: once at the beginning, and after a loss.

        If ``offset`` is not where the viewer had stopped, his screen is to be emptied first.
        """
        ...

    def output(self, data: bytes) -> None: ...

    def lost(self, count: int) -> None:
        """So many bytes were skipped because he was too slow; a replay follows."""
        ...

    def resized(self, size: TerminalSize) -> None: ...

    def titled(self, title: str) -> None: ...

    def ended(self, how: Exit) -> None:
        """The terminal is over, or this viewer is sent away: then ``how.reason`` is ``revoked``
        or ``kicked``. Nothing follows."""
        ...


class Attachment:
    """The terminal's side of one viewer."""

    log = Logger()

    def __init__(
        self,
        session: Session,
        viewer: Viewer,
        actor: Actor,
        *,
        size: TerminalSize | None,
        view_only: bool,
    ) -> None:
        self.actor = actor
        self.size = size
        self.view_only = view_only
        """Neither types nor has a part in the size."""
        self.viewer = viewer
        self.behind = 0
        """Bytes that were sent and not taken."""
        self._session = session
        self._missing: int | None = None

    # what a door calls

    async def write(self, data: bytes) -> None:
        """Type; returns when more may be typed. Raises Forbidden for a viewer who only watches,
        wit.streams.StreamClosed when the terminal is over."""
        if self.view_only:
            raise Forbidden("you are watching this terminal and cannot type into it")
        await self._session.write(data)

    def resize(self, size: TerminalSize) -> None:
        """The viewer's window has another size now."""
        if size != self.size:
            self.size = size
            self._session.fit()

    def taken(self, count: int) -> None:
        """The viewer has shown ``count`` bytes more."""
        self.behind = max(0, self.behind - count)
        if self.behind <= LOW_WATER:
            if self._missing is not None:
                self._catch_up(self._missing)
            self._session.wake()

    def kick_others(self) -> None:
        """Send all other viewers away. Raises Forbidden for one who only watches."""
        if self.view_only:
            raise Forbidden("you are watching this terminal and cannot send others away")
        self._session.drop(lambda other: other is not self, "kicked")

    def detach(self) -> None:
        """He is gone; fine if he was before."""
        self._session.detach(self)

    # what the session calls

    @property
    def blocked(self) -> bool:
        """Whether he must take something before more can be shown to him."""
        return self._missing is not None or self.behind > HIGH_WATER

    def show(self, data: bytes) -> None:
        if self._missing is not None:
            return
        if self.behind > MAX_BEHIND:
            self._missing = self._session.ring.end - len(data)
            return
        self.behind += len(data)
        self.tell(lambda viewer: viewer.output(data))

    def replay(self, since: int | None) -> bool:
        """Show what is kept; whether that is all from ``since`` on, or from the beginning."""
        offset, data = self._session.ring.since(since)
        self.behind += len(data)
        self.tell(lambda viewer: viewer.replay(offset, data))
        return offset == (since or 0)

    def tell(self, what: Callable[[Viewer], None]) -> None:
        """Call the viewer. One that breaks is detached, and the others see nothing of it."""
        try:
            what(self.viewer)
        except Exception:
            self.log.failure("a viewer of a terminal failed")
            self.detach()

    def _catch_up(self, missing: int) -> None:
        self._missing = None
        offset, data = self._session.ring.since(missing)
        self.behind += len(data)
        if offset == missing:
            self.tell(lambda viewer: viewer.output(data))
            return
        self.tell(lambda viewer: viewer.lost(offset - missing))
        self.tell(lambda viewer: viewer.replay(offset, data))
        self._session.redraw()
