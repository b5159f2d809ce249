"""Which size a terminal has when several people look at it. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from wit.sandboxes.provider import TerminalSize

MIN_COLUMNS, MAX_COLUMNS = 2, 500
MIN_ROWS, MAX_ROWS = 1, 200

DEFAULT = TerminalSize(columns=80, rows=24)


def clamp(columns: int, rows: int) -> TerminalSize:
    """The nearest size that a terminal may have."""
    return TerminalSize(
        columns=min(max(columns, MIN_COLUMNS), MAX_COLUMNS),
        rows=min(max(rows, MIN_ROWS), MAX_ROWS),
    )


def smallest(sizes: Iterable[TerminalSize]) -> TerminalSize | None:
    """The largest terminal that all these windows can show whole; None if there are none."""
    windows = list(sizes)
    if not windows:
        return None
    return clamp(min(size.columns for size in windows), min(size.rows for size in windows))


def wiggle(size: TerminalSize) -> TerminalSize:
    """A size that differs by one row: full-screen programs draw everything anew when they are
    given it and then their own again."""
    return TerminalSize(size.columns, size.rows - 1 if size.rows > MIN_ROWS else size.rows + 1)
