"""OpenID Connect Core 1.0: ID tokens and the claims of the userinfo endpoint."""

from __future__ import annotations

import hashlib
from base64 import urlsafe_b64encode
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, select

from wit.db.port import Database, Row
from wit.db.tables import users
from wit.oauth.signing_keys import SigningKeys
from wit.oauth.tokens import Issued
from wit.runtime import Runtime

ID_TOKEN_LIFE = timedelta(hours=1)

CLAIMS = (
    "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash",
    "name", "preferred_username", "profile", "picture", "website", "updated_at",
    "email", "email_verified",
)  # fmt: skip

_USER = select(users).where(users.c.id == bindparam("user"))


class OpenId:
    def __init__(self, db: Database, runtime: Runtime, keys: SigningKeys, issuer: str) -> None:
        self._db = db
        self._runtime = runtime
        self._keys = keys
        self._issuer = issuer

    async def id_token(
        self,
        app: Row,
        issued: Issued,
        nonce: str | None = None,
        signed_in_at: datetime | None = None,
    ) -> str:
        """Who has signed in to ``app``, and when (section 2). It says no more about the user:
        that is for the userinfo endpoint, which looks at the scopes."""
        now = self._runtime.now()
        claims: dict[str, Any] = {
            "iss": self._issuer,
            "sub": issued.user_id,
            "aud": app["client_id"],
            "iat": int(now.timestamp()),
            "exp": int((now + ID_TOKEN_LIFE).timestamp()),
            "at_hash": at_hash(issued.access_token),
        }
        if nonce is not None:
            claims["nonce"] = nonce
        if signed_in_at is not None:
            claims["auth_time"] = int(signed_in_at.timestamp())
        return await self._keys.sign(claims)

    async def userinfo(self, token: Row) -> dict[str, Any]:
        """Section 5.3: what the scopes of an access token allow its app to know of the user."""
        user = await self._db.fetch_one(_USER, user=token["user_id"])
        assert user is not None, "tokens go with their user"
        claims: dict[str, Any] = {"sub": user["id"]}
        if "user:read" in token["scopes"]:
            claims |= {
                "name": user["name"],
                "preferred_username": user["username"],
                "profile": f"{self._issuer}/{user['username']}",
                "picture": user["avatar_url"] or user["image"],
                "website": user["website"],
                "updated_at": int(user["updated_at"].timestamp()),
            }
        if "user:email" in token["scopes"]:
            claims |= {"email": user["email"], "email_verified": user["email_verified"]}
        return {name: value for name, value in claims.items() if value is not None}


def at_hash(access_token: str) -> str:
    """The left half of the token's SHA-256, in base64url (section 3.1.3.6)."""
    digest = hashlib.sha256(access_token.encode()).digest()
    return urlsafe_b64encode(digest[:16]).rstrip(b"=").decode()
