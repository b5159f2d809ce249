"""Which browsers' pages may call us from another origin (the Fetch standard, CORS protocol).

Only origins that the configuration names are answered; ``*`` among them allows every origin, but
never with credentials (attack list, line 55).
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.web.http_headers import Headers

_METHODS = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
_HEADERS = b"Content-Type, Authorization, X-Trace-Id, Git-Protocol"
_EXPOSED = b"X-Trace-Id, X-Request-Id, Retry-After"
_MAX_AGE = b"600"


class Cors:
    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.rstrip("/").encode() for origin in origins)
        self._any = b"*" in self._origins

    def headers(self, request: Headers) -> bytes:
        """Header lines for the answer to ``request``; with configured origins every answer
        varies by Origin, so that a cache does not hand one origin's answer to another."""
        if not self._origins:
            return b""
        origin = (request.getRawHeaders(b"Origin") or [b""])[-1]
        if origin and origin in self._origins:
            return (
                b"Vary: Origin\r\nAccess-Control-Allow-Origin: %b\r\n"
                b"Access-Control-Allow-Credentials: true\r\n"
                b"Access-Control-Expose-Headers: %b\r\n" % (origin, _EXPOSED)
            )
        if origin and self._any:
            return (
                b"Vary: Origin\r\nAccess-Control-Allow-Origin: *\r\n"
                b"Access-Control-Expose-Headers: %b\r\n" % _EXPOSED
            )
        return b"Vary: Origin\r\n"

    def preflight(self, request: Headers) -> list[tuple[bytes, bytes]]:
        """Headers that a preflight's answer has besides those of every answer."""
        origin = (request.getRawHeaders(b"Origin") or [b""])[-1]
        if origin not in self._origins and not self._any:
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
