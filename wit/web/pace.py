"""How long a client may take: one :class:`Pace` per connection (attack list, lines 6, 8 and 33).

A connection is at any moment in one of these phases:

    head      collecting a request's head: it must be complete within ``header_seconds``
    idle      kept alive between requests: ``idle_seconds``
    body      the handler waits for the request body  } something must move within ``idle_seconds``
    answer    the client must read before more is sent} and a minute's average must reach the rate
    closing   the answer is out, the connection ends: LINGER_SECONDS
    working   our turn: no limit here

Body and answer can be waited for at once, so each has a :class:`Meter`; the others are deadlines.
Nothing in here sets a timer or asks a clock on its own: the site looks at every connection once a
second, and ``now`` is the site's own time, which does not jump when the wall clock does.
"""

from __future__ import annotations

from collections.abc import Callable

from wit.config import Server

AVERAGE_SECONDS = 60.0
"""Waiting time over which the minimum rate must be reached."""

LINGER_SECONDS = 5.0
"""How long a closing connection is still read, so that the client gets to read its answer."""


class Meter:
    """Waits for one direction: how long we waited for the client, and what moved meanwhile."""

    def __init__(self, idle_seconds: float, rate: float) -> None:
        self._idle_seconds = idle_seconds
        self._rate = rate
        self.waiting = False
        self._since = 0.0
        self._still_since = 0.0
        self._waited = 0.0
        self._moved = 0
        self._seen = 0

    def start(self, now: float) -> None:
        """We wait for the client from now on."""
        if not self.waiting:
            self.waiting = True
            self._since = self._still_since = now

    def moved(self, count: int) -> None:
        """``count`` bytes came or went."""
        self._moved += count

    def stop(self, now: float) -> None:
        """The client's turn is over. What it took so far still counts for the average."""
        if self.waiting:
            self.waiting = False
            self._waited += now - self._since

    def overdue(self, now: float) -> bool:
        """Whether the client is too slow; called about once a second."""
        if not self.waiting:
            return False
        if self._moved != self._seen:
            self._seen = self._moved
            self._still_since = now
        if now - self._still_since >= self._idle_seconds:
            return True
        waited = self._waited + now - self._since
        if waited < AVERAGE_SECONDS:
            return False
        slow = self._moved < waited * self._rate
        self._since = now
        self._waited = 0.0
        self._moved = self._seen = 0
        return slow


class Pace:
    """The deadlines and meters of one connection."""

    def __init__(self, limits: Server, now: Callable[[], float]) -> None:
        self._limits = limits
        self._now = now
        self._deadline: float | None = None
        self.body = Meter(limits.idle_seconds, limits.min_bytes_per_second)
        self.answer = Meter(limits.idle_seconds, limits.min_bytes_per_second)

    def head(self) -> None:
        self._deadline = self._now() + self._limits.header_seconds

    def idle(self) -> None:
        self._deadline = self._now() + self._limits.idle_seconds

    def closing(self) -> None:
        self._deadline = self._now() + LINGER_SECONDS

    def working(self) -> None:
        self._deadline = None

    def body_wanted(self) -> None:
        self.body.start(self._now())

    def body_came(self) -> None:
        self.body.stop(self._now())

    def answer_stuck(self) -> None:
        self.answer.start(self._now())

    def answer_flows(self) -> None:
        self.answer.stop(self._now())

    def overdue(self) -> bool:
        """Whether the connection must be ended now."""
        now = self._now()
        if self._deadline is not None and now >= self._deadline:
            return True
        return (self.body.waiting and self.body.overdue(now)) or (
            self.answer.waiting and self.answer.overdue(now)
        )
