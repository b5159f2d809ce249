"""What users have granted to apps: one row for each pair, the root of codes and tokens."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, desc, func, select, update
from sqlalchemy.dialects.postgresql import insert

from wit.db.port import Connection, Database, Row
from wit.db.tables import (
    oauth_apps,
    oauth_authorization_codes,
    oauth_authorizations,
    oauth_device_codes,
)
from wit.errors import NotFound
from wit.oauth.scopes import Scopes
from wit.runtime import Runtime

MAX_LISTED = 500

_PAIR = (oauth_authorizations.c.app_id == bindparam("app")) & (
    oauth_authorizations.c.user_id == bindparam("user")
)
_GET = select(oauth_authorizations).where(_PAIR)
_LOCK = _GET.with_for_update()
_MAKE = insert(oauth_authorizations).on_conflict_do_nothing()
_SET_SCOPES = (
    update(oauth_authorizations)
    .where(oauth_authorizations.c.id == bindparam("which"))
    .values(scopes=bindparam("granted"), updated_at=bindparam("now"))
)
_OF_USER = (
    select(
        oauth_authorizations,
        oauth_apps.c.name,
        oauth_apps.c.description,
        oauth_apps.c.logo_url,
        oauth_apps.c.website_url,
        oauth_apps.c.is_verified,
    )
    .join_from(oauth_authorizations, oauth_apps)
    .where(oauth_authorizations.c.user_id == bindparam("user"))
    .order_by(desc(oauth_authorizations.c.updated_at), oauth_authorizations.c.id)
    .limit(MAX_LISTED)
)
_OWN = (oauth_authorizations.c.id == bindparam("which")) & (
    oauth_authorizations.c.user_id == bindparam("user")
)
_APP_OF = select(oauth_authorizations.c.app_id).where(_OWN)
_DELETE = delete(oauth_authorizations).where(_OWN)
_DELETE_CODES = delete(oauth_authorization_codes).where(
    oauth_authorization_codes.c.app_id == bindparam("app"),
    oauth_authorization_codes.c.user_id == bindparam("user"),
)
_DELETE_DEVICES = delete(oauth_device_codes).where(
    oauth_device_codes.c.app_id == bindparam("app"),
    oauth_device_codes.c.user_id == bindparam("user"),
)
_COUNT = (
    update(oauth_apps)
    .where(oauth_apps.c.id == bindparam("app"))
    .values(
        installations_count=select(func.count())
        .select_from(oauth_authorizations)
        .where(oauth_authorizations.c.app_id == bindparam("app"))
        .scalar_subquery()
    )
)


class Authorizations:
    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime

    async def find(self, app_id: str, user_id: str) -> Row | None:
        """What the user has granted to the app so far."""
        return await self._db.fetch_one(_GET, app=app_id, user=user_id)

    async def of_user(self, user_id: str) -> list[Row]:
        """The user's, last changed first, with ``name``, ``description``, ``logo_url``,
        ``website_url`` and ``is_verified`` of the app."""
        return await self._db.fetch_all(_OF_USER, user=user_id)

    async def grant(self, tx: Connection, app_id: str, user_id: str, scopes: Scopes) -> Row:
        """The user grants ``scopes``, beside what it has granted before. The row is locked."""
        now = self._runtime.now()
        made = await tx.execute(
            _MAKE,
            id=self._runtime.new_id(),
            app_id=app_id,
            user_id=user_id,
            scopes=list(scopes.names),
            created_at=now,
            updated_at=now,
        )
        row = await lock(tx, app_id, user_id)
        assert row is not None
        if made:
            await tx.execute(_COUNT, app=app_id)
        else:
            granted = Scopes.of((*row["scopes"], *scopes.names))
            await tx.execute(_SET_SCOPES, which=row["id"], granted=list(granted.names), now=now)
        return row

    async def revoke(self, user_id: str, authorization_id: str) -> None:
        """Take it back, with every code and token, refresh tokens included. Raises NotFound."""
        async with self._db.transaction() as tx:
            app_id = await tx.fetch_value(_APP_OF, which=authorization_id, user=user_id)
            if not await tx.execute(_DELETE, which=authorization_id, user=user_id):
                raise NotFound("authorization not found")
            await tx.execute(_DELETE_CODES, app=app_id, user=user_id)
            await tx.execute(_DELETE_DEVICES, app=app_id, user=user_id)
            await tx.execute(_COUNT, app=app_id)


async def lock(tx: Connection, app_id: str, user_id: str) -> Row | None:
    """The authorization, which nobody else changes or makes tokens of before ``tx`` has ended.

    Whatever makes, uses up or revokes codes and tokens asks for this lock first and looks at their
    rows again when it has it: so no token is made while its family is being revoked.
    """
    return await tx.fetch_one(_LOCK, app=app_id, user=user_id)
