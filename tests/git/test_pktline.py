"""The pkt-line parser, however its input is split and whatever it is (attack list, line 14)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.errors import Invalid, TooLarge, WitError
from wit.git.pktline import (
    DELIM,
    FLUSH,
    MAX_BAND,
    MAX_PAYLOAD,
    RESPONSE_END,
    Marker,
    Packet,
    Parser,
    ProtocolError,
    encode,
    error,
    sideband,
)

pytestmark = pytest.mark.attack(14)

WIRE = {Marker.FLUSH: FLUSH, Marker.DELIM: DELIM, Marker.RESPONSE_END: RESPONSE_END}
PACKETS = st.lists(st.binary(max_size=40) | st.sampled_from(Marker), max_size=12)


def wire(packets: list[Packet]) -> bytes:
    return b"".join(
        WIRE[packet] if isinstance(packet, Marker) else encode(packet) for packet in packets
    )


@given(PACKETS, st.data())
def test_packets_survive_any_split(packets: list[Packet], data: st.DataObject) -> None:
    stream = wire(packets)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    parser = Parser(v2=True)
    found: list[Packet] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += parser.feed(stream[start:end])
    assert found == packets
    assert parser.pending == 0 and parser.rest() == b""
    assert parser.parsed == len(stream)


def test_split_at_every_byte() -> None:
    parser = Parser()
    found: list[Packet] = []
    for byte in b"0009ABCDE0004000eversion 2\n0000":
        found += parser.feed(bytes([byte]))
    assert found == [b"ABCDE", b"", b"version 2\n"[:10], Marker.FLUSH]


@given(st.binary(max_size=200), st.booleans())
def test_garbage_is_parsed_or_refused(garbage: bytes, v2: bool) -> None:
    whole = outcome(garbage, [len(garbage)], v2)
    assert outcome(garbage, range(1, len(garbage) + 1), v2) == whole


def outcome(data: bytes, ends, v2: bool) -> list[object]:
    parser = Parser(v2=v2)
    found: list[object] = []
    start = 0
    try:
        for end in ends:
            chunk = parser.feed(data[start:end])
            found += chunk
            start = end
    except WitError as refused:
        # The packets before the malformed one come out only if they came in before it.
        return [type(refused)]
    return [*found, parser.pending]


@pytest.mark.parametrize(
    "header",
    [b"fff1", b"ffff", b"FFF5", b"-001", b"+00a", b" 00a", b"0_0a", b"00\n5", b"0x0a", b"zzzz",
     b"\0\0\0\0", b"0003", b"000g", b"\xef\xbc\x90\xef"],
)  # fmt: skip
@pytest.mark.parametrize("v2", [False, True])
def test_malformed_lengths_are_refused(header: bytes, v2: bool) -> None:
    with pytest.raises(ProtocolError):
        Parser(v2=v2).feed(header)


def test_markers_of_v2_are_malformed_before_it() -> None:
    for header in (DELIM, RESPONSE_END):
        assert Parser(v2=True).feed(header) == [Marker(int(header))]
        with pytest.raises(Invalid):
            Parser().feed(header)


def test_the_largest_packet() -> None:
    payload = b"x" * MAX_PAYLOAD
    assert encode(payload)[:4] == b"fff0"
    assert Parser().feed(encode(payload)) == [payload]
    assert Parser().feed(b"FFF0" + payload) == [payload]
    with pytest.raises(ValueError):
        encode(payload + b"x")


def test_a_raw_pack_behind_the_flush_is_left_alone() -> None:
    parser = Parser(stop_at_flush=True)
    assert parser.feed(b"0006ab0000PACK") == [b"ab", Marker.FLUSH]
    assert parser.pending == 4
    assert parser.rest() == b"PACK"
    assert parser.pending == 0


def test_parsing_goes_on_behind_a_flush_when_asked() -> None:
    parser = Parser(stop_at_flush=True)
    assert parser.feed(b"0006ab00000006cd0000zzzz") == [b"ab", Marker.FLUSH]
    assert parser.feed(b"") == [b"cd", Marker.FLUSH]
    assert parser.rest() == b"zzzz"


def test_the_limit_counts_all_packets_and_refuses_early() -> None:
    parser = Parser(limit=20)
    assert parser.feed(b"0009ABCDE") == [b"ABCDE"]
    with pytest.raises(TooLarge):
        parser.feed(b"00ff")
    with pytest.raises(TooLarge):
        Parser(limit=20).feed(FLUSH * 6)


def test_error_packets() -> None:
    assert error("no such repository") == b"001aERR no such repository"
    (packet,) = Parser().feed(error("ä" * 100_000))
    assert isinstance(packet, bytes) and packet.decode().startswith("ERR ä")


@given(st.integers(0, 3 * MAX_BAND))
def test_sideband_chunks(size: int) -> None:
    data = bytes(size)
    packets = Parser().feed(sideband(2, data))
    assert all(isinstance(packet, bytes) and packet[0] == 2 for packet in packets)
    assert b"".join(packet[1:] for packet in packets if isinstance(packet, bytes)) == data
    assert b"" not in packets
