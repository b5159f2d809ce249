"""A registry that does what a test wants: small, and with every fault that a real one may have."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

Behaviour = Callable[[Request], bytes | int]
"""Gives the body, or NOT_DONE_YET."""

_reactor: Any = reactor


def integrity(data: bytes) -> str:
    return "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()


class Registry(Resource):
    """``pages``: path -> body, or what makes it. ``asked``: every request's method and path."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.pages: dict[str, bytes | Behaviour] = {}
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.waiting: list[Request] = []
        """Requests that a test holds back."""
        self.arrived: Deferred[None] = Deferred()
        self._port: Any = None

    async def start(self) -> None:
        self._port = _reactor.listenTCP(0, Site(self), interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self._port.getHost().port}"

    async def stop(self) -> None:
        await maybeDeferred(self._port.stopListening)

    def render(self, request: Request) -> bytes | int:
        path = request.uri.decode()
        self.asked.append(f"{request.method.decode()} {path}")
        self.headers.append(
            {
                name.decode().lower(): values[0].decode()
                for name, values in request.requestHeaders.getAllRawHeaders()
            }
        )
        self.bodies.append(request.content.read() if request.content else b"")
        page = self.pages.get(path)
        if page is None:
            request.setResponseCode(404)
            return b'{"error":"Not found"}'
        return page if isinstance(page, bytes) else page(request)

    def hold(self, request: Request) -> int:
        """A behaviour: the request waits until the test finishes it."""
        self.waiting.append(request)
        arrived, self.arrived = self.arrived, Deferred()
        arrived.callback(None)
        return NOT_DONE_YET

    # What there is

    def tarball_url(self, name: str, version: str) -> str:
        return f"{self.url}/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"

    def manifest(self, name: str, version: str, tarball: bytes, **more: Any) -> dict[str, Any]:
        dist = {
            "tarball": self.tarball_url(name, version),
            "shasum": hashlib.sha1(tarball).hexdigest(),
            "integrity": integrity(tarball),
        }
        return {"name": name, "version": version, "dist": dist, **more}

    def publish(self, name: str, tarballs: dict[str, bytes], **more: Any) -> dict[str, Any]:
        """A packument with its tarballs."""
        document: dict[str, Any] = {
            "name": name,
            "dist-tags": {"latest": list(tarballs)[-1]},
            "versions": {v: self.manifest(name, v, data) for v, data in tarballs.items()},
            "modified": "2024-05-06T07:08:09.123Z",
            **more,
        }
        self.pages["/" + name.replace("/", "%2F")] = self.packument(document)
        for version, data in tarballs.items():
            self.pages[f"/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"] = data
        return document

    def packument(self, document: dict[str, Any]) -> Behaviour:
        """A behaviour: the document, with an ETag that is looked at."""
        body = json.dumps(document).encode()

        def answer(request: Request) -> bytes | int:
            etag = b'"%b"' % hashlib.sha1(body).hexdigest().encode()
            if request.setETag(etag):
                return b""
            request.setHeader("Content-Type", "application/json")
            return body

        return answer
