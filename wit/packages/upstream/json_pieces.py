"""Reading a large JSON text member by member, so that no step is as long as the text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

_SPACE = re.compile(r"[ \t\n\r]*")

PROTOTYPE = "__proto__"
"""A key that changes objects themselves in careless JavaScript; it is never handed on."""


class JsonPieces:
    """A position in ``text``, which moves on with every value that is read.

    Everything raises ValueError if the text is not JSON (RFC 8259) in which keys occur once.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._decoder = json.JSONDecoder(parse_constant=_no_constant)
        lowered = text.lower() if "\\u" in text else text
        self._suspicious = PROTOTYPE in text or "\\u005f" in lowered or "\\u0070" in lowered

    def members(self) -> Iterator[str]:
        """The keys of the object that begins here.

        After each, whoever iterates reads the value, by :meth:`value` or :meth:`members`.
        """
        self._expect("{")
        seen: set[str] = set()
        if self._next("}"):
            return
        while True:
            if not self._text.startswith('"', self._skip()):
                raise ValueError(f"expected a key at {self._at}")
            key, self._at = self._decoder.raw_decode(self._text, self._at)
            if key in seen:
                raise ValueError(f"the key {key[:80]!r} occurs twice")
            seen.add(key)
            self._expect(":")
            yield key
            if self._next("}"):
                return
            self._expect(",")

    def value(self) -> Any:
        """The value that begins here."""
        start = self._skip()
        try:
            found, self._at = self._decoder.raw_decode(self._text, start)
        except RecursionError:
            raise ValueError("values are nested too deeply") from None
        return cleaned(found) if self._suspicious else found

    def end(self) -> None:
        """Nothing may follow."""
        if self._skip() != len(self._text):
            raise ValueError(f"there is more after the value, at {self._at}")

    def _skip(self) -> int:
        match = _SPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()
        return self._at

    def _next(self, character: str) -> bool:
        found = self._text.startswith(character, self._skip())
        self._at += found
        return found

    def _expect(self, character: str) -> None:
        if not self._next(character):
            raise ValueError(f"expected {character} at {self._at}")


def cleaned(value: Any) -> Any:
    """``value`` without the keys that are never handed on."""
    if isinstance(value, dict):
        return {key: cleaned(item) for key, item in value.items() if key != PROTOTYPE}
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
