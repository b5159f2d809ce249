"""Request bodies as handlers want them: decompressed, and never larger than allowed."""

from __future__ import annotations

import zlib

from wit.errors import Invalid, TooLarge, UnsupportedMediaType
from wit.streams import CHUNK, ByteSource
from wit.web.streaming import Request

FREE_OUTPUT = 1024 * 1024
"""Bytes that a compressed body may unpack to before the ratio counts."""

MAX_RATIO = 64
"""Bytes of output per byte of input. Text of object ids compresses to about half, packs not at
all; only a bomb gets near gzip's limit of 1000."""


class LimitedSource:
    """``source`` as long as it has no more than ``limit`` bytes; then TooLarge."""

    def __init__(self, source: ByteSource, limit: int) -> None:
        self._source = source
        self._left = limit
        self._limit = limit

    async def read(self) -> bytes:
        data = await self._source.read()
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge(f"the request body is larger than {self._limit} bytes")
        return data


class GunzipSource:
    """The unpacked bytes of a gzip stream (RFC 1952), at most CHUNK at a time.

    Raises Invalid for what is not gzip or ends early, TooLarge for a bomb.
    """

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        self._input = b""
        self._taken = 0
        self._given = 0
        self._more = False

    async def read(self) -> bytes:
        while not self._unpacker.eof:
            if not self._input and not self._more:
                self._input = await self._source.read()
                self._taken += len(self._input)
                if not self._input:
                    raise Invalid("the gzip body is incomplete")
            try:
                data = self._unpacker.decompress(self._input, CHUNK)
            except zlib.error:
                raise Invalid("the body is not in gzip format") from None
            self._input = self._unpacker.unconsumed_tail
            self._more = len(data) == CHUNK  # the unpacker may hold output back
            self._given += len(data)
            if self._given > FREE_OUTPUT + MAX_RATIO * self._taken:
                raise TooLarge("the compressed body unpacks to too much")
            if data:
                return data
        if self._unpacker.unused_data or await self._source.read():
            raise Invalid("there is something behind the end of the gzip body")
        return b""


def decoded(source: ByteSource, content_encoding: str | None, limit: int) -> ByteSource:
    """``source`` without its Content-Encoding, and never more than ``limit`` bytes of it.

    Raises UnsupportedMediaType for an encoding that is neither gzip nor identity.
    """
    match (content_encoding or "identity").strip().lower():
        case "identity":
            return LimitedSource(source, limit)
        case "gzip" | "x-gzip":
            return LimitedSource(GunzipSource(source), limit)
    raise UnsupportedMediaType("send the body as it is, or compressed with gzip")


async def read_all(source: ByteSource) -> bytes:
    """The whole of a limited source."""
    parts = []
    while data := await source.read():
        parts.append(data)
    return b"".join(parts)


async def read_body(request: Request, limit: int) -> bytes:
    """The whole body, decompressed; the client is asked for it only now.

    So call it when it is settled who asks and what for. Raises TooLarge if the body has, or
    unpacks to, more than ``limit`` bytes (one that says so beforehand is not read at all),
    UnsupportedMediaType, Invalid, TimedOut if it comes too slowly.
    """
    return await read_all(body_source(request, limit))


def body_source(request: Request, limit: int) -> ByteSource:
    """The body as a stream. Raises as :func:`read_body`, and so does reading."""
    source = decoded(request.body, request.header(b"Content-Encoding"), limit)
    if request.body.length is not None and request.body.length > limit:
        raise TooLarge(f"the request body is larger than {limit} bytes")
    return source
