"""HTTP/1.1 message framing (RFC 9112) without any I/O: heads, body lengths, chunked bodies.

Twisted's own HTTPChannel is not used because it answers a request only when its body is read,
goes on after a malformed header, and buffers pipelined requests without limit while an answer is
stuck. What is accepted here is deliberately narrow: whatever two parsers could read in two ways
(attack list, line 32) is refused.
"""

from __future__ import annotations

import re

import attrs

MAX_HEAD = 16 * 1024
"""Bytes of a request line and all its headers."""

MAX_HEADERS = 100
"""Header lines of one request."""

MAX_CHUNK_LINE = 1024
"""Bytes of a chunk-size line with its extensions."""

MAX_TRAILERS = 8 * 1024
"""Bytes of the trailer section of a chunked body."""

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) (HTTP/\d\.\d)")
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")


class BadRequest(Exception):
    """The bytes are not a request that may be answered; the connection must be closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@attrs.frozen
class Head:
    """A request line and its headers. ``length`` is the body's in bytes, None when chunked."""

    method: bytes
    target: bytes
    version: bytes
    headers: list[tuple[bytes, bytes]]
    length: int | None
    keep_alive: bool
    expects_continue: bool


def parse_head(block: bytes) -> Head:
    """The request whose head is ``block``, up to and without the empty line that ends it.

    Raises BadRequest.
    """
    request_line, *lines = block.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(request_line)
    if match is None:
        raise BadRequest(400, "the request line is malformed")
    method, target, version = match.groups()
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        raise BadRequest(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if len(lines) > MAX_HEADERS:
        raise BadRequest(431, f"there are more than {MAX_HEADERS} headers")
    headers = [_header(line) for line in lines]

    hosts = 0
    lengths: list[bytes] = []
    codings: list[bytes] = []
    connection = b""
    expects_continue = False
    for name, value in headers:
        lowered = name.lower()
        if lowered == b"host":
            hosts += 1
        elif lowered == b"content-length":
            lengths.append(value)
        elif lowered == b"transfer-encoding":
            codings.append(value)
        elif lowered == b"connection":
            connection += b"," + value.lower()
        elif lowered == b"expect":
            expects_continue = value.lower() == b"100-continue"
    modern = version == b"HTTP/1.1"
    if hosts > 1 or (modern and not hosts):
        raise BadRequest(400, "there must be one Host header")
    options = [option.strip() for option in connection.split(b",")] if connection else []
    return Head(
        method,
        _origin_form(method, target),
        version,
        headers,
        _body_length(modern, lengths, codings),
        modern and b"close" not in options,
        modern and expects_continue,
    )


def _header(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.partition(b":")
    value = value.strip(b" \t")
    if len(line) == len(name) or not _NAME.fullmatch(name) or _BAD_VALUE.search(value):
        raise BadRequest(400, "a header line is malformed")
    return name, value


def _origin_form(method: bytes, target: bytes) -> bytes:
    """Path and query of a request target (RFC 9112, section 3.2)."""
    if target.startswith(b"/"):
        return target
    if target == b"*" and method == b"OPTIONS":
        return target
    match = _ABSOLUTE.match(target)
    if match is None:
        raise BadRequest(400, "the request target must be a path")
    rest = target[match.end() :]
    return rest if rest.startswith(b"/") else b"/" + rest


def _body_length(modern: bool, lengths: list[bytes], codings: list[bytes]) -> int | None:
    """Section 6.3: one Content-Length, or ``Transfer-Encoding: chunked``, or neither."""
    if codings:
        if lengths or not modern or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise BadRequest(400, "the body's length is given in an unclear way")
        return None
    if not lengths:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BadRequest(400, "Content-Length must be one number")
    return int(lengths[0])


class LengthDecoder:
    """A body of known length."""

    def __init__(self, length: int) -> None:
        self.left: int | None = length
        self.rest = b""
        self.complete = length == 0

    def feed(self, data: bytes) -> list[bytes]:
        """The body's part of ``data``; what follows the body's end goes to ``rest``."""
        assert self.left is not None
        if len(data) < self.left:
            self.left -= len(data)
            return [data]
        part, self.rest = data[: self.left], data[self.left :]
        self.left = 0
        self.complete = True
        return [part]


class ChunkedDecoder:
    """A chunked body (RFC 9112, section 7.1). Extensions and trailers are skipped."""

    left: int | None = None

    def __init__(self) -> None:
        self.rest = b""
        self.complete = False
        self._line = bytearray()
        self._trailers = 0
        self._chunk = 0
        self._state = self._size_line

    def feed(self, data: bytes) -> list[bytes]:
        """The body bytes in ``data``; what follows the body's end goes to ``rest``.

        Raises BadRequest.
        """
        parts: list[bytes] = []
        position = 0
        while position < len(data) and not self.complete:
            position = self._state(data, position, parts)
        if self.complete:
            self.rest = data[position:]
        return parts

    def _size_line(self, data: bytes, position: int, parts: list[bytes]) -> int:
        position = self._read_line(data, position, MAX_CHUNK_LINE)
        if self._line.endswith(b"\r\n"):
            match = _CHUNK_LINE.fullmatch(self._line[:-2])
            if match is None:
                raise BadRequest(400, "a chunk size is malformed")
            self._chunk = int(match[1], 16)
            self._line.clear()
            self._state = self._data if self._chunk else self._trailer
        return position

    def _data(self, data: bytes, position: int, parts: list[bytes]) -> int:
        part = data[position : position + self._chunk]
        parts.append(part)
        self._chunk -= len(part)
        if not self._chunk:
            self._state = self._chunk_end
        return position + len(part)

    def _chunk_end(self, data: bytes, position: int, parts: list[bytes]) -> int:
        taken = data[position : position + 2 - len(self._line)]
        self._line += taken
        if not b"\r\n".startswith(self._line):
            raise BadRequest(400, "a chunk is longer than its size")
        if len(self._line) == 2:
            self._line.clear()
            self._state = self._size_line
        return position + len(taken)

    def _trailer(self, data: bytes, position: int, parts: list[bytes]) -> int:
        start = position
        position = self._read_line(data, position, MAX_TRAILERS)
        self._trailers += position - start
        if self._trailers > MAX_TRAILERS:
            raise BadRequest(400, "the trailers are too long")
        if self._line == b"\r\n":
            self.complete = True
        elif self._line.endswith(b"\r\n"):
            _header(bytes(self._line[:-2]))
            self._line.clear()
        return position

    def _read_line(self, data: bytes, position: int, limit: int) -> int:
        """Take bytes up to and with the next line feed into ``_line``."""
        end = data.find(b"\n", position) + 1 or len(data)
        self._line += data[position:end]
        if len(self._line) > limit:
            raise BadRequest(400, "a chunk's header is too long")
        if self._line.endswith(b"\n") and not self._line.endswith(b"\r\n"):
            raise BadRequest(400, "lines must end in CR LF")
        return end
