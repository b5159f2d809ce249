"""Pure: from the bytes of a session command's log to its output.

The daemon writes each line that a command prints into one log, with three bytes before it that say
from which channel it came. It drops NUL bytes and adds a newline to a line that has none, so the
command's output is encoded inside the sandbox (:data:`wit.sandboxes.daytona.scripts.PIPES`):
every line is base64 for itself; ``=CODE``, once in each channel, is the end.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterator

import attrs

from wit.sandboxes.provider import Channel, Output

MARKERS = {b"\x01\x01\x01": Channel.STDOUT, b"\x02\x02\x02": Channel.STDERR}
LONGEST_LINE = 64 * 1024
"""Ours are of 4 KB; what somebody else puts into the log is cut off here."""


class Demultiplexer:
    """Takes the log in pieces of any size; gives runs of bytes with their channel."""

    def __init__(self) -> None:
        self._held = b""
        self._channel = Channel.STDOUT

    def feed(self, data: bytes) -> Iterator[tuple[Channel, bytes]]:
        data = self._held + data
        start, found = 0, _marker(data, 0)
        while found is not None:
            at, channel = found
            if at > start:
                yield self._channel, data[start:at]
            self._channel = channel
            start = at + 3
            found = _marker(data, start)
        end = len(data) - _begun(data[start:])
        self._held = data[end:]
        if end > start:
            yield self._channel, data[start:end]


def _marker(data: bytes, start: int) -> tuple[int, Channel] | None:
    """Where the next marker is, and of which channel."""
    places = [(data.find(marker, start), channel) for marker, channel in MARKERS.items()]
    return min((place for place in places if place[0] >= 0), default=None)


def _begun(rest: bytes) -> int:
    """How many bytes at the end may be the beginning of a marker."""
    if rest[-1:] not in (b"\x01", b"\x02"):
        return 0
    return 2 if rest[-2:-1] == rest[-1:] else 1


@attrs.frozen
class Said:
    """Output, and how many bytes of encoded log it was."""

    output: Output
    cost: int


class Decoder:
    """Takes the log in pieces of any size; gives the command's output, and in the end its code."""

    def __init__(self) -> None:
        self._demultiplexer = Demultiplexer()
        self._lines = {channel: bytearray() for channel in Channel}
        self._ended: set[Channel] = set()
        self.code: int | None = None
        """Exit code, when it has been said."""

    @property
    def complete(self) -> bool:
        """Both channels are at their ends."""
        return len(self._ended) == len(Channel)

    def feed(self, data: bytes) -> Iterator[Said]:
        for channel, run in self._demultiplexer.feed(data):
            line = self._lines[channel]
            *whole, rest = run.split(b"\n")
            for part in whole:
                line += part
                yield from self._line(channel, bytes(line))
                line.clear()
            line += rest
            del line[LONGEST_LINE:]

    def _line(self, channel: Channel, line: bytes) -> Iterator[Said]:
        if channel in self._ended or not line:
            return
        if line[:1] == b"=" and line[1:].isdigit() and len(line) < 8:
            self._ended.add(channel)
            self.code = int(line[1:])
            return
        try:
            data = binascii.a2b_base64(line, strict_mode=True)
        except binascii.Error:
            data = line + b"\n"  # not ours: the shell's own words when it could not even begin
        yield Said(Output(channel, data), len(line) + 1)
