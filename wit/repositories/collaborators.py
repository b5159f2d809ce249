"""Collaborators by user id, as the API speaks of them; the command line's way is ``Rights``."""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, delete, insert, select, update

from wit.db.port import Connection, Database, Row
from wit.db.tables import collaborators, users
from wit.errors import Invalid, NotFound
from wit.mail.messages import Message
from wit.mail.outbox import Outbox
from wit.repositories.rows import BY_ID, lock_repository
from wit.runtime import Runtime

LEVELS = {"read": 1, "write": 2, "admin": 3}
"""The permissions, by how much they allow."""

MAIL = "collaborator"

_ONE = (collaborators.c.repo_id == bindparam("repo")) & (
    collaborators.c.user_id == bindparam("user")
)
_PERMISSION = select(collaborators.c.permission).where(_ONE)
_ROW = select(collaborators).where(_ONE)
_LIST = (
    select(users, collaborators.c.permission, collaborators.c.created_at.label("since"))
    .join_from(collaborators, users)
    .where(collaborators.c.repo_id == bindparam("repo"))
    .order_by(users.c.username)
    .limit(bindparam("count"))
)
_USER = select(users).where(users.c.id == bindparam("user"))
_LOCK_USER = select(users.c.id).where(users.c.id == bindparam("user")).with_for_update(read=True)
_INSERT = insert(collaborators)
_SET = update(collaborators).where(_ONE).values(permission=bindparam("level"))
_REMOVE = delete(collaborators).where(_ONE)


class Collaborators:
    """The caller has asked the gate: for Level.ADMIN wherever something changes."""

    def __init__(self, db: Database, runtime: Runtime, outbox: Outbox, site: str) -> None:
        """``site`` is the public address."""
        self._db = db
        self._runtime = runtime
        self._outbox = outbox
        self._site = site
        outbox.register(MAIL, self._mail)

    async def list(self, repo_id: str, limit: int) -> list[Row]:
        """Rows of ``user``, by user name, with ``permission`` and ``since``."""
        return await self._db.fetch_all(_LIST, repo=repo_id, count=limit)

    async def add(self, repo_id: str, user_id: str, permission: str) -> Row:
        """A new row of ``collaborators``; the person is told by mail.

        Raises NotFound; Invalid for the owner, and for who is a collaborator already.
        """
        async with self._db.transaction() as tx:
            if await self.grant(tx, repo_id, user_id, permission) is not None:
                raise Invalid("this user is a collaborator already; change the permission instead")
            await self._outbox.post(MAIL, {"repo": repo_id, "user": user_id}, tx)
        return await self._row(repo_id, user_id)

    async def grant(
        self, tx: Connection, repo_id: str, user_id: str, permission: str
    ) -> str | None:
        """Make the user a collaborator; the permission it had before, which then stays, if any.

        Raises NotFound, Invalid for the owner.
        """
        repo = await lock_repository(tx, repo_id)
        if await tx.fetch_value(_LOCK_USER, user=user_id) is None:
            raise NotFound("user not found")
        if repo["owner_id"] == user_id:
            raise Invalid("the owner has all rights already")
        before: str | None = await tx.fetch_value(_PERMISSION, repo=repo_id, user=user_id)
        if before is None:
            now = self._runtime.now()
            await tx.execute(
                _INSERT, repo_id=repo_id, user_id=user_id, permission=permission, created_at=now
            )
        return before

    async def change(self, repo_id: str, user_id: str, permission: str) -> Row:
        """Raises NotFound if the user is no collaborator."""
        if not await self._db.execute(_SET, repo=repo_id, user=user_id, level=permission):
            raise _nobody()
        return await self._row(repo_id, user_id)

    async def raise_to(self, tx: Connection, repo_id: str, user_id: str, permission: str) -> None:
        """Give a permission to whoever has none, or a lower one."""
        before = await self.grant(tx, repo_id, user_id, permission)
        if before is not None and LEVELS[before] < LEVELS[permission]:
            await tx.execute(_SET, repo=repo_id, user=user_id, level=permission)

    async def remove(self, repo_id: str, user_id: str) -> None:
        """Raises NotFound if the user is no collaborator."""
        if not await self._db.execute(_REMOVE, repo=repo_id, user=user_id):
            raise _nobody()

    async def _row(self, repo_id: str, user_id: str) -> Row:
        row = await self._db.fetch_one(_ROW, repo=repo_id, user=user_id)
        if row is None:
            raise _nobody()
        return row

    async def _mail(self, payload: Any) -> Message | None:
        repo = await self._db.fetch_one(BY_ID, id=payload["repo"])
        user = await self._db.fetch_one(_USER, user=payload["user"])
        level = await self._db.fetch_value(_PERMISSION, repo=payload["repo"], user=payload["user"])
        if repo is None or user is None or level is None:
            return None
        name = repo["full_name"]
        return Message(
            user["email"],
            f"You are a collaborator of {name}",
            f"Hello {user['name']},\n\nyou have {level} access to {name} now:\n\n"
            f"{self._site}/{name}\n",
        )


def _nobody() -> NotFound:
    return NotFound("this user is no collaborator of the repository")
