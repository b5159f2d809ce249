"""What people say about themselves, and finding a user's row with all that a profile shows."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import bindparam, select, update

from wit.accounts.texts import check_texts
from wit.accounts.users import NameTaken
from wit.db.port import Connection, Database, Row, UniqueViolation
from wit.db.tables import namespaces, repositories, two_factor, users
from wit.errors import Conflict, NotFound
from wit.git.names import check_new_owner
from wit.runtime import Runtime

LIMITS: Mapping[str, int] = {
    "name": 255,
    "image": 2000,
    "bio": 500,
    "location": 100,
    "website": 255,
    "avatar_url": 500,
}
"""Characters of each column of a profile."""

ADDRESSES = frozenset({"image", "website", "avatar_url"})
"""Columns that pages make links or pictures of."""

_USERS = select(users, two_factor.c.enabled.label("two_factor_enabled")).join_from(
    users, two_factor, isouter=True
)
_BY_ID = _USERS.where(users.c.id == bindparam("id"))
_BY_EMAIL = _USERS.where(users.c.email == bindparam("email"))
_OWN_NAME = select(namespaces.c.name).where(namespaces.c.owner_id == bindparam("who"))
_OWNS_REPOSITORY = select(repositories.c.id).where(repositories.c.owner_id == bindparam("who"))
_RENAME = (
    update(namespaces)
    .where(namespaces.c.owner_id == bindparam("who"))
    .values(name_key=bindparam("key"), name=bindparam("new"))
)


class Profiles:
    """Rows are those of ``user``, with ``two_factor_enabled``."""

    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime

    async def get(self, user_id: str) -> Row:
        """Raises NotFound."""
        row = await self._db.fetch_one(_BY_ID, id=user_id)
        if row is None:
            raise NotFound("user not found")
        return row

    async def by_email(self, email: str) -> Row | None:
        return await self._db.fetch_one(_BY_EMAIL, email=email.lower())

    async def update(
        self, user_id: str, changes: Mapping[str, str | None], username: str | None = None
    ) -> Row:
        """Change columns of :data:`LIMITS`, and the user name; "" clears a column but the name.

        Raises Invalid, NotFound; NameTaken; Conflict for a new name while the user owns
        repositories, whose addresses it would break.
        """
        values = check_profile(changes)
        try:
            async with self._db.transaction() as tx:
                if username is not None:
                    values |= await _rename(tx, user_id, username)
                statement = update(users).where(users.c.id == user_id)
                if not await tx.execute(statement.values(**values, updated_at=self._runtime.now())):
                    raise NotFound("user not found")
        except UniqueViolation:
            raise NameTaken(f"the name {username!r} is taken") from None
        return await self.get(user_id)


async def _rename(tx: Connection, user_id: str, username: str) -> dict[str, str | None]:
    """What changes in the user's row."""
    old = await tx.fetch_value(_OWN_NAME, who=user_id)
    if username != old:
        if username.lower() != str(old).lower():
            check_new_owner(username)
            if await tx.fetch_value(_OWNS_REPOSITORY, who=user_id) is not None:
                raise Conflict("transfer or delete your repositories before you change your name")
        await tx.execute(_RENAME, who=user_id, key=username.lower(), new=username)
    return {"username": username.lower(), "display_username": username}


def check_profile(changes: Mapping[str, str | None]) -> dict[str, str | None]:
    """The changes as they are stored. Raises Invalid."""
    return check_texts(changes, LIMITS, lines=("name",), addresses=ADDRESSES)
