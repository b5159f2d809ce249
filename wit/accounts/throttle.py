"""How often somebody may be wrong, or ask: counts per key and window, in bounded memory.

Each daemon counts for itself. That several daemons allow a little more together is no harm:
the count slows guessing down, it does not decide who is right.
"""

from __future__ import annotations

from collections import OrderedDict
from math import ceil

from wit.errors import RateLimited
from wit.runtime import Runtime

WINDOW_SECONDS = 60.0
MAX_KEYS = 10_000


class Throttle:
    """Counts failures; a key with too many in the current window has to wait for its end.

    ``what`` is what sentences call them.
    """

    def __init__(
        self,
        runtime: Runtime,
        limit: int,
        seconds: float = WINDOW_SECONDS,
        what: str = "wrong passwords",
    ) -> None:
        self._runtime = runtime
        self._limit = limit
        self._seconds = seconds
        self._what = what
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def check(self, *keys: str) -> None:
        """Raises RateLimited, with the time to wait, if one of the keys is used up."""
        now = self._runtime.reactor.seconds()
        for key in keys:
            start, count = self._windows.get(key, (now, 0))
            if count >= self._limit and now < start + self._seconds:
                wait = ceil(start + self._seconds - now)
                raise RateLimited(f"too many {self._what}; try again in {wait} s", wait)

    def failed(self, *keys: str) -> None:
        """Count one failure for each key."""
        now = self._runtime.reactor.seconds()
        for key in keys:
            start, count = self._windows.pop(key, (now, 0))
            if now >= start + self._seconds:
                start, count = now, 0
            self._windows[key] = (start, count + 1)
        while len(self._windows) > MAX_KEYS:
            self._windows.popitem(last=False)

    def count(self, *keys: str) -> None:
        """Count a request, right or wrong. Raises RateLimited."""
        self.check(*keys)
        self.failed(*keys)
