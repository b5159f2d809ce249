"""Links that prove who reads the mail of an address: signed, without a row (RFC 7519)."""

from __future__ import annotations

from typing import Any

import attrs
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import OctKey

from wit.accounts.signing import Signer
from wit.errors import Invalid
from wit.runtime import Runtime

PURPOSE = "verify-email"
LIFETIME_SECONDS = 86400
ALGORITHM = "HS256"


class BadLink(Invalid):
    """``reason`` is a word of the contract: ``invalid_token``, ``token_expired``, ..."""

    def __init__(self, reason: str) -> None:
        super().__init__("this link is wrong or too old; ask for another")
        self.reason = reason


@attrs.frozen
class Link:
    """What a link says of who opens it."""

    user_id: str
    email: str
    """The address of the account when the link was made; it is good for no other."""
    new_email: str = ""
    """The address that the account is to have."""
    at_new: bool = False
    """Whether the link was sent to ``new_email``, and not to ``email``."""


class EmailLinks:
    def __init__(self, signer: Signer, runtime: Runtime) -> None:
        self._key = OctKey.import_key(signer.key(PURPOSE))
        self._runtime = runtime

    def token(self, link: Link) -> str:
        claims: dict[str, Any] = {
            "sub": link.user_id,
            "email": link.email,
            "exp": int(self._runtime.now().timestamp()) + LIFETIME_SECONDS,
        }
        if link.new_email:
            claims |= {"new_email": link.new_email, "at_new": link.at_new}
        return jwt.encode({"alg": ALGORITHM}, claims, self._key)

    def read(self, token: str) -> Link:
        """Raises BadLink."""
        try:
            claims = jwt.decode(token, self._key, algorithms=[ALGORITHM]).claims
            now = int(self._runtime.now().timestamp())
            jwt.JWTClaimsRegistry(now=now, exp={"essential": True}).validate(claims)
        except ExpiredTokenError:
            raise BadLink("token_expired") from None
        except (JoseError, ValueError):
            raise BadLink("invalid_token") from None
        return Link(
            claims["sub"],
            claims["email"],
            claims.get("new_email", ""),
            claims.get("at_new", False),
        )
