"""The audit log: what administrators changed, written in the transaction of the change."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs
from sqlalchemy import func, insert, select

from wit.db.port import Connection, Database, Row
from wit.db.tables import admin_audit_logs, users
from wit.runtime import Runtime

_USER_AGENT_LENGTH = 500

_APPEND = insert(admin_audit_logs)


OPERATOR = "operator"
"""The actor of what ``wit`` did on the server's own machine, in an entry's metadata."""


@attrs.frozen
class Operator:
    """The administrator who does something, and from where."""

    user_id: str | None
    """None: whoever runs the ``wit`` command, for whom there need not be an account."""
    address: str = ""
    user_agent: str = ""


COMMAND_LINE = Operator(None, user_agent="wit (command line)")


@attrs.frozen
class Change:
    """One thing that was done."""

    action: str
    """Dotted: ``user.suspended``."""
    target_type: str
    target_id: str
    description: str
    """A sentence for people."""
    metadata: Mapping[str, Any] | None = None


@attrs.frozen
class AuditFilter:
    """What to look for; None: everything."""

    admin_id: str | None = None
    action: str | None = None
    target_type: str | None = None
    target_id: str | None = None
    start: datetime | None = None
    end: datetime | None = None


class AuditLog:
    """Rows stay: nothing of wit changes or deletes one."""

    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime

    async def append(self, tx: Connection, operator: Operator, change: Change) -> None:
        metadata = None if change.metadata is None else dict(change.metadata)
        if operator.user_id is None:
            metadata = {**(metadata or {}), "actor": OPERATOR}
        await tx.execute(
            _APPEND,
            id=self._runtime.new_id(),
            admin_id=operator.user_id,
            action=change.action,
            target_type=change.target_type,
            target_id=change.target_id,
            description=change.description,
            metadata=metadata,
            ip_address=operator.address or None,
            user_agent=operator.user_agent[:_USER_AGENT_LENGTH] or None,
            created_at=self._runtime.now(),
        )

    async def list(self, wanted: AuditFilter, limit: int, offset: int) -> tuple[list[Row], int]:
        """The latest first, with ``admin_name`` and ``admin_email``, and how many there are."""
        table = admin_audit_logs.c
        equal = {
            table.admin_id: wanted.admin_id,
            table.action: wanted.action,
            table.target_type: wanted.target_type,
            table.target_id: wanted.target_id,
        }
        conditions = [column == value for column, value in equal.items() if value is not None]
        if wanted.start is not None:
            conditions.append(table.created_at >= wanted.start)
        if wanted.end is not None:
            conditions.append(table.created_at <= wanted.end)
        page = (
            select(
                admin_audit_logs,
                users.c.name.label("admin_name"),
                users.c.email.label("admin_email"),
            )
            .join_from(admin_audit_logs, users, isouter=True)
            .where(*conditions)
            .order_by(table.created_at.desc(), table.id)
            .limit(limit)
            .offset(offset)
        )
        count = select(func.count()).select_from(admin_audit_logs).where(*conditions)
        return await self._db.fetch_all(page), int(await self._db.fetch_value(count))
