"""Operating system commands in what a terminal prints (ECMA-48, section 8.3.89; xterm's control
sequences, "Operating System Commands"): titles are noticed, clipboards are guarded. Pure.

A program in a sandbox may print anything, and so may a file that somebody looks at. What reaches
the clipboard of the person in front is pasted into other terminals later (attack list, line 66), so
such commands are taken out of the output, unless the operator wants them. Everything else goes
through, byte for byte.

Terminals act on control characters in the midst of an escape sequence and go on with it, so these
do not hide a command from us either; nor does any way of splitting it over several pieces.
"""

from __future__ import annotations

import re

import attrs

MAX_TITLE = 200
"""Characters of a title that are kept."""

_MAX_TITLE_BYTES = 1024
_MAX_NUMBER = 32
"""Bytes within which a command's number must have ended."""
_MAX_HELD = 64
"""Control characters behind an ESC that are waited through."""

_WRITE_CLIPBOARD = 52
_CLIPBOARD = frozenset({_WRITE_CLIPBOARD, 1337, 5522})
"""xterm's, iTerm2's and kitty's ways to the clipboard."""
_TITLES = frozenset({0, 2})

_CONTROLS = bytes((*range(0x18), 0x19, *range(0x1C, 0x20), 0x7F))
"""What is acted upon, or ignored, within a sequence: all but CAN, SUB and ESC, which end it."""

_INTRODUCER = re.compile(rb"\x1b[%b]*\]|\xc2\x9d" % re.escape(_CONTROLS))
"""ESC ], or the single character OSC (U+009D) in UTF-8."""
_TERMINATOR = re.compile(rb"[\x07\x18\x1a\x1b]|\xc2\x9c")
"""BEL, CAN, SUB, ST; an ESC ends it too, whether ST is made of it or not."""

_QUERIES = re.compile(
    rb"\x1b\[[?>=]?[0-9;]*(?:[cnx]|\$p)"  # device attributes and status, parameters, modes
    rb"|\x1b\[[0-9;]*t"  # window reports
    rb"|\x1bP[$+][^\x1b]*\x1b\\"  # settings, terminfo
    rb"|\x1b\][0-9;]*\?(?:\x07|\x1b\\)"  # colours and the like
    rb"|\x05|\x1bZ"
)


@attrs.define
class _Command:
    """One that has begun."""

    introducer: bytes
    head: bytes = b""
    """Until it is decided what becomes of it."""
    shown: bool | None = None
    title: bytes | None = None


class OutputFilter:
    """Feed it the output as it comes; show what it gives back.

    ``title`` is the last one that a program has set, fit to be shown anywhere; ``""`` if none.
    """

    def __init__(self, *, clipboard: bool = False) -> None:
        self.title = ""
        self._clipboard = clipboard
        self._held = b""
        self._command: _Command | None = None

    def feed(self, data: bytes) -> bytes:
        if self._command is None and not self._held and not _suspicious(data):
            return data
        data, self._held = self._held + data, b""
        shown: list[bytes] = []
        position = 0
        while position < len(data):
            if self._command is None:
                position = self._plain(data, position, shown)
            else:
                position = self._inside(self._command, data, position, shown)
        return b"".join(shown)

    def end(self) -> bytes:
        """What was still waited for: no more will come."""
        held, self._held = self._held, b""
        return held

    def _plain(self, data: bytes, position: int, shown: list[bytes]) -> int:
        match = _INTRODUCER.search(data, position)
        if match is not None:
            shown.append(data[position : match.start()])
            self._command = _Command(match.group())
            return match.end()
        rest = data[position:]
        held = _unfinished(rest)
        if len(held) > _MAX_HELD:  # no sequence at all: without its ESC it is none for sure
            shown += (rest[: -len(held)], held[1:])
        else:
            shown.append(rest[: len(rest) - len(held)])
            self._held = held
        return len(data)

    def _inside(self, command: _Command, data: bytes, position: int, shown: list[bytes]) -> int:
        match = _TERMINATOR.search(data, position)
        end = len(data) if match is None else match.start()
        if match is None and data.endswith(b"\xc2"):
            end -= 1
            self._held = b"\xc2"
        content = data[position:end]
        if command.shown is None:
            command.head += content
            content = self._decide(command, complete=match is not None)
        elif command.title is not None:
            command.title = (command.title + content)[:_MAX_TITLE_BYTES]
        if command.shown:
            shown.append(content)
        if match is None:
            return len(data)
        self._command = None
        if command.title is not None and match.group() not in (b"\x18", b"\x1a"):
            self.title = clean_title(command.title)
        if match.group() == b"\x1b":
            return end
        if command.shown:
            shown.append(match.group())
        return match.end()

    def _decide(self, command: _Command, *, complete: bool) -> bytes:
        """Settle what becomes of a command as soon as that is clear; what is shown of it now."""
        head = command.head.translate(None, _CONTROLS)
        number, semicolon, rest = head.partition(b";")
        if not (semicolon or complete or len(head) > _MAX_NUMBER):
            return b""
        kind = int(number) if number.isdigit() and len(number) <= _MAX_NUMBER else -1
        if kind in _CLIPBOARD:
            _, second, payload = rest.partition(b";")
            if self._clipboard and kind == _WRITE_CLIPBOARD and not (payload or complete):
                if len(head) <= _MAX_NUMBER:
                    return b""
                second = b""
            command.shown = bool(
                self._clipboard
                and kind == _WRITE_CLIPBOARD
                and second
                and not payload.startswith(b"?")
            )
        else:
            command.shown = True
            if kind in _TITLES:
                command.title = rest[:_MAX_TITLE_BYTES]
        return command.introducer + command.head


def clean_title(title: bytes) -> str:
    """A title without anything that acts, hides or turns text around."""
    text = title.decode("utf-8", "replace")
    return "".join(filter(str.isprintable, text)).strip()[:MAX_TITLE]


def without_queries(output: bytes) -> bytes:
    """Output that is shown again, without what makes a terminal answer: nobody waits for these
    answers any more, and the shell would take them for typed."""
    return _QUERIES.sub(b"", output)


def _suspicious(data: bytes) -> bool:
    return b"\x1b" in data or b"\xc2" in data


def _unfinished(data: bytes) -> bytes:
    """The end of ``data`` that may be the beginning of an introducer."""
    if data.endswith(b"\xc2"):
        return b"\xc2"
    escape = data.rfind(b"\x1b")
    if escape < 0 or data[escape + 1 :].strip(_CONTROLS):
        return b""
    return data[escape:]
