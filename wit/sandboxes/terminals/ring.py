"""The end of what a terminal has printed, as raw bytes with a running offset. Pure."""

from __future__ import annotations

import re
from collections import deque

SCROLLBACK = 256 * 1024
"""Bytes that are kept."""

PIECE = 4096
"""Bytes up to which pieces are joined, so that single characters cost no object each."""

_SEARCHED = 4096
_FRESH_START = re.compile(rb"\n|(?=\x1b)")


class Ring:
    """What was appended last: at least ``capacity`` bytes of it, and at most a piece more: what
    was appended at once, or PIECE.

    Offsets count from the terminal's first byte. Memory grows with what is kept.
    """

    def __init__(self, capacity: int = SCROLLBACK) -> None:
        self._capacity = capacity
        self._pieces: deque[bytes | bytearray] = deque()
        self.start = 0
        """Offset of the first byte that is kept."""
        self.end = 0
        """Offset behind the last byte: how many there ever were."""

    def append(self, data: bytes) -> None:
        if not data:
            return
        if self._pieces and len(self._pieces[-1]) + len(data) <= PIECE:
            self._pieces[-1] += data
        else:
            self._pieces.append(bytearray(data) if len(data) < PIECE else data)
        self.end += len(data)
        while self.end - self.start - len(self._pieces[0]) >= self._capacity:
            self.start += len(self._pieces.popleft())

    def since(self, offset: int | None = None) -> tuple[int, bytes]:
        """What was printed from ``offset`` on, with the offset of its first byte.

        If that is no longer kept (or was never printed, or None), all that is kept, from a place on
        where a screen can begin: behind a line's end, before an escape sequence, and never
        amidst a UTF-8 character.
        """
        if offset is not None and self.start <= offset <= self.end:
            return offset, self._from(offset)
        data = self._from(self.start)
        skipped = _beginning(data) if self.start else 0
        return self.start + skipped, data[skipped:]

    def _from(self, offset: int) -> bytes:
        parts: list[bytes | bytearray] = []
        end = self.end
        for piece in reversed(self._pieces):
            begin = end - len(piece)
            parts.append(piece if begin >= offset else piece[offset - begin :])
            end = begin
            if begin <= offset:
                break
        return b"".join(reversed(parts))


def _beginning(data: bytes) -> int:
    match = _FRESH_START.search(data, 0, _SEARCHED)
    if match is not None:
        return match.end()
    skipped = 0
    while skipped < min(3, len(data)) and data[skipped] & 0xC0 == 0x80:
        skipped += 1
    return skipped
