"""How often somebody may call: sliding windows per preset and caller, in bounded memory.

A window is counted in two buckets, the current one and the one before, which counts for as much of
it as the sliding window still covers. That is exact when calls come evenly, and never lets more
than twice the limit through around a boundary. Buckets begin at multiples of the window's length
on the wall clock, so that several daemons mean the same one
(:mod:`wit.access.shared_limits` adds their counts together).

A refused call is not counted: who waits for ``retry_after`` gets through.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from math import ceil

import attrs

from wit import config
from wit.access.actor import Actor
from wit.addresses import address_group
from wit.runtime import Runtime

MAX_KEYS = 100_000
"""Callers remembered per daemon (about 200 bytes each); the longest silent is forgotten first."""

ADDRESS = "address:"
"""Keys of callers who are not signed in begin so; a preset may have another limit for them."""

MINUTE = 60
HOUR = 3600


@attrs.frozen
class Preset:
    """``signed_in`` and ``anonymous`` calls in ``window`` seconds; 0: as many as they like."""

    signed_in: int
    anonymous: int
    window: int = MINUTE


@attrs.frozen
class Verdict:
    """Whether a call may go on, and what is left."""

    limit: int
    """0: there is none, and the other numbers say nothing."""
    remaining: int
    reset: int
    """When the current window ends, in Unix seconds."""
    retry_after: int
    """Seconds until a call would be allowed; 0 if this one is."""
    allowed: bool
    window: int
    """Seconds."""
    reset_after: int
    """Seconds until ``reset``."""


@attrs.define
class Window:
    """The calls of one caller under one preset."""

    start: int
    """Of the current bucket, in Unix seconds."""
    seconds: int
    count: int = 0
    previous: int = 0
    pending: int = 0
    """How many of ``count`` the other daemons do not know of yet."""

    def move(self, now: float) -> None:
        """Make the bucket of ``now`` the current one."""
        start = int(now // self.seconds) * self.seconds
        if start == self.start:
            return
        self.previous = self.count if start == self.start + self.seconds else 0
        self.start, self.count, self.pending = start, 0, 0

    def used(self, now: float) -> float:
        """Calls within the ``seconds`` before ``now``, as the two buckets estimate them."""
        passed = (now - self.start) / self.seconds
        return self.previous * (1 - passed) + self.count

    def wait(self, now: float, limit: int) -> float:
        """Seconds until there is room for one more call below ``limit``."""
        room = limit - 1
        passed = now - self.start
        if self.count <= room:  # when enough of the previous bucket has slid away
            share = 1 - (room - self.count) / self.previous if self.previous else 0.0
            return max(0.0, share * self.seconds - passed)
        share = 1 - room / self.count  # of the next window
        return self.seconds - passed + share * self.seconds


def caller_key(actor: Actor, address: str) -> str:
    """Under which calls are counted: the user, whatever the credential; else the address (of IPv6
    its /64), which is the one that the door has found out, not what a client says."""
    if actor.user_id is not None:
        return f"user:{actor.user_id}"
    if actor.credential_id is not None:
        return f"token:{actor.credential_id}"
    return ADDRESS + address_group(address)


def presets(settings: config.Limits) -> dict[str, Preset]:
    """By the names that operations are declared with (contract, rest.md)."""
    return {
        "strict": Preset(settings.strict, settings.strict),
        "standard": Preset(settings.standard, settings.standard_anonymous),
        "relaxed": Preset(settings.relaxed, settings.relaxed),
        "auth": Preset(settings.auth, settings.auth, 15 * MINUTE),
        "upload": Preset(settings.upload, settings.upload),
        "webhook": Preset(settings.webhook, settings.webhook),
        "search": Preset(settings.search, settings.search),
        "api": Preset(settings.api, settings.api_anonymous, HOUR),
    }


class RateLimits:
    """All windows of this daemon."""

    def __init__(self, settings: config.Limits, runtime: Runtime) -> None:
        self.presets: Mapping[str, Preset] = presets(settings)
        self._runtime = runtime
        self._windows: OrderedDict[tuple[str, str], Window] = OrderedDict()
        self._pending: set[tuple[str, str]] = set()

    def reload(self, settings: config.Limits) -> None:
        """Take over other limits; what was counted stays."""
        self.presets = presets(settings)

    def check(self, preset: str, key: str) -> Verdict:
        """Count one call, unless it is one too many. Raises KeyError for an unknown preset."""
        return self._judge(preset, key, cost=1)

    def peek(self, preset: str, key: str) -> Verdict:
        """What is left, without counting: ``allowed`` tells whether a call would be."""
        return self._judge(preset, key, cost=0)

    def _judge(self, preset: str, key: str, cost: int) -> Verdict:
        rule = self.presets[preset]
        limit = rule.anonymous if key.startswith(ADDRESS) else rule.signed_in
        if not limit:
            return Verdict(0, 0, 0, 0, True, rule.window, 0)
        now = self._runtime.now().timestamp()
        window = self._window(preset, key, rule.window, now)
        allowed = window.used(now) + 1 <= limit
        if allowed and cost:
            window.count += 1
            window.pending += 1
            self._pending.add((preset, key))
        end = window.start + window.seconds
        return Verdict(
            limit=limit,
            remaining=max(0, int(limit - window.used(now))),
            reset=end,
            retry_after=0 if allowed else max(1, ceil(window.wait(now, limit))),
            allowed=allowed,
            window=window.seconds,
            reset_after=max(0, ceil(end - now)),
        )

    def _window(self, preset: str, key: str, seconds: int, now: float) -> Window:
        found = self._windows.get((preset, key))
        if found is None:
            found = Window(int(now // seconds) * seconds, seconds)
            self._windows[preset, key] = found
            if len(self._windows) > MAX_KEYS:
                forgotten, _ = self._windows.popitem(last=False)
                self._pending.discard(forgotten)
        else:
            self._windows.move_to_end((preset, key))
            found.move(now)
        return found

    # What is shared with other daemons

    def take_pending(self) -> list[tuple[str, str, Window]]:
        """(preset, key, a copy of its window) of what was counted since the last call."""
        taken = []
        for preset, key in self._pending:
            window = self._windows[preset, key]
            taken.append((preset, key, attrs.evolve(window)))
            window.pending = 0
        self._pending.clear()
        return taken

    def put_back(self, taken: Iterable[tuple[str, str, Window]]) -> None:
        """What was taken could not be shared: it is pending again."""
        for preset, key, copy in taken:
            window = self._windows.get((preset, key))
            if window is not None and window.start == copy.start:
                window.pending += copy.pending
                self._pending.add((preset, key))

    def learn(self, preset: str, key: str, start: int, count: int, previous: int) -> None:
        """What all daemons together have counted, up to what was taken from here."""
        window = self._windows.get((preset, key))
        if window is not None and window.start == start:
            window.count = count + window.pending
            window.previous = previous
