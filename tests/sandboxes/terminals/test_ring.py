from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wit.sandboxes.terminals.ring import PIECE, Ring


@given(st.lists(st.binary(max_size=3 * PIECE), max_size=30), st.integers(1, 20_000))
def test_the_end_is_kept_byte_for_byte(pieces: list[bytes], capacity: int) -> None:
    ring = Ring(capacity)
    longest = max(PIECE, *map(len, pieces), 0)
    printed = b""
    for piece in pieces:
        ring.append(piece)
        printed += piece
        assert ring.end == len(printed)
        assert min(capacity, len(printed)) <= ring.end - ring.start <= capacity + longest
        offset, data = ring.since(ring.start)
        assert (offset, data) == (ring.start, printed[ring.start :])
    middle = (ring.start + ring.end) // 2
    assert ring.since(middle) == (middle, printed[middle:])
    assert ring.since(ring.end) == (ring.end, b"")


def test_single_characters_are_joined() -> None:
    ring = Ring()
    for _ in range(10_000):
        ring.append(b"x")
    assert len(ring._pieces) <= 10_000 // PIECE + 1


def test_what_was_never_cut_begins_at_the_beginning() -> None:
    ring = Ring(100)
    ring.append(b"no newline")
    assert ring.since() == ring.since(99) == (0, b"no newline")


def test_a_cut_begins_where_a_screen_can() -> None:
    for before, rest in (
        (b"half a line\n", b"whole line\n"),
        (b"half a ", b"\x1b[31mred"),
        (b"\x9f\x98\x80", b"smile"),
    ):
        ring = Ring(PIECE)
        ring.append(b"x" * PIECE)
        ring.append((before + rest).ljust(PIECE, b"."))
        ring.append(b"y")
        assert ring.start == PIECE
        offset, data = ring.since(5)
        assert offset == PIECE + len(before)
        assert data.startswith(rest) and data.endswith(b"y")
