"""Frames, however the network cuts them."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.sandboxes.docker.frames import Frames
from wit.sandboxes.provider import Channel

_CHANNELS = {1: Channel.STDOUT, 2: Channel.STDERR}


def _joined(pieces: Iterable[tuple[Channel, bytes]]) -> list[tuple[Channel, bytes]]:
    found: list[tuple[Channel, bytes]] = []
    for channel, data in pieces:
        if found and found[-1][0] is channel:
            found[-1] = (channel, found[-1][1] + data)
        else:
            found.append((channel, data))
    return found


@given(
    st.lists(st.tuples(st.sampled_from([1, 2]), st.binary(min_size=1, max_size=50))),
    st.lists(st.integers(1, 20), min_size=1),
)
def test_any_cut(frames, cuts) -> None:
    wire = b"".join(bytes([n, 0, 0, 0]) + len(d).to_bytes(4, "big") + d for n, d in frames)
    reader, at, turn = Frames(), 0, 0
    found: list[tuple[Channel, bytes]] = []
    while at < len(wire):
        size = cuts[turn % len(cuts)]
        found += reader.feed(wire[at : at + size])
        at, turn = at + size, turn + 1
    assert _joined(found) == _joined((_CHANNELS[n], d) for n, d in frames)


def test_an_empty_frame() -> None:
    assert list(Frames().feed(b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\x01x")) == [
        (Channel.STDERR, b"x")
    ]


def test_a_large_frame_is_not_waited_for() -> None:
    reader = Frames()
    assert list(reader.feed(b"\x01\0\0\0\xff\xff\xff\xffab")) == [(Channel.STDOUT, b"ab")]
    assert list(reader.feed(b"c")) == [(Channel.STDOUT, b"c")]


@pytest.mark.parametrize("data", [b"HTTP/1.1", b"\x01\x01\0\0\0\0\0\0", b"\x04\0\0\0\0\0\0\x01x"])
def test_what_is_no_frame(data) -> None:
    with pytest.raises(ValueError, match="no frame"):
        list(Frames().feed(data))
