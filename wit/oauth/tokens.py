"""Access and refresh tokens: issuing, rotating, checking and revoking them.

All tokens that descend from one consent have one ``grant_id``. A refresh token is good once; that
it comes again means that two have it, one of whom stole it, so the whole grant is revoked (RFC
9700, section 4.14.2). Only a retry soon after the first use, by a client that lost the answer, gets
a new pair, once.
"""

from __future__ import annotations

from datetime import timedelta

import attrs
from sqlalchemy import bindparam, exists, false, insert, or_, select, update
from sqlalchemy import delete as delete_from

from wit.accounts.last_use import LastUse
from wit.accounts.tokens import secret_hash
from wit.db.port import Connection, Database, Row
from wit.db.tables import (
    oauth_access_tokens,
    oauth_apps,
    oauth_refresh_tokens,
    users,
)
from wit.oauth.authorizations import lock
from wit.oauth.errors import InvalidGrant, OAuthError
from wit.oauth.formats import (
    TOKEN_PREFIX_LENGTH,
    is_access_token,
    is_refresh_token,
    new_access_token,
    new_refresh_token,
)
from wit.oauth.scopes import Scopes
from wit.runtime import Runtime

ACCESS_LIFE = timedelta(hours=8)
REFRESH_LIFE = timedelta(days=30)
REUSE_GRACE = timedelta(seconds=10)

_access = oauth_access_tokens.c
_refresh = oauth_refresh_tokens.c
_USER = (
    users.c.username,
    users.c.email,
    users.c.role,
    users.c.suspended,
    users.c.suspended_reason,
)
_BY_ACCESS = (
    select(
        _access.id,
        _access.app_id,
        _access.user_id,
        _access.grant_id,
        _access.scopes,
        _access.openid,
        _access.expires_at,
        _access.created_at,
        oauth_apps.c.client_id,
        *_USER,
    )
    .join_from(oauth_access_tokens, users)
    .join(oauth_apps, oauth_apps.c.id == _access.app_id)
    .where(_access.token_hash == bindparam("hash"), _access.revoked == false())
    .execution_options(quick=True)
)
_BY_REFRESH = (
    select(
        *(column for column in _refresh if column is not _refresh.token_hash),
        _access.app_id,
        _access.user_id,
        oauth_apps.c.client_id,
        *_USER,
    )
    .join_from(oauth_refresh_tokens, oauth_access_tokens)
    .join(users, users.c.id == _access.user_id)
    .join(oauth_apps, oauth_apps.c.id == _access.app_id)
    .where(_refresh.token_hash == bindparam("hash"))
)
_USE_REFRESH = (
    update(oauth_refresh_tokens)
    .where(_refresh.id == bindparam("which"))
    .values(used=True, used_at=bindparam("now"))
)
_LATER_USED = (
    select(_refresh.id)
    .where(_refresh.grant_id == bindparam("grant"), _refresh.used_at > bindparam("after"))
    .limit(1)
)
_RETRY_REFRESH = (
    update(oauth_refresh_tokens).where(_refresh.id == bindparam("which")).values(retried=True)
)
_REVOKE = (
    update(oauth_access_tokens)
    .where(_access.id == bindparam("which"), _access.revoked == false())
    .values(revoked=True, revoked_at=bindparam("now"))
)
_REVOKE_GRANT = (
    update(oauth_access_tokens)
    .where(_access.grant_id == bindparam("grant"), _access.revoked == false())
    .values(revoked=True, revoked_at=bindparam("now"))
)
_FORGET_REFRESH = delete_from(oauth_refresh_tokens).where(_refresh.grant_id == bindparam("grant"))
_SWEEP_REFRESH = delete_from(oauth_refresh_tokens).where(_refresh.expires_at < bindparam("now"))
_SWEEP_ACCESS = delete_from(oauth_access_tokens).where(
    or_(_access.expires_at < bindparam("now"), _access.revoked),
    ~exists().where(_refresh.access_token_id == _access.id),
)


@attrs.frozen
class Issued:
    """A new pair; the secrets are in no other place."""

    access_token: str = attrs.field(repr=False)
    refresh_token: str = attrs.field(repr=False)
    scopes: Scopes
    user_id: str

    @property
    def expires_in(self) -> int:
        """Seconds of the access token."""
        return int(ACCESS_LIFE.total_seconds())


class OAuthTokens:
    def __init__(self, db: Database, runtime: Runtime, last_use: LastUse) -> None:
        self._db = db
        self._runtime = runtime
        self._last_use = last_use

    async def issue(
        self, tx: Connection, authorization: Row, grant_id: str, granted: Scopes, wanted: Scopes
    ) -> Issued:
        """A pair under an authorization that :func:`lock` has given: the access token for
        ``wanted``, the refresh token for all that is ``granted``."""
        now = self._runtime.now()
        access, refresh = new_access_token(self._runtime), new_refresh_token(self._runtime)
        access_id = self._runtime.new_id()
        await tx.execute(
            insert(oauth_access_tokens),
            id=access_id,
            token_hash=secret_hash(access),
            token_prefix=access[:TOKEN_PREFIX_LENGTH],
            app_id=authorization["app_id"],
            user_id=authorization["user_id"],
            authorization_id=authorization["id"],
            grant_id=grant_id,
            scopes=list(wanted.names),
            openid=wanted.openid,
            expires_at=now + ACCESS_LIFE,
            created_at=now,
        )
        await tx.execute(
            insert(oauth_refresh_tokens),
            id=self._runtime.new_id(),
            token_hash=secret_hash(refresh),
            access_token_id=access_id,
            grant_id=grant_id,
            scopes=list(granted.names),
            openid=granted.openid,
            expires_at=now + REFRESH_LIFE,
            created_at=now,
        )
        return Issued(access, refresh, wanted, authorization["user_id"])

    async def refresh(self, app: Row, secret: str, scope: str | None = None) -> Issued:
        """A new pair for a refresh token of ``app``; the old access token is revoked.

        ``scope`` asks for less than was granted (RFC 6749, section 6). Raises InvalidGrant, also
        after having revoked the grant of a token that came twice; OAuthError.
        """
        async with self._db.transaction() as tx:
            issued = await self._rotate(tx, app, secret, scope)
        if issued is None:
            raise InvalidGrant("this refresh token was used before: its grant is revoked")
        return issued

    async def _rotate(
        self, tx: Connection, app: Row, secret: str, scope: str | None
    ) -> Issued | None:
        """None: used before, and the grant is revoked now."""
        row = await self._find_refresh(tx, secret)
        if row is None or row["app_id"] != app["id"]:
            raise InvalidGrant("this refresh token is unknown, revoked, or another app's")
        authorization = await lock(tx, app["id"], row["user_id"])
        row = await self._find_refresh(tx, secret)
        now = self._runtime.now()
        if authorization is None or row is None:
            raise InvalidGrant("this refresh token has been revoked")
        if row["expires_at"] <= now:
            raise InvalidGrant("this refresh token has expired")
        if row["suspended"]:
            raise InvalidGrant("the user's account is suspended")
        granted = Scopes.of(row["scopes"], row["openid"])
        wanted = granted if scope is None else Scopes.parse(scope)
        if not wanted or not wanted <= granted:
            raise OAuthError("invalid_scope", "this is more than what the user has granted")
        if not row["used"]:
            await tx.execute(_USE_REFRESH, which=row["id"], now=now)
        elif await self._is_retry(tx, row):
            await tx.execute(_RETRY_REFRESH, which=row["id"])
        else:
            await self.revoke_grant(tx, row["grant_id"])
            return None
        await tx.execute(_REVOKE, which=row["access_token_id"], now=now)
        return await self.issue(tx, authorization, row["grant_id"], granted, wanted)

    async def _is_retry(self, tx: Connection, row: Row) -> bool:
        """Whether a used token may come from a client that has lost the answer: soon, for the
        first time, and nobody has gone on with what that answer was."""
        if row["retried"] or self._runtime.now() > row["used_at"] + REUSE_GRACE:
            return False
        later = await tx.fetch_value(_LATER_USED, grant=row["grant_id"], after=row["used_at"])
        return later is None

    async def revoke_grant(self, tx: Connection, grant_id: str) -> None:
        """All tokens of one consent; the authorization is locked."""
        await tx.execute(_REVOKE_GRANT, grant=grant_id, now=self._runtime.now())
        await tx.execute(_FORGET_REFRESH, grant=grant_id)

    async def revoke(self, app: Row | None, secret: str) -> None:
        """RFC 7009: an access token alone, or a refresh token with its whole grant.

        Nothing happens for a token that is unknown or another app's. ``app`` None: whoever holds
        the token may end it.
        """
        async with self._db.transaction() as tx:
            if is_access_token(secret):
                row = await tx.fetch_one(_BY_ACCESS, hash=secret_hash(secret))
                if row is not None and _is_of(app, row):
                    await tx.execute(_REVOKE, which=row["id"], now=self._runtime.now())
            elif is_refresh_token(secret):
                row = await self._find_refresh(tx, secret)
                if row is not None and _is_of(app, row):
                    await lock(tx, row["app_id"], row["user_id"])
                    await self.revoke_grant(tx, row["grant_id"])

    async def verify(self, secret: str) -> Row | None:
        """The access token with this secret, if it works, with its app's ``client_id`` and its
        user's ``username``, ``email``, ``role``, ``suspended`` and ``suspended_reason``; whether
        the user may still act is for the caller to look at."""
        row = await self._find_access(secret)
        if row is not None:
            self._last_use.oauth_token(row["id"])
        return row

    async def introspect(self, app: Row, secret: str) -> Row | None:
        """The token of ``app`` with this secret, of either kind, if it works (RFC 7662)."""
        row = await self._find_access(secret)
        if row is None:
            row = await self._find_refresh(self._db, secret)
            if row is not None and (row["used"] or row["expires_at"] <= self._runtime.now()):
                return None
        if row is None or not _is_of(app, row) or row["suspended"]:
            return None
        return row

    async def sweep(self) -> None:
        """Forget what has expired. Used refresh tokens stay as long as they would have been good:
        their coming again is what gives a thief away."""
        now = self._runtime.now()
        await self._db.execute(_SWEEP_REFRESH, now=now)
        await self._db.execute(_SWEEP_ACCESS, now=now)

    async def _find_access(self, secret: str) -> Row | None:
        if not is_access_token(secret):
            return None
        row = await self._db.fetch_one(_BY_ACCESS, hash=secret_hash(secret))
        if row is None or row["expires_at"] <= self._runtime.now():
            return None
        return row

    async def _find_refresh(self, connection: Connection, secret: str) -> Row | None:
        if not is_refresh_token(secret):
            return None
        return await connection.fetch_one(_BY_REFRESH, hash=secret_hash(secret))


def _is_of(app: Row | None, token: Row) -> bool:
    return app is None or token["app_id"] == app["id"]
