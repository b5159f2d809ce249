"""Which pages may speak for the people who look at them, and which they may be sent back to
(attack list, lines 45, 55 and 56)."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from wit.config import Config
from wit.web.streaming import Request

_LOCAL_PATH = re.compile(
    r"/(?![/\\])[\w\-.+/@]*(?:\?[\w\-.+/=&%@]*)?(?:#[\w\-.+/=&%@]*)?", re.ASCII
)


class TrustedOrigins:
    """The server's own origin and those of ``accounts.trusted_origins``."""

    def __init__(self, config: Config) -> None:
        own = origin_of(config.public_url)
        self._schemes = ("https",) if own.startswith("https:") else ("http", "https")
        self._origins = {origin.lower() for origin in (own, *config.accounts.trusted_origins)}

    def __contains__(self, origin: str) -> bool:
        return origin.lower() in self._origins

    def ours(self, origin: str, request: Request) -> bool:
        """Whether pages of ``origin`` may act for the people who look at them: what every door
        asks of a request that the browser has added a cookie to.

        Those are the origins above, and the very address that is called, which the configuration
        need not know. Another site's name that was made to point here is the page's own host as
        well; but browsers keep our cookies from that. A page that came by http is not ours if
        people come by https.
        """
        if origin in self:
            return True
        host = request.header(b"Host")
        called = {origin_of(f"{scheme}://{host}") for scheme in self._schemes} - {""}
        return origin_of(origin) in called

    def sent_by(self, request: Request) -> str:
        """The origin of the page that made the browser send ``request``; ``""`` if unknown."""
        origin = request.header(b"Origin")
        if origin is None:
            origin = origin_of(request.header(b"Referer") or "")
        return "" if origin == "null" else origin

    def may_return_to(self, address: str) -> bool:
        """Whether people may be sent to ``address``: a path of this site, or a trusted page.

        A path is taken only if nothing in it can make a browser read it as another host.
        """
        if address.startswith("/"):
            return len(address) <= 2000 and _LOCAL_PATH.fullmatch(address) is not None
        plain = address.isprintable() and address.isascii() and not set(address) & set(" \\@<>\"'")
        return plain and len(address) <= 2000 and origin_of(address) in self


def origin_of(address: str) -> str:
    """Scheme, host and port as a browser writes them (RFC 6454); ``""`` for what has no origin."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if port is None or port == {"http": 80, "https": 443}[parts.scheme]:
        return f"{parts.scheme}://{host}"
    return f"{parts.scheme}://{host}:{port}"
