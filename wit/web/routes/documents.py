"""What the API says about itself: its OpenAPI document, a page that shows it, its TypeScript types.

Everything here is public and the same for everybody.
"""

from __future__ import annotations

from hashlib import sha256

import attrs
from twisted.web.http import CACHED

from wit.operations.openapi import document
from wit.operations.registry import Registry
from wit.operations.typescript import declaration
from wit.runtime import Runtime
from wit.web.answers import JSON, TEXT, json_bytes
from wit.web.pages import asset
from wit.web.site import Route, exactly
from wit.web.streaming import Request

OPENAPI, TYPES = MADE = b"/api/openapi.json", b"/api/trpc.d.ts"

PAGES = {
    b"/api/docs": ("text/html; charset=utf-8", "api-docs.html"),
    b"/api/docs.js": ("text/javascript; charset=utf-8", "api-docs.js"),
    b"/api/docs.css": ("text/css; charset=utf-8", "wit.css", "api-docs.css"),
}
"""Path: content type, and the files in wit/web/pages that it is made of."""

CSP = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    b"connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@attrs.frozen
class Document:
    content_type: str
    body: bytes
    etag: bytes = attrs.field(init=False)

    @etag.default
    def _etag(self) -> bytes:
        return b'"%b"' % sha256(self.body).hexdigest()[:32].encode()


class Documents:
    """``/api/openapi.json``, ``/api/docs`` and what it is made of, ``/api/trpc.d.ts``.

    ``base`` is the server's public address. They are made in a thread when first asked for.
    """

    def __init__(self, registry: Registry, base: str, runtime: Runtime) -> None:
        self._registry = registry
        self._base = base
        self._runtime = runtime
        self._made: dict[bytes, Document] | None = None

    def route(self) -> Route:
        return exactly({path: {b"GET": self._answer} for path in (*MADE, *PAGES)})

    async def _answer(self, request: Request) -> None:
        if self._made is None:
            self._made = await self._runtime.in_thread(make, self._registry, self._base)
        found = self._made[request.path]
        request.setHeader(b"Cache-Control", b"no-cache")
        request.setHeader(b"Content-Security-Policy", CSP)
        if request.setETag(found.etag) is not CACHED:
            request.answer(200, found.content_type, found.body)


def make(registry: Registry, base: str) -> dict[bytes, Document]:
    """By their paths."""
    pages = {
        path: Document(content_type, b"".join(map(asset, names)))
        for path, (content_type, *names) in PAGES.items()
    }
    return {
        OPENAPI: Document(JSON, json_bytes(document(registry, base))),
        TYPES: Document(TEXT, declaration(registry).encode()),
        **pages,
    }
