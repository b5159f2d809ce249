"""How often somebody may be wrong: failures per key and minute, in bounded memory.

Each daemon counts for itself. That several daemons allow a little more together is no harm:
the count slows guessing down, it does not decide who is right.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from math import ceil

from wit.errors import RateLimited
from wit.runtime import Runtime

WINDOW_SECONDS = 60.0
MAX_KEYS = 10_000


def address_group(address: str) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 /64 (one customer has as many)."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, IPv6Address):
        return str(ip.ipv4_mapped) if ip.ipv4_mapped else str(IPv6Address(int(ip) >> 64 << 64))
    return str(ip)


class Throttle:
    """Counts failures; a key with too many in the current minute has to wait for its end."""

    def __init__(self, runtime: Runtime, limit: int) -> None:
        self._runtime = runtime
        self._limit = limit
        self._windows: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def check(self, *keys: str) -> None:
        """Raises RateLimited, with the time to wait, if one of the keys is used up."""
        now = self._runtime.reactor.seconds()
        for key in keys:
            start, count = self._windows.get(key, (now, 0))
            if count >= self._limit and now < start + WINDOW_SECONDS:
                wait = ceil(start + WINDOW_SECONDS - now)
                raise RateLimited(f"too many wrong passwords; try again in {wait} s", wait)

    def failed(self, *keys: str) -> None:
        """Count one failure for each key."""
        now = self._runtime.reactor.seconds()
        for key in keys:
            start, count = self._windows.pop(key, (now, 0))
            if now >= start + WINDOW_SECONDS:
                start, count = now, 0
            self._windows[key] = (start, count + 1)
        while len(self._windows) > MAX_KEYS:
            self._windows.popitem(last=False)
