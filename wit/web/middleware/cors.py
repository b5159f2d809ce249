"""Which browsers' pages may call us from another origin (the Fetch standard, CORS protocol).

Only origins that the configuration names are answered; ``*`` among them allows every origin, but
never with credentials (attack list, line 55). The public REST API is open to every origin, and
never with credentials either: it knows its callers by a token that the page itself has
(contract, rest.md, "/api/v1").
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.web.http_headers import Headers

PUBLIC_API = b"/api/v1"

_METHODS = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
_HEADERS = b"Content-Type, Authorization, X-Trace-Id, Git-Protocol, trpc-accept, Last-Event-ID"
_EXPOSED = (
    b"X-Trace-Id, X-Request-Id, Retry-After, Link, X-API-Version, X-RateLimit-Limit, "
    b"X-RateLimit-Remaining, X-RateLimit-Reset, RateLimit, RateLimit-Policy"
)
_MAX_AGE = b"600"

_OPEN = b"Access-Control-Allow-Origin: *\r\nAccess-Control-Expose-Headers: %b\r\n" % _EXPOSED
_OPEN_API = b"%bAccess-Control-Allow-Methods: %b\r\nAccess-Control-Allow-Headers: %b\r\n" % (
    _OPEN,
    _METHODS,
    _HEADERS,
)


class Cors:
    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.rstrip("/").encode() for origin in origins)
        self._any = b"*" in self._origins

    def headers(self, request: Headers, path: bytes = b"/") -> bytes:
        """Header lines for the answer to ``request``; with configured origins every answer but
        those of the public API varies by Origin, so that a cache does not hand one origin's
        answer to another."""
        if is_public_api(path):
            return _OPEN_API
        if not self._origins:
            return b""
        origin = _origin(request)
        if origin and origin in self._origins and origin != b"*":
            return (
                b"Vary: Origin\r\nAccess-Control-Allow-Origin: %b\r\n"
                b"Access-Control-Allow-Credentials: true\r\n"
                b"Access-Control-Expose-Headers: %b\r\n" % (origin, _EXPOSED)
            )
        if origin and self._any:
            return b"Vary: Origin\r\n%b" % _OPEN
        return b"Vary: Origin\r\n"

    def preflight(self, request: Headers, path: bytes = b"/") -> list[tuple[bytes, bytes]]:
        """Headers that a preflight's answer has besides those of every answer."""
        if is_public_api(path):
            return [(b"Access-Control-Max-Age", _MAX_AGE)]
        if _origin(request) not in self._origins and not self._any:
            return []
        return [
            (b"Access-Control-Allow-Methods", _METHODS),
            (b"Access-Control-Allow-Headers", _HEADERS),
            (b"Access-Control-Max-Age", _MAX_AGE),
        ]


def is_preflight(method: bytes, request: Headers) -> bool:
    return (
        method == b"OPTIONS"
        and request.hasHeader(b"Origin")
        and request.hasHeader(b"Access-Control-Request-Method")
    )


def is_public_api(path: bytes) -> bool:
    """Whether a path belongs to the public REST API."""
    return path == PUBLIC_API or path.startswith(PUBLIC_API + b"/")


def _origin(request: Headers) -> bytes:
    return (request.getRawHeaders(b"Origin") or [b""])[-1]
