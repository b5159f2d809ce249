"""Roles and suspensions of users, as steps of a transaction, for administrators and the command.

Rule: a site that has a superadmin who can act keeps one.
"""

from __future__ import annotations

from collections.abc import Set

from sqlalchemy import bindparam, delete, select, update

from wit.db.port import Connection, Row
from wit.db.tables import sessions, users
from wit.errors import Invalid, NotFound
from wit.runtime import Runtime

ROLES = ("user", "admin", "superadmin")
MAX_REASON = 1000

LAST = "this is the last superadmin: make another one first (wit user role NAME superadmin)"

_LOCK_SUPERADMINS = (
    select(users.c.id)
    .where(users.c.role == "superadmin", users.c.suspended.is_(False))
    .order_by(users.c.id)
    .with_for_update()
)
_LOCK = select(users).where(users.c.id == bindparam("id")).with_for_update()
_SET_ROLE = (
    update(users)
    .where(users.c.id == bindparam("who"))
    .values(role=bindparam("new_role"), updated_at=bindparam("now"))
)
_SET_SUSPENSION = (
    update(users)
    .where(users.c.id == bindparam("who"))
    .values(
        suspended=bindparam("is_suspended"),
        suspended_at=bindparam("since"),
        suspended_reason=bindparam("reason"),
        updated_at=bindparam("now"),
    )
)
_END_SESSIONS = delete(sessions).where(sessions.c.user_id == bindparam("who"))


def check_role(role: str) -> str:
    """``role`` itself. Raises Invalid."""
    if role not in ROLES:
        raise Invalid(f"{role[:40]!r} is not a role; use one of {', '.join(ROLES)}")
    return role


def check_reason(reason: str) -> str:
    """``reason``, trimmed. Raises Invalid."""
    reason = reason.strip()
    if not 1 <= len(reason) <= MAX_REASON or "\0" in reason:
        raise Invalid(f"the reason must be a text of 1 to {MAX_REASON} characters")
    return reason


async def lock_superadmins(tx: Connection) -> Set[str]:
    """The ids of those who can act. Nobody becomes fewer before ``tx`` has ended, so that two
    cannot lower each other at once."""
    return {row["id"] for row in await tx.fetch_all(_LOCK_SUPERADMINS)}


async def keep_one(tx: Connection, user_id: str) -> None:
    """Raises Invalid if the user is the last superadmin; nobody becomes fewer until ``tx`` ends."""
    if await lock_superadmins(tx) == {user_id}:
        raise Invalid(LAST)


async def lock_user(tx: Connection, user_id: str) -> Row:
    """Raises NotFound."""
    row = await tx.fetch_one(_LOCK, id=user_id)
    if row is None:
        raise NotFound("user not found")
    return row


async def set_role(tx: Connection, runtime: Runtime, user_id: str, role: str) -> Row:
    """The user's row as it was. Raises Invalid, NotFound."""
    check_role(role)
    if role == "superadmin":
        await lock_superadmins(tx)
    else:
        await keep_one(tx, user_id)
    user = await lock_user(tx, user_id)
    await tx.execute(_SET_ROLE, who=user_id, new_role=role, now=runtime.now())
    return user


async def suspend(tx: Connection, runtime: Runtime, user_id: str, reason: str) -> Row:
    """Lock the user out, whatever the credential, and end its sessions; ``reason`` is shown.

    The user's row as it was. Raises Invalid, NotFound.
    """
    reason = check_reason(reason)
    await keep_one(tx, user_id)
    user = await lock_user(tx, user_id)
    now = runtime.now()
    await tx.execute(
        _SET_SUSPENSION, who=user_id, is_suspended=True, since=now, reason=reason, now=now
    )
    await end_sessions(tx, user_id)
    return user


async def end_sessions(tx: Connection, user_id: str) -> None:
    await tx.execute(_END_SESSIONS, who=user_id)


async def resume(tx: Connection, runtime: Runtime, user_id: str) -> Row:
    """End a suspension. The user's row as it was. Raises NotFound."""
    user = await lock_user(tx, user_id)
    await tx.execute(
        _SET_SUSPENSION,
        who=user_id,
        is_suspended=False,
        since=None,
        reason=None,
        now=runtime.now(),
    )
    return user
