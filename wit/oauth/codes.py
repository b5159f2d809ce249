"""Authorization codes (RFC 6749, section 4.1): what a consent gives, and what it is good for once.

A code lives for a minute. That it comes twice means that somebody else has seen it, so the tokens
it gave are revoked (section 4.1.2).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy import delete as delete_from

from wit.accounts.tokens import secret_hash
from wit.db.port import Connection, Database, Row
from wit.db.tables import oauth_authorization_codes, users
from wit.oauth.authorizations import Authorizations, lock
from wit.oauth.errors import InvalidGrant
from wit.oauth.formats import new_code
from wit.oauth.pkce import METHOD, proves
from wit.oauth.requests import AuthorizationRequest
from wit.oauth.scopes import Scopes
from wit.oauth.tokens import Issued, OAuthTokens
from wit.runtime import Runtime

LIFE = timedelta(seconds=60)
REMEMBERED = timedelta(days=1)
"""How long a used code is known, so that its coming again revokes what it gave."""

_codes = oauth_authorization_codes.c
_BY_HASH = (
    select(oauth_authorization_codes, users.c.suspended)
    .join_from(oauth_authorization_codes, users)
    .where(_codes.code_hash == bindparam("hash"))
)
_USE = update(oauth_authorization_codes).where(_codes.id == bindparam("which")).values(used=True)
_SWEEP = delete_from(oauth_authorization_codes).where(_codes.expires_at < bindparam("before"))


@attrs.frozen
class Redeemed:
    issued: Issued
    nonce: str | None
    signed_in_at: datetime | None


class Codes:
    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        authorizations: Authorizations,
        tokens: OAuthTokens,
    ) -> None:
        self._db = db
        self._runtime = runtime
        self._authorizations = authorizations
        self._tokens = tokens

    async def issue(
        self, request: AuthorizationRequest, user_id: str, signed_in_at: datetime | None
    ) -> str:
        """The user approves ``request``: the code for the app."""
        code = new_code(self._runtime)
        now = self._runtime.now()
        async with self._db.transaction() as tx:
            await self._authorizations.grant(tx, request.app["id"], user_id, request.scopes)
            await tx.execute(
                insert(oauth_authorization_codes),
                id=self._runtime.new_id(),
                code_hash=secret_hash(code),
                app_id=request.app["id"],
                user_id=user_id,
                scopes=list(request.scopes.names),
                openid=request.scopes.openid,
                redirect_uri=request.redirect_uri,
                code_challenge=request.code_challenge,
                code_challenge_method=METHOD if request.code_challenge else None,
                nonce=request.nonce,
                signed_in_at=signed_in_at,
                grant_id=self._runtime.new_id(),
                expires_at=now + LIFE,
                created_at=now,
            )
        return code

    async def redeem(
        self, app: Row, code: str, redirect_uri: str, verifier: str | None
    ) -> Redeemed:
        """Tokens for a code of ``app`` (already authenticated). Raises InvalidGrant."""
        async with self._db.transaction() as tx:
            redeemed = await self._redeem(tx, app, code, redirect_uri, verifier)
        if redeemed is None:
            raise InvalidGrant("this code was used before: its tokens are revoked")
        return redeemed

    async def _redeem(
        self, tx: Connection, app: Row, code: str, redirect_uri: str, verifier: str | None
    ) -> Redeemed | None:
        """None: used before, and its tokens are revoked now."""
        digest = secret_hash(code)
        row = await tx.fetch_one(_BY_HASH, hash=digest)
        if row is None or row["app_id"] != app["id"]:
            raise InvalidGrant("this code is unknown, or another app's")
        authorization = await lock(tx, app["id"], row["user_id"])
        row = await tx.fetch_one(_BY_HASH, hash=digest)
        if authorization is None or row is None:
            raise InvalidGrant("the user has taken the authorization back")
        if row["used"]:
            await self._tokens.revoke_grant(tx, row["grant_id"])
            return None
        if row["expires_at"] <= self._runtime.now():
            raise InvalidGrant("this code has expired")
        if row["redirect_uri"] != redirect_uri:
            raise InvalidGrant("redirect_uri is not the one of the authorization request")
        if not proves(verifier, row["code_challenge"]):
            raise InvalidGrant("code_verifier does not belong to the code_challenge")
        if row["suspended"]:
            raise InvalidGrant("the user's account is suspended")
        await tx.execute(_USE, which=row["id"])
        scopes = Scopes.of(row["scopes"], row["openid"])
        issued = await self._tokens.issue(tx, authorization, row["grant_id"], scopes, scopes)
        return Redeemed(issued, row["nonce"], row["signed_in_at"])

    async def sweep(self) -> None:
        """Forget codes that expired long ago."""
        await self._db.execute(_SWEEP, before=self._runtime.now() - REMEMBERED)
