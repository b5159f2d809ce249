"""The packet layer, against itself and against Conch's."""

from __future__ import annotations

import struct
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.conch.ssh.transport import SSHCiphers

from wit.ssh.packets import (
    CIPHERS,
    MACS,
    MAX_PACKET,
    PacketError,
    PacketKeys,
    PacketReader,
    PacketWriter,
)


def keys(cipher: bytes = b"aes128-ctr", mac: bytes = b"hmac-sha2-256") -> PacketKeys:
    return PacketKeys(cipher, mac, b"i" * 64, b"k" * 64, b"m" * 64)


def pair(encrypted: PacketKeys | None) -> tuple[PacketWriter, PacketReader]:
    writer, reader = PacketWriter(), PacketReader()
    if encrypted is not None:
        writer.change_keys(encrypted, reset_sequence=False)
        reader.change_keys(encrypted, reset_sequence=False)
    return writer, reader


def drain(reader: PacketReader) -> list[bytes]:
    payloads = []
    while (payload := reader.next()) is not None:
        payloads.append(payload)
    return payloads


@pytest.mark.parametrize("encrypted", [None, *(keys(c, m) for c in CIPHERS for m in MACS)])
@settings(max_examples=30)
@given(
    payloads=st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_what_is_written_is_read_however_it_is_cut(
    encrypted: PacketKeys | None, payloads: list[bytes], cuts: list[int]
) -> None:
    writer, reader = pair(encrypted)
    wire = b"".join(b"".join(writer.packet(payload)) for payload in payloads)
    read = []
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    for start, end in pairwise(edges):
        reader.feed(wire[start:end])
        read += drain(reader)
    assert read == payloads
    assert reader.sequence == len(payloads)


def test_every_byte_alone() -> None:
    writer, reader = pair(keys())
    wire = b"".join(writer.packet(b"\x5e", b"head", memoryview(b"xtailx")[1:-1]))
    read = []
    for index in range(len(wire)):
        reader.feed(wire[index : index + 1])
        read += drain(reader)
    assert read == [b"\x5eheadtail"]


@pytest.mark.parametrize("mac", MACS)
def test_conch_reads_what_we_write(mac: bytes) -> None:
    encrypted = keys(mac=mac)
    size = MACS[mac]().digest_size
    conch = SSHCiphers(b"aes128-ctr", b"aes128-ctr", mac, mac)
    conch.setKeys(b"i" * 16, b"k" * 16, b"i" * 16, b"k" * 16, b"m" * size, b"m" * size)
    body, digest = pair(encrypted)[0].packet(b"hello")
    plain = conch.decrypt(body)
    assert conch.verify(0, plain, digest)
    length, padding = struct.unpack(">IB", plain[:5])
    assert plain[5 : 4 + length - padding] == b"hello"


def test_a_changed_bit_is_noticed() -> None:
    for position in range(5, 60, 9):
        writer, reader = pair(keys())
        wire = bytearray(b"".join(writer.packet(b"x" * 40)))
        wire[position] ^= 1
        reader.feed(bytes(wire))
        with pytest.raises(PacketError):
            reader.next()


def test_a_packet_cannot_be_repeated() -> None:
    writer, reader = pair(None)
    writer.change_keys(keys(), reset_sequence=False)
    reader.change_keys(keys(), reset_sequence=False)
    wire = b"".join(writer.packet(b"once"))
    reader.feed(wire + wire)
    assert reader.next() == b"once"
    with pytest.raises(PacketError):
        reader.next()


@pytest.mark.parametrize("length", [0, 1, 3, 5, MAX_PACKET + 1, 0x7FFFFFFF, 0xFFFFFFFF])
def test_wrong_lengths(length: int) -> None:
    reader = PacketReader()
    reader.feed(struct.pack(">IB", length, 4) + bytes(60))
    with pytest.raises(PacketError, match="length"):
        reader.next()


@pytest.mark.parametrize("padding", [0, 3, 11, 200])
def test_wrong_padding(padding: int) -> None:
    reader = PacketReader()
    reader.feed(struct.pack(">IB", 12, padding) + bytes(11))
    with pytest.raises(PacketError, match="padding"):
        reader.next()


def test_sequence_numbers_start_anew_after_strict_key_exchange() -> None:
    writer, reader = pair(None)
    reader.feed(b"".join(writer.packet(b"kex")))
    assert reader.next() == b"kex"
    writer.change_keys(keys(), reset_sequence=True)
    reader.change_keys(keys(), reset_sequence=True)
    reader.feed(b"".join(writer.packet(b"first")))
    assert reader.next() == b"first"
    assert reader.sequence == 1


def test_sequence_numbers_wrap() -> None:
    writer, reader = pair(keys())
    writer._sequence = reader.sequence = (1 << 32) - 1
    for payload in (b"last", b"first"):
        reader.feed(b"".join(writer.packet(payload)))
        assert reader.next() == payload
    assert reader.sequence == 1


def test_a_burst_of_small_packets_is_linear() -> None:
    """Each packet is a slice of one buffer that is not copied again for each of them."""
    writer, reader = pair(keys())
    wire = b"".join(b"".join(writer.packet(b"\x02")) for _ in range(3000))
    reader.feed(wire)
    whole = reader._data
    assert len(drain(reader)) == 3000
    assert reader._data is whole
