"""Who signed in, or tried to, for administrators to look at (wit/accounts/sign_in.py writes it)."""

from __future__ import annotations

from datetime import datetime

import attrs
from sqlalchemy import func, select

from wit.db.port import Database, Row
from wit.db.tables import login_attempts


@attrs.frozen
class AttemptFilter:
    """What to look for; None: everything."""

    login: str | None = None
    """The e-mail address or user name that was given."""
    success: bool | None = None
    start: datetime | None = None
    end: datetime | None = None


class SignInLog:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def list(self, wanted: AttemptFilter, limit: int, offset: int) -> tuple[list[Row], int]:
        """Rows of ``login_attempts``, the latest first; and how many there are."""
        table = login_attempts.c
        conditions = []
        if wanted.login is not None:
            conditions.append(func.lower(table.email) == wanted.login.lower())
        if wanted.success is not None:
            conditions.append(table.success == wanted.success)
        if wanted.start is not None:
            conditions.append(table.created_at >= wanted.start)
        if wanted.end is not None:
            conditions.append(table.created_at <= wanted.end)
        page = (
            select(login_attempts)
            .where(*conditions)
            .order_by(table.created_at.desc(), table.id)
            .limit(limit)
            .offset(offset)
        )
        count = select(func.count()).select_from(login_attempts).where(*conditions)
        return await self._db.fetch_all(page), int(await self._db.fetch_value(count))
