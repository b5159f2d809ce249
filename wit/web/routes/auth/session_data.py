"""The value of the cookie ``session_data``: session and user, signed, as better-auth's
``getCookieCache`` reads them (contract, auth.md, "Cookies")."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta

from wit.accounts.sessions import Session
from wit.accounts.signing import Signer
from wit.web.routes.auth import shapes

SECONDS = 300
"""How long readers may believe it."""

MAX_LENGTH = 3800
"""Characters; browsers drop cookies of more than 4096 bytes with their name and attributes."""


def session_data(session: Session, signer: Signer, now: datetime) -> str | None:
    """None if the profile is too long for a cookie."""
    said = {
        "session": shapes.session(session),
        "user": shapes.user(session.user),
        "updatedAt": _milliseconds(now),
        "version": "1",
    }
    end = {"expiresAt": _milliseconds(now + timedelta(seconds=SECONDS))}
    whole = {"session": said, **end, "signature": signer.seal(_json(said | end))}
    value = urlsafe_b64encode(_json(whole).encode()).rstrip(b"=").decode()
    return value if len(value) <= MAX_LENGTH else None


def _json(value: object) -> str:
    """As JavaScript's ``JSON.stringify`` writes it: the signature is over that text."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)
