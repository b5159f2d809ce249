"""The frames in which an engine sends standard output and standard error over one connection.

Engine API, "Attach to a container": one byte for the channel (1 output, 2 error output), three of
nothing, four for the length (big endian), then as many bytes. Pure: no connection, no reactor.
"""

from __future__ import annotations

from collections.abc import Iterator

from wit.sandboxes.provider import Channel

HEADER = 8
_CHANNELS = {
    0: Channel.STDOUT,
    1: Channel.STDOUT,
    2: Channel.STDERR,
    # What the engine itself has to say in the middle of a stream.
    3: Channel.STDERR,
}


class Frames:
    """Reads frames that the network cut or joined as it liked."""

    def __init__(self) -> None:
        self._header = b""
        self._channel = Channel.STDOUT
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[Channel, bytes]]:
        """What is in ``data``, piece by piece; a large frame is not waited for.

        Raises ValueError for bytes that are no frames.
        """
        at = 0
        while at < len(data):
            if self._left:
                part = data[at : at + self._left]
                self._left -= len(part)
                at += len(part)
                yield self._channel, part
                continue
            taken = data[at : at + HEADER - len(self._header)]
            self._header += taken
            at += len(taken)
            if len(self._header) == HEADER:
                header, self._header = self._header, b""
                if header[0] not in _CHANNELS or any(header[1:4]):
                    raise ValueError(f"{header!r} begins no frame")
                self._channel = _CHANNELS[header[0]]
                self._left = int.from_bytes(header[4:], "big")
