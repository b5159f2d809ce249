"""The binary packet protocol of SSH (RFC 4253, section 6), without I/O.

Conch's own packet layer copies its whole buffer for every packet, goes through Python's ``hmac``
for every MAC and changes the keys of both directions at once. This one handles a burst in linear
time, keeps the two directions apart, and knows the sequence-number reset of strict key exchange
(OpenSSH PROTOCOL, section 1.10).

Ciphers are AES in counter mode (RFC 4344). MACs are HMAC-SHA-2 (RFC 6668), either over what is
encrypted (encrypt-then-MAC, OpenSSH PROTOCOL, section 1.5: the length stands in clear then, and
nothing is decrypted before its MAC was found right) or, for old clients, over the plain packet.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hmac import HMAC

MAX_PACKET = 35_000
"""Bytes of the largest packet that is accepted (RFC 4253, section 6.1)."""

CIPHERS: dict[bytes, int] = {b"aes128-ctr": 16, b"aes256-ctr": 32, b"aes192-ctr": 24}
"""Cipher name to key length in bytes, the preferred first."""

MACS: dict[bytes, Callable[[], hashes.HashAlgorithm]] = {
    b"hmac-sha2-256-etm@openssh.com": hashes.SHA256,
    b"hmac-sha2-512-etm@openssh.com": hashes.SHA512,
    b"hmac-sha2-256": hashes.SHA256,
    b"hmac-sha2-512": hashes.SHA512,
}
"""MAC name to hash, the preferred first."""

_ETM = b"-etm@openssh.com"
_AES_BLOCK = 16
_PLAIN_BLOCK = 8
_LENGTH = 4
"""Bytes of a packet's first field, which says how many follow it (without the MAC)."""
_MIN_PADDING = 4
_SEQUENCES = 1 << 32


class PacketError(Exception):
    """The peer sent bytes that are no packet; the connection cannot go on."""


@attrs.frozen
class PacketKeys:
    """What one direction is protected with after a key exchange; lengths are cut to fit."""

    cipher: bytes
    mac: bytes
    initial_vector: bytes
    cipher_key: bytes
    mac_key: bytes

    def aes(self) -> Cipher[modes.CTR]:
        return Cipher(
            algorithms.AES(self.cipher_key[: CIPHERS[self.cipher]]),
            modes.CTR(self.initial_vector[:_AES_BLOCK]),
        )

    def hmac(self) -> HMAC:
        algorithm = MACS[self.mac]()
        return HMAC(self.mac_key[: algorithm.digest_size], algorithm)

    @property
    def encrypt_then_mac(self) -> bool:
        return self.mac.endswith(_ETM)


class PacketWriter:
    """Turns payloads into the bytes that go to the wire."""

    def __init__(self) -> None:
        self._block = _PLAIN_BLOCK
        self._unaligned = 0
        self._encrypt: Callable[[bytes | memoryview], bytes] | None = None
        self._hmac: HMAC | None = None
        self._sequence = 0
        self.written = 0
        """Bytes since the last change of keys."""

    def change_keys(self, keys: PacketKeys, reset_sequence: bool) -> None:
        self._block = _AES_BLOCK
        self._unaligned = _LENGTH if keys.encrypt_then_mac else 0
        self._encrypt = keys.aes().encryptor().update
        self._hmac = keys.hmac()
        self.written = 0
        if reset_sequence:
            self._sequence = 0

    def packet(self, *payload: bytes | memoryview) -> tuple[bytes | memoryview, ...]:
        """One packet, in parts."""
        size = sum(map(len, payload))
        padding = -(5 - self._unaligned + size) % self._block
        if padding < _MIN_PADDING:
            padding += self._block
        plain = b"".join(
            (struct.pack(">IB", 1 + size + padding, padding), *payload, os.urandom(padding))
        )
        sequence = self._sequence
        self._sequence = (sequence + 1) % _SEQUENCES
        self.written += len(plain)
        if self._encrypt is None or self._hmac is None:
            return (plain,)
        mac = self._hmac.copy()
        mac.update(struct.pack(">I", sequence))
        if not self._unaligned:
            mac.update(plain)
            return self._encrypt(plain), mac.finalize()
        length = plain[:_LENGTH]
        body = self._encrypt(memoryview(plain)[_LENGTH:])
        mac.update(length)
        mac.update(body)
        return length, body, mac.finalize()


class PacketReader:
    """Takes bytes as they come and gives payloads."""

    def __init__(self) -> None:
        self._data = b""
        self._offset = 0
        self._first = b""
        """The beginning of the next packet, plain: its first block, or its length alone."""
        self._first_size = self._block = _PLAIN_BLOCK
        self._encrypt_then_mac = False
        self._decrypt: Callable[[bytes | memoryview], bytes] | None = None
        self._hmac: HMAC | None = None
        self._mac_size = 0
        self.sequence = 0
        """Number of the next packet (modulo 2**32)."""
        self.read = 0
        """Bytes since the last change of keys."""

    def change_keys(self, keys: PacketKeys, reset_sequence: bool) -> None:
        """The next packet is protected with ``keys``."""
        self._block = _AES_BLOCK
        self._encrypt_then_mac = keys.encrypt_then_mac
        self._first_size = _LENGTH if keys.encrypt_then_mac else _AES_BLOCK
        self._decrypt = keys.aes().decryptor().update
        self._hmac = keys.hmac()
        self._mac_size = MACS[keys.mac]().digest_size
        self.read = 0
        if reset_sequence:
            self.sequence = 0

    def feed(self, data: bytes) -> None:
        self._data = self._data[self._offset :] + data if self._offset < len(self._data) else data
        self._offset = 0

    def next(self) -> bytes | None:
        """The next payload, at least one byte, or None if more bytes are needed.

        Raises PacketError for a wrong length, before the packet is waited for; for a wrong MAC; and
        then for a wrong padding.
        """
        start = self._offset
        available = len(self._data) - start
        if not self._first:
            if available < self._first_size:
                return None
            self._first = self._data[start : start + self._first_size]
            if self._decrypt is not None and not self._encrypt_then_mac:
                self._first = self._decrypt(self._first)
        (length,) = struct.unpack_from(">I", self._first)
        aligned = length if self._encrypt_then_mac else length + _LENGTH
        if length > MAX_PACKET or aligned % self._block or aligned < self._block:
            raise PacketError("bad packet length")
        if available < _LENGTH + length + self._mac_size:
            return None
        end = start + _LENGTH + length
        rest = self._open(memoryview(self._data)[start + self._first_size : end], end)
        head = self._first[_LENGTH:]
        padding = head[0] if head else rest[0]
        if not _MIN_PADDING <= padding <= length - 2:
            raise PacketError("bad padding")
        if head:
            payload = b"".join((head[1:], rest))[: length - 1 - padding]
        else:
            payload = bytes(rest[1 : length - padding])
        self._first = b""
        self._offset = end + self._mac_size
        self.sequence = (self.sequence + 1) % _SEQUENCES
        self.read += _LENGTH + length
        return payload

    def _open(self, rest: memoryview, end: int) -> bytes | memoryview:
        """What follows the first bytes of a packet, plain; its MAC is at ``end``."""
        if self._decrypt is None or self._hmac is None:
            return rest
        plain = rest if self._encrypt_then_mac else self._decrypt(rest)
        mac = self._hmac.copy()
        mac.update(struct.pack(">I", self.sequence))
        mac.update(self._first)
        mac.update(plain)
        try:
            mac.verify(self._data[end : end + self._mac_size])
        except InvalidSignature:
            raise PacketError("bad MAC") from None
        return self._decrypt(rest) if self._encrypt_then_mac else plain
