"""Packuments, versions and tarballs on their way out: what installing asks for."""

from __future__ import annotations

from twisted.web.http import datetimeToString

from wit.errors import WitError
from wit.packages.served import Tarball
from wit.streams import StreamClosed
from wit.web.answers import JSON
from wit.web.routes.npm.exchange import Exchange
from wit.web.routes.npm.negotiation import (
    ABBREVIATED,
    FULL,
    Part,
    RangeNotSatisfiable,
    best_encoding,
    has_already,
    wanted_part,
    wants_abbreviated,
)
from wit.web.streaming import Request

TARBALL = "application/octet-stream"

FOR_EVER = 365 * 86400
"""Seconds that a tarball may be kept: another one never gets its address (RFC 8246)."""


async def packument(exchange: Exchange) -> None:
    """``GET /:name``."""
    request = exchange.request
    abbreviated = wants_abbreviated(request.header(b"Accept"))
    rendered = await exchange.core.packages.reading.packument(
        exchange.actor,
        exchange.name,
        abbreviated=abbreviated,
        encoding=best_encoding(request.header(b"Accept-Encoding")),
    )
    # A version that was just published is seen at once: what is kept is asked about each time.
    _caching(request, rendered.etag, f"{_who(rendered.public)}, no-cache")
    request.setHeader(b"Vary", b"Accept, Accept-Encoding")
    request.setHeader(b"Last-Modified", datetimeToString(rendered.modified.timestamp()))
    if has_already(request.header(b"If-None-Match"), rendered.etag):
        request.setResponseCode(304)
        return
    if rendered.encoding is not None:
        request.setHeader(b"Content-Encoding", rendered.encoding.encode())
    request.answer(200, ABBREVIATED if abbreviated else FULL, rendered.body)


async def version(exchange: Exchange) -> None:
    """``GET /:name/:version``, also with a tag."""
    found = await exchange.core.packages.reading.version(
        exchange.actor, exchange.name, exchange.values["version"]
    )
    exchange.answer(found)


async def tarball(exchange: Exchange) -> None:
    """``GET /:name/-/:file``, whole or a part of it."""
    request = exchange.request
    file = exchange.values["file"]
    found = await exchange.core.packages.reading.tarball(exchange.actor, exchange.name, file)
    etag = f'"{found.sha512[:32]}"'
    _caching(request, etag, f"{_who(found.public)}, max-age={FOR_EVER}, immutable")
    request.setHeader(b"Accept-Ranges", b"bytes")
    if has_already(request.header(b"If-None-Match"), etag):
        request.setResponseCode(304)
        return
    try:
        part = wanted_part(request.header(b"Range"), request.header(b"If-Range"), etag, found.size)
    except RangeNotSatisfiable:
        request.setHeader(b"Content-Range", b"bytes */%d" % found.size)
        request.answer(416, JSON, b'{"error":"there are fewer bytes than that"}')
        return
    if part is None:
        part = Part(0, found.size)
        request.prepare(200, TARBALL)
    else:
        request.prepare(206, TARBALL)
        described = b"bytes %d-%d/%d" % (part.start, part.stop - 1, found.size)
        request.setHeader(b"Content-Range", described)
    request.setHeader(b"Content-Disposition", f'attachment; filename="{file}"'.encode())
    request.setHeader(b"Content-Length", b"%d" % (part.stop - part.start))
    await _send(request, found, part)


async def _send(request: Request, tarball: Tarball, part: Part) -> None:
    """Write the part. What is missing in the end cuts the connection."""
    if request.method == b"HEAD":
        request.write(b"")
        return
    blob = await tarball.open(part.start, part.stop)
    try:
        left = part.stop - part.start
        data = await blob.read()
        if len(data) == left:  # most are that small
            request.write(data)
            return
        sink = request.sink()
        while data:
            left -= len(data)
            await sink.write(data)
            data = await blob.read()
        if left:
            raise StreamClosed("the tarball is shorter than it was")
    except WitError:
        if request.startedWriting:
            raise StreamClosed("the tarball broke off") from None
        raise
    finally:
        await blob.close()


def _who(public: bool) -> str:
    return "public" if public else "private"


def _caching(request: Request, etag: str, control: str) -> None:
    request.setHeader(b"ETag", etag.encode())
    request.setHeader(b"Cache-Control", control.encode())
