"""A line as it is typed, with its echo: what a terminal's driver does where there is one. Pure."""

from __future__ import annotations

import unicodedata
from codecs import getincrementaldecoder
from collections.abc import Iterator
from enum import Enum

import attrs

MAX_LINE = 4096
"""Characters of a line, as a terminal's driver has it; each one more rings the bell."""

BELL = "\a"
_RUBOUT = "\b \b"


class Key(Enum):
    """What is not part of a line, by the character that a keyboard sends for it."""

    INTERRUPT = "\x03"
    QUIT = "\x1c"
    END = "\x04"
    """Only in an empty line."""


@attrs.frozen
class Line:
    """One that was finished with the return key."""

    text: str


@attrs.frozen
class Echo:
    """What the screen is to show."""

    text: str


Event = Key | Line | Echo


class LineEditor:
    """Backspace takes a character back and ^U the line; what keys like the arrows send is ignored.

    Input may be split anywhere.
    """

    def __init__(self) -> None:
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._line: list[str] = []
        self._escape = ""
        """What has come of an escape sequence, whose rest is to be ignored as well."""

    def feed(self, data: bytes) -> Iterator[Event]:
        for character in self._decoder.decode(data):
            if self._escape or character == "\x1b":
                self._escape = _rest_of_escape(self._escape, character)
            else:
                yield from self._take(character)

    def _take(self, character: str) -> Iterator[Event]:
        match character:
            case "\r" | "\n":
                yield Echo("\r\n")
                yield Line(self._forget())
            case "\x7f" | "\b":
                if self._line:
                    yield Echo(_RUBOUT * _width(self._line.pop()))
            case "\x15":
                yield Echo(_RUBOUT * sum(map(_width, self._forget())))
            case Key.INTERRUPT.value | Key.QUIT.value:
                self._forget()
                yield Echo(f"^{chr(ord(character) ^ 0x40)}\r\n")
                yield Key(character)
            case Key.END.value if not self._line:
                yield Key.END
            case _:
                character = " " if character == "\t" else character
                if len(self._line) >= MAX_LINE:
                    yield Echo(BELL)
                elif character.isprintable():
                    self._line.append(character)
                    yield Echo(character)

    def _forget(self) -> str:
        line, self._line = "".join(self._line), []
        return line


def _rest_of_escape(begun: str, character: str) -> str:
    """What is remembered of an escape sequence after one more character; empty at its end.

    ECMA-48, section 5.4: CSI, then parameters, then a final character; ESC O and one more is what
    keypads send.
    """
    if not begun:
        return character
    if begun == "\x1b":
        return character if character in "[O" else ""
    return begun if begun == "[" and not "@" <= character <= "~" else ""


def _width(character: str) -> int:
    """Columns on the screen."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
