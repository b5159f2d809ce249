"""The repositories that a user has starred or watches, as far as the caller may read them."""

from __future__ import annotations

from sqlalchemy import Table, bindparam, select

from wit.access.actor import Actor
from wit.access.visibility import Seen
from wit.db.port import Database, Row
from wit.db.tables import namespaces, repositories, stars, watches


def _marked_in(table: Table) -> Seen:
    return Seen(
        select(repositories, namespaces.c.name.label("owner_name"))
        .join_from(table, repositories)
        .join(namespaces, namespaces.c.owner_id == repositories.c.owner_id)
        .where(table.c.user_id == bindparam("user"))
        .order_by(table.c.created_at.desc(), repositories.c.id)
        .limit(bindparam("count"))
        .offset(bindparam("skip"))
        .where
    )


_STARRED = _marked_in(stars)
_WATCHED = _marked_in(watches)


class Marked:
    """Rows of repositories with ``owner_name``, the latest mark first."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def starred(self, actor: Actor, user_id: str, limit: int, offset: int = 0) -> list[Row]:
        return await self._list(_STARRED, actor, user_id, limit, offset)

    async def watched(self, actor: Actor, user_id: str, limit: int, offset: int = 0) -> list[Row]:
        return await self._list(_WATCHED, actor, user_id, limit, offset)

    async def _list(
        self, seen: Seen, actor: Actor, user_id: str, limit: int, offset: int
    ) -> list[Row]:
        statement, reader = seen.by(actor)
        return await self._db.fetch_all(statement, user=user_id, count=limit, skip=offset, **reader)
