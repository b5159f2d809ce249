"""Numbers about the whole site, for administrators. Days and months are those of UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

import attrs
from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    Table,
    bindparam,
    case,
    exists,
    false,
    func,
    or_,
    select,
    true,
)
from sqlalchemy.sql import Executable

from wit.db.port import Database, Row
from wit.db.tables import organizations, repositories, sessions, ssh_keys, tokens, users
from wit.runtime import Runtime

ACTIVE = timedelta(days=30)


def _number(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)


def _used(last: Column[datetime], user_id: Column[str]) -> ColumnElement[bool]:
    return exists().where(user_id == users.c.id, last >= bindparam("active_since"))


_USERS = select(
    func.count().label("total"),
    _number(users.c.role != "user").label("admins"),
    _number(users.c.suspended == true()).label("suspended"),
    _number(users.c.created_at >= bindparam("month")).label("new_this_month"),
)
_ACTIVE_USERS = (
    select(func.count())
    .select_from(users)
    .where(
        or_(
            _used(sessions.c.updated_at, sessions.c.user_id),
            _used(tokens.c.last_used_at, tokens.c.user_id),
            _used(ssh_keys.c.last_used_at, ssh_keys.c.user_id),
        )
    )
)
_REPOSITORIES = select(
    func.count().label("total"),
    _number(repositories.c.is_private == false()).label("public"),
    _number(repositories.c.is_private == true()).label("private"),
    _number(repositories.c.created_at >= bindparam("month")).label("new_this_month"),
)
_ORGANIZATIONS = select(
    func.count().label("total"),
    _number(organizations.c.created_at >= bindparam("month")).label("new_this_month"),
)


def _made_by_day(table: Table) -> Select[tuple[str, int]]:
    """Both engines' ``date`` gives the day; sessions of PostgreSQL are in UTC."""
    day = func.date(table.c.created_at)
    return (
        select(day.label("day"), func.count().label("number"))
        .where(table.c.created_at >= bindparam("start"))
        .group_by(day)
    )


_USERS_BY_DAY = _made_by_day(users)
_REPOSITORIES_BY_DAY = _made_by_day(repositories)


@attrs.frozen
class Day:
    """What was made on one day."""

    date: date
    users: int
    repositories: int


@attrs.frozen
class Totals:
    """Rows of numbers by name."""

    users: Row
    active_users: int
    repositories: Row
    organizations: Row


class Statistics:
    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime

    async def totals(self) -> Totals:
        now = self._runtime.now()
        month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        return Totals(
            users=await self._row(_USERS, month),
            active_users=int(await self._db.fetch_value(_ACTIVE_USERS, active_since=now - ACTIVE)),
            repositories=await self._row(_REPOSITORIES, month),
            organizations=await self._row(_ORGANIZATIONS, month),
        )

    async def _row(self, statement: Executable, month: datetime) -> Row:
        """Counting gives a row even of an empty table."""
        (row,) = await self._db.fetch_all(statement, month=month)
        return {name: int(number) for name, number in row.items()}

    async def days(self, count: int) -> list[Day]:
        """The last ``count`` days with today, oldest first."""
        today = self._runtime.now().date()
        first = today - timedelta(days=count - 1)
        start = datetime.combine(first, time(), UTC)
        users_made = await self._by_day(_USERS_BY_DAY, start)
        repositories_made = await self._by_day(_REPOSITORIES_BY_DAY, start)
        days = [first + timedelta(days=number) for number in range(count)]
        return [
            Day(day, users_made.get(str(day), 0), repositories_made.get(str(day), 0))
            for day in days
        ]

    async def _by_day(self, statement: Executable, start: datetime) -> dict[str, int]:
        rows = await self._db.fetch_all(statement, start=start)
        return {str(row["day"]): int(row["number"]) for row in rows}
