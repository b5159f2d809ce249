"""Taking secrets out of text that leaves the program: log lines, command output, error messages.

The patterns know how secrets look, not where they come from, so that a secret in a place nobody
thought of (an exception's text, git's stderr) is caught as well (attack list, line 57).
"""

from __future__ import annotations

import re

MASK = "***"

_HINTS = (
    *("authorization", "cookie", "basic", "bearer", "wit_", "witsec_", "://", "private key"),
    *("reset-", "invitations/", "/token/", "/login/", "="),
)
"""Some of this is in every text with a secret, and none of it in most texts."""

_HEADER = re.compile(
    r"""(?ix) \b ( (?:proxy-)?authorization | (?:set-)?cookie ) ( b?['"]? \s* [:=,] \s* b?['"]? )
        (?: (basic|bearer|digest|negotiate) \s+ )? [^\r\n'"]+ """
)
_SCHEME = re.compile(r"\b([Bb]asic|[Bb]earer)\s+(?=[A-Za-z]*[0-9+/=_.~-])[A-Za-z0-9+/=_.~-]{8,}")
_TOKEN = re.compile(r"\b(wit_|wit_oauth_|wit_refresh_|wit_device_|witsec_)[0-9a-f]{40}\b")
_USERINFO = re.compile(r"(?i)((?:\bhttps?)?://)([^\s/?#'\"]*)@")
_QUERY = re.compile(
    r"(?i)([?&;](?:access_token|refresh_token|token|password|client_secret|secret|code|invitation)=)[^&;\s'\"]+"
)
_PATH = re.compile(
    r"(/(?:reset-password|invitations|user/token|v1/login/done|login/npm)/)[A-Za-z0-9_.~%-]{8,}"
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL
)


def redact(text: str) -> str:
    """``text`` with every secret in it replaced by ``***``; names of users and hosts stay."""
    lower = text.lower()
    if not any(hint in lower for hint in _HINTS):
        return text
    if "PRIVATE KEY" in text:
        text = _PRIVATE_KEY.sub(rf"-----BEGIN \1----- {MASK}", text)
    text = _HEADER.sub(_mask_header, text)
    text = _SCHEME.sub(rf"\1 {MASK}", text)
    text = _TOKEN.sub(rf"\1{MASK}", text)
    if "://" in text:
        text = _USERINFO.sub(_mask_userinfo, text)
    text = _PATH.sub(rf"\1{MASK}", text)
    return _QUERY.sub(rf"\1{MASK}", text)


def _mask_header(match: re.Match[str]) -> str:
    scheme = f"{match[3]} " if match[3] else ""
    return f"{match[1]}{match[2]}{scheme}{MASK}"


def _mask_userinfo(match: re.Match[str]) -> str:
    """``user:secret@`` loses the secret; a lone user of http may itself be a token."""
    scheme, userinfo = match[1], match[2]
    user = re.split("[:@]", userinfo, maxsplit=1)[0]
    if userinfo.startswith(":", len(user)):
        return f"{scheme}{user}:{MASK}@"
    return f"{scheme}{MASK}@" if scheme.lower().startswith("http") else match[0]
