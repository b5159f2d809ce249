"""Where the packets of an answer end."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from wit.git import pktline
from wit.web.routes.git import PacketWatch

packets = st.lists(
    st.one_of(
        st.sampled_from([pktline.FLUSH, pktline.DELIM, pktline.RESPONSE_END]),
        st.binary(max_size=30).map(pktline.encode),
        st.binary(min_size=1, max_size=30).map(lambda data: pktline.sideband(1, data)),
    ),
    min_size=1,
    max_size=8,
)


@given(packets, st.lists(st.integers(0, 1000), max_size=20))
def test_the_watch_knows_where_packets_end(stream: list[bytes], cuts: list[int]) -> None:
    data = b"".join(stream)
    ends = set()
    position = 0
    for packet in stream:
        position += len(packet)
        ends.add(position)
    watch = PacketWatch()
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    for start, end in itertools.pairwise(edges):
        watch.feed(data[start:end])
        assert watch.between_packets == (end in ends)
    with_payload = [packet for packet in stream if len(packet) > 4]
    assert watch.sideband == bool(with_payload and with_payload[-1][4] in (1, 2))


def test_the_watch_gives_up_in_a_raw_pack() -> None:
    watch = PacketWatch()
    watch.feed(pktline.encode(b"NAK\n") + b"PACK\0\0\0\2" + bytes(1000))
    assert not watch.between_packets
