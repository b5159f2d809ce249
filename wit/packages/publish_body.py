"""The body of ``npm publish``, read as it comes: the tarball apart from the rest. Sans-IO.

The body is one JSON object that holds the tarball in base64, under
``_attachments.<file>.tgz.data``. :class:`BodyReader` hands out the tarball's bytes while they
come in and keeps only the rest, within a limit; :meth:`BodyReader.document` is that rest, in which
an empty text stands for the tarball.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from typing import Any

from wit.errors import Invalid, TooLarge
from wit.packages.names import TARBALL_SUFFIX

MAX_DEPTH = 64
"""Of arrays and objects within each other."""

_MAX_KEY = 4096
_MARK = re.compile(rb'["{}\[\],:]')
_STRING_MARK = re.compile(rb'["\\]')


class BodyReader:
    """Feed it the body; it gives back the tarball.

    ``max_rest`` and ``max_tarball`` are in bytes. All methods raise Invalid and TooLarge, and after
    that the reader is of no more use.
    """

    def __init__(self, max_rest: int, max_tarball: int) -> None:
        self._max_rest = max_rest
        self._max_tarball = max_tarball
        self._rest = bytearray()
        self._path: list[str | None] = []
        """Of each open object the key whose value comes now, of each open array None."""
        self._objects: list[bool] = []
        self._expects_key = False
        self._string: bytearray | None = None
        """The key that is being read, with its quotes."""
        self._in_string = False
        self._escaped = False
        self._decoder: _Base64 | None = None
        self._done = False
        self.file: str | None = None
        """The name of the tarball's attachment, as soon as its data begin."""

    def feed(self, data: bytes) -> bytes:
        """The bytes of the tarball that were in ``data``, decoded."""
        tarball: list[bytes] = []
        position = 0
        while position < len(data):
            if self._decoder is not None:
                position = self._attachment(data, position, self._decoder, tarball)
            elif self._in_string:
                position = self._text(data, position)
            else:
                position = self._structure(data, position)
        return b"".join(tarball)

    def document(self) -> dict[str, Any]:
        """The object without the tarball, when the whole body was fed. Blocks: parses it."""
        if self._decoder is not None or self._in_string or self._objects:
            raise Invalid("the request body is cut off; publish again")
        try:
            found = json.loads(
                self._rest,
                object_pairs_hook=_object,
                parse_float=_finite,
                parse_constant=_no_constant,
            )
        except (ValueError, RecursionError) as error:
            raise Invalid(f"the request body is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise Invalid("the request body must be a JSON object")
        return found

    # Outside of texts

    def _structure(self, data: bytes, position: int) -> int:
        """Up to and with the next mark."""
        match = _MARK.search(data, position)
        end = len(data) if match is None else match.end()
        self._keep(data[position:end])
        if match is not None:
            self._mark(match[0])
        return end

    def _mark(self, mark: bytes) -> None:
        match mark:
            case b'"':
                self._begin_text()
            case b"{" | b"[":
                if len(self._objects) == MAX_DEPTH:
                    raise Invalid(f"the request body is nested deeper than {MAX_DEPTH}")
                self._objects.append(mark == b"{")
                self._path.append(None)
                self._expects_key = mark == b"{"
            case b"}" | b"]":
                if not self._objects or self._objects.pop() != (mark == b"}"):
                    raise Invalid("the request body is not JSON")
                self._path.pop()
                self._expects_key = False
            case b",":
                self._expects_key = bool(self._objects) and self._objects[-1]
            case _:
                self._expects_key = False

    def _begin_text(self) -> None:
        if self._expects_key:
            self._string = bytearray(b'"')
        elif self._is_tarball():
            if self.file is not None:
                raise Invalid("publish one tarball at a time")
            self.file = self._path[1]
            self._decoder = _Base64(self._max_tarball)
            return
        self._in_string = True

    def _is_tarball(self) -> bool:
        path = self._path
        return (
            len(path) == 3
            and path[0] == "_attachments"
            and path[1] is not None
            and path[1].endswith(TARBALL_SUFFIX)
            and path[2] == "data"
        )

    # In texts

    def _text(self, data: bytes, position: int) -> int:
        if self._escaped:
            self._escaped = False
            end = position + 1
        else:
            match = _STRING_MARK.search(data, position)
            end = len(data) if match is None else match.end()
            if match is not None:
                self._escaped = match[0] == b"\\"
                self._in_string = self._escaped
        self._keep(data[position:end])
        if self._string is not None:
            self._string += data[position:end]
            if len(self._string) > _MAX_KEY:
                raise Invalid(f"a key in the request body is longer than {_MAX_KEY} bytes")
            if not self._in_string:
                self._path[-1] = _key(self._string)
                self._string = None
                self._expects_key = False
        return end

    def _attachment(
        self, data: bytes, position: int, decoder: _Base64, tarball: list[bytes]
    ) -> int:
        quote = data.find(b'"', position)
        end = len(data) if quote < 0 else quote
        if decoded := decoder.feed(data[position:end]):
            tarball.append(decoded)
        if quote < 0:
            return end
        decoder.end()
        self._decoder = None
        self._keep(b'"')
        return end + 1

    def _keep(self, data: bytes) -> None:
        self._rest += data
        if len(self._rest) > self._max_rest:
            raise TooLarge(
                f"the request without its tarball is larger than {self._max_rest} bytes "
                "(packages.max_manifest_bytes)"
            )


class _Base64:
    """A base64 text (RFC 4648, section 4) that comes in pieces, within a JSON string."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._size = 0
        self._left = b""
        self._padded = False

    def feed(self, data: bytes) -> bytes:
        """A JSON writer may put a backslash before each slash; nothing else is written so."""
        data = (self._left + data).replace(b"\\/", b"/")
        known = len(data) - data.endswith(b"\\")
        usable = known - known % 4
        piece, self._left = data[:usable], data[usable:]
        return self._decode(piece)

    def end(self) -> None:
        if self._left:
            raise Invalid("the tarball in the request body is cut off")

    def _decode(self, piece: bytes) -> bytes:
        if not piece:
            return b""
        if self._padded:
            raise Invalid("the tarball in the request body is not base64")
        try:
            decoded = binascii.a2b_base64(piece, strict_mode=True)
        except binascii.Error:
            raise Invalid("the tarball in the request body is not base64") from None
        self._padded = piece.endswith(b"=")
        self._size += len(decoded)
        if self._size > self._max_bytes:
            raise TooLarge(
                f"the tarball is larger than {self._max_bytes} bytes (packages.max_tarball_bytes)"
            )
        return decoded


def _key(text: bytearray) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        raise Invalid("the request body is not JSON: a key cannot be read") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises ValueError for what would mean different things to different readers."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    if "__proto__" in found:
        raise ValueError("an object has a key __proto__")
    for key in ("constructor", "prototype"):
        if isinstance(found.get(key), dict):
            raise ValueError(f"an object has a key {key} with an object in it")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
