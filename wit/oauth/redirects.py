"""Redirect URIs: which may be registered, which match, and how an answer is put into one.

Comparison is of whole texts (RFC 9700, section 4.1.3): no prefixes, no trailing slash more or less,
no other writing of the same address. The one exception is the port of a loopback address, which
a program on the user's machine learns only when it runs (RFC 8252, section 7.3).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlencode, urlsplit

from wit.errors import Invalid

MAX_LENGTH = 2000

_CHARACTERS = re.compile(r"[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=%-]+")
"""Those of a URI (RFC 3986) but ``#``: an answer would come before the fragment."""

_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\])(?::([0-9]{1,5}))?((?:[/?].*)?)")
_HOST = re.compile(r"(?:[A-Za-z0-9-]+\.)*[A-Za-z0-9-]+|\[[0-9A-Fa-f:.]+\]")
_PRIVATE_SCHEME = re.compile(r"[a-z][a-z0-9+-]*(\.[a-z0-9+-]+)+")
"""A domain name turned around, as RFC 8252, section 7.1, asks of apps' own schemes. So none of the
schemes that a browser runs itself (javascript, data, ...) is one."""


def check_registered(uri: str) -> str:
    """``uri`` itself, if an app may register it. Raises Invalid."""
    problem = _problem(uri)
    if problem:
        raise Invalid(f"{uri[:100]!r} cannot be a callback URL: {problem}")
    return uri


def _problem(uri: str) -> str:
    if len(uri) > MAX_LENGTH:
        return f"it has more than {MAX_LENGTH} characters"
    if not _CHARACTERS.fullmatch(uri):
        return "it has a fragment, or characters that must be percent-encoded"
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError:
        return "its host or port is malformed"
    if parts.scheme not in ("http", "https"):
        if _PRIVATE_SCHEME.fullmatch(parts.scheme):
            return ""
        return "use https, or an app's own scheme that has a dot, as com.example.app"
    if parts.username is not None or parts.password is not None:
        return "it has a user name"
    host = parts.netloc.removesuffix(f":{port}") if port is not None else parts.netloc
    if not _HOST.fullmatch(host):
        return "its host or port is malformed"
    if parts.scheme == "http" and host not in ("127.0.0.1", "[::1]", "localhost"):
        return "use https; http is for localhost, 127.0.0.1 and [::1] only"
    return ""


def matches(requested: str, registered: Iterable[str]) -> bool:
    """Whether ``requested`` is one of the registered URIs."""
    return any(requested == uri or _same_loopback(requested, uri) for uri in registered)


def _same_loopback(requested: str, registered: str) -> bool:
    asked, known = _LOOPBACK.fullmatch(requested), _LOOPBACK.fullmatch(registered)
    if asked is None or known is None or not _CHARACTERS.fullmatch(requested):
        return False
    if asked[2] is not None and not 1 <= int(asked[2]) <= 65535:
        return False
    return asked[1] == known[1] and asked[3] == known[3]


def with_answer(uri: str, answer: dict[str, str]) -> str:
    """``uri`` with ``answer`` added to its query (RFC 6749, section 4.1.2)."""
    return f"{uri}{'&' if '?' in uri else '?'}{urlencode(answer)}"


def check_web_address(url: str, what: str) -> str:
    """``url`` itself, if it can stand in a link: http or https. Raises Invalid."""
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if (
        len(url) > MAX_LENGTH
        or not url.isprintable()
        or " " in url
        or parts.scheme not in ("http", "https")
        or not parts.hostname
    ):
        raise Invalid(f"{what} must be an address that begins with https:// or http://")
    return url
