"""What administrators see of users and repositories, and what they do to users.

Each change is written into the audit log in its own transaction, which also looks at the
administrator's role anew: whoever is lowered at this moment changes nothing any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from sqlalchemy import Column, ColumnElement, Select, bindparam, func, select
from sqlalchemy.sql import Executable

from wit.accounts import roles
from wit.accounts.audit import AuditLog, Change, Operator
from wit.db.port import Connection, Database, Row
from wit.db.search import contains, pattern
from wit.db.tables import namespaces, repositories, sessions, ssh_keys, tokens, users
from wit.errors import Conflict, Forbidden, Invalid, NotFound
from wit.runtime import Runtime

_ADMINISTRATORS = ("admin", "superadmin")


def _latest(column: Column[Any], user_id: Column[Any]) -> ColumnElement[Any]:
    return select(func.max(column)).where(user_id == users.c.id).scalar_subquery()


_LAST_SEEN = (
    _latest(sessions.c.updated_at, sessions.c.user_id).label("_session"),
    _latest(tokens.c.last_used_at, tokens.c.user_id).label("_token"),
    _latest(ssh_keys.c.last_used_at, ssh_keys.c.user_id).label("_key"),
)
_USERS = select(
    users,
    select(func.count())
    .where(repositories.c.owner_id == users.c.id)
    .scalar_subquery()
    .label("repo_count"),
    *_LAST_SEEN,
)
_OPERATOR = select(users.c.role, users.c.suspended).where(users.c.id == bindparam("id"))
USER_ORDERS: Mapping[str, ColumnElement[Any]] = {
    "createdAt": users.c.created_at,
    "name": func.lower(users.c.name),
    "email": users.c.email,
}
_REPOSITORIES = select(repositories, namespaces.c.name.label("owner_name")).join_from(
    repositories, namespaces, namespaces.c.owner_id == repositories.c.owner_id
)
REPOSITORY_ORDERS: Mapping[str, ColumnElement[Any]] = {
    "createdAt": repositories.c.created_at,
    "name": repositories.c.name_key,
    "starsCount": repositories.c.stars_count,
}


@attrs.frozen
class UserFilter:
    """What to look for; None: everything."""

    search: str | None = None
    """Part of a name or an e-mail address, in any case."""
    role: str | None = None
    suspended: bool | None = None


@attrs.frozen
class RepositoryFilter:
    search: str | None = None
    """Part of a name or a description, in any case."""
    private: bool | None = None


@attrs.frozen
class View:
    """Which part of a list is wanted, in which order."""

    sort: str
    """One of USER_ORDERS or REPOSITORY_ORDERS."""
    descending: bool
    limit: int
    offset: int

    def of(
        self,
        statement: Select[Any],
        orders: Mapping[str, ColumnElement[Any]],
        tie: ColumnElement[str],
    ) -> Select[Any]:
        by = orders[self.sort]
        ordered = statement.order_by(by.desc() if self.descending else by.asc(), tie)
        return ordered.limit(self.limit).offset(self.offset)


class Administration:
    """Whoever calls has been found to be an administrator by the declaration of the procedure."""

    def __init__(self, db: Database, runtime: Runtime, audit: AuditLog) -> None:
        self._db = db
        self._runtime = runtime
        self._audit = audit

    # Looking

    async def users(self, wanted: UserFilter, view: View) -> tuple[list[Row], int]:
        """Rows of ``user`` with ``repo_count`` and ``last_active``; and how many there are."""
        conditions: list[ColumnElement[bool]] = []
        if wanted.search:
            conditions.append(contains("pattern", users.c.username, users.c.name, users.c.email))
        if wanted.role is not None:
            conditions.append(users.c.role == wanted.role)
        if wanted.suspended is not None:
            conditions.append(users.c.suspended == wanted.suspended)
        page = view.of(_USERS.where(*conditions), USER_ORDERS, users.c.id)
        count = select(func.count()).select_from(users).where(*conditions)
        rows, total = await self._counted(page, count, wanted.search)
        return [_with_last_active(row) for row in rows], total

    async def user(self, user_id: str) -> Row:
        """Raises NotFound."""
        row = await self._db.fetch_one(_USERS.where(users.c.id == user_id))
        if row is None:
            raise NotFound("user not found")
        return _with_last_active(row)

    async def repositories(self, wanted: RepositoryFilter, view: View) -> tuple[list[Row], int]:
        """Rows of ``repositories`` with ``owner_name``, of everybody; and how many there are."""
        conditions: list[ColumnElement[bool]] = []
        if wanted.search:
            columns = repositories.c.name, repositories.c.description
            conditions.append(contains("pattern", *columns))
        if wanted.private is not None:
            conditions.append(repositories.c.is_private == wanted.private)
        page = view.of(_REPOSITORIES.where(*conditions), REPOSITORY_ORDERS, repositories.c.id)
        count = select(func.count()).select_from(repositories).where(*conditions)
        return await self._counted(page, count, wanted.search)

    async def _counted(
        self, page: Executable, count: Executable, search: str | None
    ) -> tuple[list[Row], int]:
        parameters = {"pattern": pattern(search)} if search else {}
        rows = await self._db.fetch_all(page, **parameters)
        return rows, int(await self._db.fetch_value(count, **parameters))

    # Changing

    async def set_role(self, operator: Operator, user_id: str, role: str) -> None:
        """Raises Invalid, also for lowering oneself; Forbidden, NotFound; Conflict if it has it."""
        if user_id == operator.user_id and role != "superadmin":
            raise Invalid("you cannot lower your own role: another superadmin can")
        async with self._db.transaction() as tx:
            await roles.lock_superadmins(tx)
            if await _role_of(tx, operator) != "superadmin":
                raise Forbidden("only superadmins may do this")
            before = await roles.set_role(tx, self._runtime, user_id, role)
            if before["role"] == role:
                raise Conflict(f"{before['username']} has the role {role} already")
            await self._audit.append(
                tx,
                operator,
                Change(
                    "user.role_changed",
                    "user",
                    user_id,
                    f"Changed the role of {before['username']} from {before['role']} to {role}",
                    {"oldRole": before["role"], "newRole": role},
                ),
            )

    async def suspend(self, operator: Operator, user_id: str, reason: str) -> None:
        """Raises Invalid, also for oneself; Forbidden, NotFound; Conflict if suspended already."""
        if user_id == operator.user_id:
            raise Invalid("you cannot suspend yourself")
        async with self._db.transaction() as tx:
            await self._may_touch(tx, operator, user_id)
            before = await roles.suspend(tx, self._runtime, user_id, reason)
            if before["suspended"]:
                raise Conflict(f"{before['username']} is suspended already")
            await self._audit.append(
                tx,
                operator,
                Change(
                    "user.suspended",
                    "user",
                    user_id,
                    f"Suspended {before['username']}",
                    {"reason": reason.strip()},
                ),
            )

    async def resume(self, operator: Operator, user_id: str) -> None:
        """Raises Forbidden, NotFound; Conflict if not suspended."""
        async with self._db.transaction() as tx:
            await self._may_touch(tx, operator, user_id)
            before = await roles.resume(tx, self._runtime, user_id)
            if not before["suspended"]:
                raise Conflict(f"{before['username']} is not suspended")
            await self._audit.append(
                tx,
                operator,
                Change(
                    "user.unsuspended",
                    "user",
                    user_id,
                    f"Ended the suspension of {before['username']}",
                ),
            )

    async def _may_touch(self, tx: Connection, operator: Operator, user_id: str) -> None:
        """Superadmins are for superadmins. Raises Forbidden, NotFound."""
        await roles.lock_superadmins(tx)
        own = await _role_of(tx, operator)
        user = await roles.lock_user(tx, user_id)
        if own not in _ADMINISTRATORS:
            raise Forbidden("only administrators may do this")
        if user["role"] == "superadmin" and own != "superadmin":
            raise Forbidden("only superadmins may do this to a superadmin")


async def _role_of(tx: Connection, operator: Operator) -> str:
    """The operator's role at this moment; "" if it cannot act any more."""
    row = await tx.fetch_one(_OPERATOR, id=operator.user_id)
    return "" if row is None or row["suspended"] else str(row["role"])


def _with_last_active(row: Row) -> Row:
    seen = [row[name] for name in ("_session", "_token", "_key") if row[name] is not None]
    shown = {key: value for key, value in row.items() if not key.startswith("_")}
    return {**shown, "last_active": max(seen, default=None)}
