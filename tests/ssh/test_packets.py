"""The packet layer, against itself and against Conch's."""

from __future__ import annotations

import hmac
import os
import struct
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.conch.ssh.transport import SSHCiphers

from wit.config import Ssh
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


@pytest.mark.parametrize("mac", [b"hmac-sha2-256", b"hmac-sha2-512"])
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


@pytest.mark.parametrize(
    "mac", [b"hmac-sha2-256-etm@openssh.com", b"hmac-sha2-512-etm@openssh.com"]
)
def test_encrypt_then_mac_as_openssh_writes_it_down(mac: bytes) -> None:
    """PROTOCOL, section 1.5: the length in clear, a whole number of blocks after it, the MAC over
    sequence number, length and what is encrypted."""
    wire = b"".join(pair(keys(mac=mac))[0].packet(b"hello"))
    (length,) = struct.unpack_from(">I", wire)
    digest = MACS[mac]().digest_size
    assert length % 16 == 0 and len(wire) == 4 + length + digest
    hashed = hmac.new(b"m" * digest, bytes(4) + wire[:-digest], MACS[mac]().name).digest()
    assert hashed == wire[-digest:]
    cipher = Cipher(algorithms.AES(b"k" * 16), modes.CTR(b"i" * 16))
    plain = cipher.decryptor().update(wire[4:-digest])
    assert plain[1 : length - plain[0]] == b"hello" and plain[0] >= 4


def test_a_length_in_clear_is_judged_before_anything_follows_it() -> None:
    etm = keys(mac=b"hmac-sha2-256-etm@openssh.com")
    for length in (0, 1, 15, 17, MAX_PACKET + 1, 35_008, 0x7FFFFFFF, 0xFFFFFFFF):
        _, reader = pair(etm)
        reader.feed(struct.pack(">I", length))
        with pytest.raises(PacketError, match="length"):
            reader.next()


def test_a_wrong_mac_is_noticed_before_anything_is_decrypted() -> None:
    """The padding, which would be wrong as well, is not looked at."""
    etm = keys(mac=b"hmac-sha2-256-etm@openssh.com")
    for body in (bytes(16), b"\xff" * 32, os.urandom(64)):
        _, reader = pair(etm)
        reader._decrypt = lambda data: pytest.fail("it was decrypted")
        reader.feed(struct.pack(">I", len(body)) + body + bytes(31))
        assert reader.next() is None, "the MAC is not whole yet"
        reader.feed(bytes(1))
        with pytest.raises(PacketError, match="MAC"):
            reader.next()


def test_what_is_well_signed_must_be_well_made_too() -> None:
    etm = keys(mac=b"hmac-sha2-256-etm@openssh.com")
    for padding in (0, 3, 15, 255):
        _, reader = pair(etm)
        body = etm.aes().encryptor().update(bytes((padding,)) + bytes(15))
        packet = struct.pack(">I", 16) + body
        reader.feed(packet + hmac.new(b"m" * 32, bytes(4) + packet, "sha256").digest())
        with pytest.raises(PacketError, match="padding"):
            reader.next()


@pytest.mark.parametrize("mac", MACS)
def test_a_changed_bit_is_noticed(mac: bytes) -> None:
    for position in range(5, 60, 9):
        writer, reader = pair(keys(mac=mac))
        wire = bytearray(b"".join(writer.packet(b"x" * 40)))
        wire[position] ^= 1
        reader.feed(bytes(wire))
        with pytest.raises(PacketError):
            reader.next()


@pytest.mark.parametrize("mac", MACS)
def test_a_packet_cannot_be_repeated(mac: bytes) -> None:
    writer, reader = pair(keys(mac=mac))
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


def test_the_setting_names_every_mac() -> None:
    assert [name.encode() for name in Ssh().macs] == list(MACS)
