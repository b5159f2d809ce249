"""The cookies of a browser's session (contract, auth.md; RFC 6265)."""

from __future__ import annotations

from urllib.parse import quote, unquote

import attrs

from wit.accounts.signing import Signer
from wit.config import Config
from wit.web.streaming import Request

SESSION = "session_token"
SESSION_DATA = "session_data"
"""Who is signed in, for programs that share the site's secret. wit writes it and never believes it:
a session that is over must be over at once."""
DONT_REMEMBER = "dont_remember"
TWO_FACTOR = "two_factor"
TRUST_DEVICE = "trust_device"
STATE = "state"

MAX_HEADER = 16 * 1024
"""Characters of a Cookie header that are looked at."""


@attrs.frozen
class AuthCookies:
    """Names and attributes: ``__Secure-`` and Secure when people come by https."""

    signer: Signer
    secure: bool
    domain: str = ""
    same_site: str = "lax"
    """``lax`` or ``none`` (RFC 6265bis, section 5.6.7)."""

    def name(self, short: str) -> str:
        return f"{'__Secure-' if self.secure else ''}better-auth.{short}"

    def session(self, request: Request) -> str | None:
        """What ``Credentials.session_cookie`` takes, or None if there is no such cookie."""
        return read(request).get(self.name(SESSION))

    def signed(self, request: Request, short: str) -> str | None:
        """The value of a cookie that we have signed; None if there is none, or a forged one."""
        value = read(request).get(self.name(short))
        return None if value is None else self.signer.verify(value)

    def set(self, request: Request, short: str, value: str, max_age: int | None) -> None:
        """Have the browser keep ``value``, signed, for so many seconds (None: until it ends)."""
        self._add(request, short, quote(self.signer.sign(value), safe=""), max_age)

    def set_plain(self, request: Request, short: str, value: str, max_age: int | None) -> None:
        """As :meth:`set`, for a value of [A-Za-z0-9._-] that needs no signature of ours."""
        self._add(request, short, value, max_age)

    def delete(self, request: Request, *shorts: str) -> None:
        for short in shorts:
            self._add(request, short, "", 0)

    def _add(self, request: Request, short: str, value: str, max_age: int | None) -> None:
        parts = [f"{self.name(short)}={value}"]
        if max_age is not None:
            parts.append(f"Max-Age={max_age}")
        if self.domain:
            parts.append(f"Domain={self.domain}")
        parts += ["Path=/", "HttpOnly"]
        if self.secure:
            parts.append("Secure")
        parts.append(f"SameSite={self.same_site.title()}")
        request.responseHeaders.addRawHeader(b"Set-Cookie", "; ".join(parts).encode())


def make_cookies(config: Config, signer: Signer) -> AuthCookies:
    secure = config.public_url.startswith("https:")
    settings = config.accounts
    return AuthCookies(signer, secure, settings.cookie_domain, settings.cookie_same_site)


def read(request: Request) -> dict[str, str]:
    """All cookies of a request, decoded; of two with one name the first, as browsers send the
    more specific one first (RFC 6265, section 5.4)."""
    cookies: dict[str, str] = {}
    for header in request.requestHeaders.getRawHeaders(b"Cookie") or ():
        for pair in header[:MAX_HEADER].decode("latin-1").split(";"):
            name, equals, value = pair.strip().partition("=")
            if equals:
                cookies.setdefault(name, unquote(value.strip('"')))
    return cookies
