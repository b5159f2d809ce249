"""Rows that belong to one user each, who may have so many of them: SSH keys, tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Table, bindparam, delete, func, select

from wit.db.port import Connection, Database, Row
from wit.db.tables import users
from wit.errors import Invalid, NotFound

_LOCK_USER = select(users.c.id).where(users.c.id == bindparam("user")).with_for_update()


class OwnedRows:
    """The rows of a table with ``id``, ``user_id`` and ``created_at``.

    ``columns`` are those that are shown; ``noun`` is what sentences call one row.
    """

    def __init__(
        self,
        db: Database,
        table: Table,
        columns: Sequence[Column[Any]],
        noun: str,
        max_per_user: int,
    ) -> None:
        self._db = db
        self._noun = noun
        self._max_per_user = max_per_user
        of_user = table.c.user_id == bindparam("user")
        one = (table.c.id == bindparam("id")) & of_user
        self._all = select(*columns).where(of_user).order_by(table.c.created_at, table.c.id)
        self._one = select(*columns).where(one)
        self._count = select(func.count()).select_from(table).where(of_user)
        self._delete = delete(table).where(one)

    async def list(self, user_id: str) -> list[Row]:
        """The user's, oldest first."""
        return await self._db.fetch_all(self._all, user=user_id)

    async def get(self, user_id: str, row_id: str) -> Row:
        """Raises NotFound, also for another user's."""
        row = await self._db.fetch_one(self._one, user=user_id, id=row_id)
        if row is None:
            raise NotFound(f"{self._noun} not found")
        return row

    async def remove(self, user_id: str, row_id: str) -> None:
        """Raises NotFound, also for another user's."""
        if not await self._db.execute(self._delete, user=user_id, id=row_id):
            raise NotFound(f"{self._noun} not found")

    async def _check_room(self, tx: Connection, user_id: str) -> None:
        """Whether the user may have one more; the user is locked, so that nobody adds another one
        before ``tx`` has ended. Raises NotFound if there is no such user, Invalid."""
        if await tx.fetch_value(_LOCK_USER, user=user_id) is None:
            raise NotFound("user not found")
        if await tx.fetch_value(self._count, user=user_id) >= self._max_per_user:
            raise Invalid(
                f"a user has at most {self._max_per_user} {self._noun}s: "
                "remove one that is not used"
            )
