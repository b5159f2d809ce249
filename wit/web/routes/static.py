"""Files of pages that never change: their address has a digest of them, so that browsers may keep
them for ever, and a new version of wit is seen at once."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from importlib import resources

import attrs
from twisted.web.http import CACHED

from wit.web.site import Route, exactly
from wit.web.streaming import Request

TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}

_FOR_EVER = b"public, max-age=31536000, immutable"


@attrs.frozen
class StaticFile:
    """``path`` is its address on this site."""

    path: str
    content_type: str
    body: bytes
    etag: bytes


def static_file(name: str, parts: Sequence[str]) -> StaticFile:
    """The file ``name``, made of files below ``wit/web`` in a row."""
    folder = resources.files("wit.web")
    body = b"\n".join(folder.joinpath(part).read_bytes() for part in parts)
    digest = sha256(body).hexdigest()[:20]
    content_type = TYPES[name[name.rindex(".") :]]
    return StaticFile(f"/static/{digest}/{name}", content_type, body, f'"{digest}"'.encode())


def static_route(files: Sequence[StaticFile]) -> Route:
    by_path = {file.path.encode(): file for file in files}

    async def answer(request: Request) -> None:
        file = by_path[request.path]
        request.setHeader(b"Cache-Control", _FOR_EVER)
        if request.setETag(file.etag) is not CACHED:
            request.answer(200, file.content_type, file.body)

    return exactly({path: {b"GET": answer} for path in by_path})
