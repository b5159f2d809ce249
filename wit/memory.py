"""How much memory this process uses."""

from __future__ import annotations

import resource
from pathlib import Path

import attrs

_STATM = Path("/proc/self/statm")


@attrs.frozen
class Memory:
    """In bytes."""

    resident: int
    """In RAM."""
    data: int
    """Asked for: heap and stacks, in RAM or not."""


def memory() -> Memory:
    """As Linux has it (proc(5), statm); elsewhere the most that was ever in RAM, for both."""
    try:
        pages = [int(number) for number in _STATM.read_text("ascii").split()]
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return Memory(peak, peak)
    size = resource.getpagesize()
    return Memory(pages[1] * size, pages[5] * size)
