"""What git says in words goes to clients without the server's paths.

git names files by their absolute paths when something is wrong with a repository, and it says so on
side-band 2, in the middle of an answer (gitprotocol-pack(5), "Packfile Data"). Those words are
edited in passing: every packet keeps its length, so that nothing else of the answer changes, and an
answer of known size keeps its size. Packs are not looked at; each packet of one costs a few
comparisons.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from wit.git.pktline import FLUSH, MAX_PAYLOAD

TAIL_BYTES = 8 * 1024
"""What is remembered of git's own words, for the log."""

_WORDS = (2, 3)
"""The bands that carry text: progress and errors."""

_HEADER = re.compile(rb"[0-9a-fA-F]{4}")


class ServerPaths:
    """The folder of all repositories, in both ways that git may spell it."""

    def __init__(self, repos_dir: Path) -> None:
        """Follows links, so it may block: at start only."""
        spelled = {os.path.abspath(repos_dir), os.path.realpath(repos_dir)}
        roots = {os.fsencode(path).rstrip(b"/") + b"/" for path in spelled}
        self._roots = sorted(roots, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, self._roots)))

    def hide(self, text: str) -> str:
        """``text`` with repositories named as in URLs: ``owner/name.git``."""
        return os.fsdecode(self._pattern.sub(b"", os.fsencode(text)))

    def blank(self, text: bytes) -> bytes:
        """The same with spaces before the names, so that the length stays."""
        return self._pattern.sub(lambda found: b" " * len(found[0]), text)

    def may_go_on(self, text: bytes) -> bool:
        """Whether ``text`` ends within what might become the folder's path."""
        longest = len(self._roots[0])
        if b"/" not in text[-longest:]:
            return False
        return any(
            text.endswith(root[:size]) for root in self._roots for size in range(1, len(root))
        )


class PublicText:
    """Edits one answer of git's. ``feed`` it all of the answer, then ``end`` it.

    git cuts its words into packets wherever it likes. A packet that ends within what might be a
    path waits for the next one with words; the packs between them do not wait.
    """

    def __init__(self, paths: ServerPaths) -> None:
        self._paths = paths
        self._rest = b""
        """The beginning of a packet that must be seen as a whole, or of its header."""
        self._left = 0
        """Bytes of the current packet that just go through."""
        self._raw = False
        self._held: list[bytes] = []
        self.edited = False
        """Whether anything was taken out."""
        self._said = b""

    @property
    def said(self) -> str:
        """The last TAIL_BYTES of git's words, as they were."""
        return self._said.decode("utf-8", "replace")

    def feed(self, data: bytes) -> bytes:
        """As much of the answer as can be sent now."""
        data = self._rest + data if self._rest else data
        self._rest = b""
        if self._raw:
            return data
        out: list[bytes] = []
        sent = position = 0
        while position < len(data):
            if self._left:
                step = min(self._left, len(data) - position)
                self._left -= step
                position += step
                continue
            length = _packet_length(data, position)
            if length is None:
                self._raw = True  # a pack without side-band: no packets from here on
                position = len(data)
            elif not length:
                break
            elif length > 4 and data[position + 4] in _WORDS:
                if position + length > len(data):
                    break
                out += data[sent:position], self._edit(data[position : position + length])
                sent = position = position + length
            else:
                if self._held and data.startswith(FLUSH, position):
                    out += data[sent:position], self._release()
                    sent = position
                self._left = length
        if not out and position == len(data):
            return data
        out.append(data[sent:position])
        self._rest = data[position:]
        return b"".join(out)

    def end(self) -> bytes:
        """What was held back, when the answer has ended."""
        rest, self._rest = self._rest, b""
        return self._release() + rest

    def _edit(self, packet: bytes) -> bytes:
        self._said = (self._said + packet[5:])[-TAIL_BYTES:]
        self._held.append(packet)
        text = b"".join(held[5:] for held in self._held)
        return b"" if self._paths.may_go_on(text) else self._release()

    def _release(self) -> bytes:
        """The packets that waited, each as long as it was."""
        held, self._held = self._held, []
        text = b"".join(packet[5:] for packet in held)
        edited = self._paths.blank(text)
        if edited == text:
            return b"".join(held)
        self.edited = True
        out = []
        for packet in held:
            words, edited = edited[: len(packet) - 5], edited[len(packet) - 5 :]
            out.append(packet[:5] + words)
        return b"".join(out)


def _packet_length(data: bytes, position: int) -> int | None:
    """Of the packet that begins at ``position``, its header included; 0 if too little of it is
    there to tell what it is, None if it is none."""
    header = data[position : position + 4]
    if len(header) < 4:
        return 0
    if not _HEADER.fullmatch(header) or (length := int(header, 16)) > MAX_PAYLOAD + 4:
        return None
    if length <= 4:  # a marker, or an empty packet
        return 4
    return length if len(data) > position + 4 else 0
