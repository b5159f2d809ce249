"""pkt-lines, the framing of git's protocols (gitprotocol-common(5)), without any I/O."""

from __future__ import annotations

import enum
from binascii import Error as NotHex
from binascii import unhexlify

from wit.errors import Invalid, TooLarge

MAX_PAYLOAD = 65516
"""Bytes in one packet: 65520 less the four of its length."""

MAX_BAND = MAX_PAYLOAD - 1
"""Bytes in one side-band packet: the first byte names the band."""

FLUSH = b"0000"
DELIM = b"0001"
RESPONSE_END = b"0002"


class ProtocolError(Invalid):
    """The client does not speak git's protocol; the sentence is for its user."""


class Marker(enum.Enum):
    """The packets that carry no payload; DELIM and RESPONSE_END exist in protocol v2 only."""

    FLUSH = 0
    DELIM = 1
    RESPONSE_END = 2


Packet = bytes | Marker


def encode(payload: bytes) -> bytes:
    """One packet. Raises ValueError above MAX_PAYLOAD bytes."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError(f"a packet holds {MAX_PAYLOAD} bytes at most, not {len(payload)}")
    return b"%04x%b" % (len(payload) + 4, payload)


def error(text: str) -> bytes:
    """An ERR packet, which ends a conversation; the client prints ``text`` and fails.

    gitprotocol-pack(5), "error-line". It can stand wherever the client expects a packet.
    """
    payload = b"ERR " + text.encode("utf-8", "replace")
    return encode(payload[:MAX_PAYLOAD].decode("utf-8", "ignore").encode())


def sideband(band: int, data: bytes) -> bytes:
    """``data`` as side-band-64k packets of ``band``: 1 data, 2 progress, 3 fatal error."""
    return b"".join(
        b"%04x%c%b" % (len(chunk) + 5, band, chunk)
        for start in range(0, len(data), MAX_BAND)
        if (chunk := data[start : start + MAX_BAND])
    )


class Parser:
    """Bytes in, packets out, whatever way the bytes are split.

    With ``stop_at_flush`` nothing behind a flush is looked at: the caller either goes on with
    ``feed(b"")`` or takes what follows (a raw pack, say) with ``rest()``. Without ``v2`` the
    markers of protocol v2 are malformed. The parser holds no more than what it was last fed and
    one incomplete packet; ``limit`` bounds the bytes of all packets together.
    """

    def __init__(
        self, *, v2: bool = False, stop_at_flush: bool = False, limit: int | None = None
    ) -> None:
        self._last_marker = Marker.RESPONSE_END if v2 else Marker.FLUSH
        self._stop_at_flush = stop_at_flush
        self._limit = limit
        self._buffer = bytearray()
        self._parsed = 0

    @property
    def pending(self) -> int:
        """Bytes that were fed and are in no packet yet."""
        return len(self._buffer)

    @property
    def parsed(self) -> int:
        """Bytes of all packets so far, their lengths included."""
        return self._parsed

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that ``data`` completes.

        Raises ProtocolError for a malformed length, TooLarge above the limit; the parser is of
        no use after that.
        """
        buffer = self._buffer
        buffer += data
        packets: list[Packet] = []
        position = 0
        while len(buffer) - position >= 4:
            length = self._length(bytes(buffer[position : position + 4]))
            if self._limit is not None and self._parsed + max(length, 4) > self._limit:
                raise TooLarge(f"the request is too large: {self._limit} bytes at most")
            if length < 4:
                packets.append(Marker(length))
                length = 4
            elif len(buffer) - position < length:
                break
            else:
                packets.append(bytes(buffer[position + 4 : position + length]))
            position += length
            self._parsed += length
            if self._stop_at_flush and packets[-1] is Marker.FLUSH:
                break
        del buffer[:position]
        return packets

    def rest(self) -> bytes:
        """Take the bytes that are in no packet yet."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _length(self, header: bytes) -> int:
        try:
            length = int.from_bytes(unhexlify(header))
        except NotHex:
            raise ProtocolError(f"bad pkt-line length {header!r}: not four hex digits") from None
        if self._last_marker.value < length < 4 or length > MAX_PAYLOAD + 4:
            raise ProtocolError(f"bad pkt-line length {header!r}")
        return length
