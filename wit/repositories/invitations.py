"""Invitations to work on a repository, by mail, to people who may have no account yet.

Whoever holds the secret of the mail's link may accept. The mail makes the secret, so that it never
lies in the database; sent again, it makes a new one. An invitation is worth as much as the word of
the one who invites: it is void once that person could not give the permission any more.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
from sqlalchemy import bindparam, delete, func, insert, select, update

from wit.access.actor import Actor, Level, Origin
from wit.access.gate import Gate
from wit.accounts.tokens import secret_hash
from wit.accounts.users import check_email, random_text
from wit.db.port import Connection, Database, Row
from wit.db.tables import invitations, namespaces, repositories, users
from wit.errors import Conflict, NotFound
from wit.mail.messages import FOOTER, Message
from wit.mail.outbox import Outbox
from wit.repositories.collaborators import Collaborators
from wit.repositories.rows import lock_repository
from wit.runtime import Runtime

LIFETIME = timedelta(days=7)
SECRET_LENGTH = 40
MAX_OPEN = 50
"""Invitations of one repository that nobody has answered yet."""

MAIL = "repository-invitation"

_OF_REPO = (invitations.c.kind == "repository") & (invitations.c.repo_id == bindparam("repo"))
_OPEN = (
    (invitations.c.kind == "repository")
    & invitations.c.accepted_at.is_(None)
    & (invitations.c.expires_at > bindparam("now"))
)
_LIST = (
    select(invitations)
    .where(_OPEN, invitations.c.repo_id == bindparam("repo"))
    .order_by(invitations.c.created_at, invitations.c.id)
)
_COUNT = (
    select(func.count())
    .select_from(invitations)
    .where(_OPEN, invitations.c.repo_id == bindparam("repo"))
)
_INSERT = insert(invitations)
_REPLACED = delete(invitations).where(
    _OF_REPO, invitations.c.email == bindparam("whose"), invitations.c.accepted_at.is_(None)
)
_CANCEL = delete(invitations).where(
    _OF_REPO, invitations.c.id == bindparam("which"), invitations.c.accepted_at.is_(None)
)
_BY_SECRET = select(invitations).where(_OPEN, invitations.c.token_hash == bindparam("hash"))
_LOCK = _BY_SECRET.with_for_update()
_ACCEPT = (
    update(invitations)
    .where(invitations.c.id == bindparam("which"))
    .values(accepted_at=bindparam("now"))
)
_DECLINE = delete(invitations).where(_OPEN, invitations.c.token_hash == bindparam("hash"))
_SET_SECRET = (
    update(invitations)
    .where(invitations.c.id == bindparam("which"))
    .values(token_hash=bindparam("hash"))
)
_DETAILS = (
    select(
        invitations,
        users.c.username,
        (namespaces.c.name + "/" + repositories.c.name).label("full_name"),
    )
    .join_from(invitations, users, users.c.id == invitations.c.invited_by)
    .join(repositories, repositories.c.id == invitations.c.repo_id)
    .join(namespaces, namespaces.c.owner_id == repositories.c.owner_id)
    .where(_OPEN)
)
_TO_SEND = _DETAILS.where(invitations.c.id == bindparam("which"))
_TO_SHOW = _DETAILS.where(invitations.c.token_hash == bindparam("hash"))
_INVITER = select(users).where(users.c.id == bindparam("user"))


@attrs.frozen
class Invited:
    """What an invitation is for: to whom its link came, from whom."""

    repository: str
    """OWNER/NAME."""
    permission: str
    inviter: str
    """User name."""


class Invitations:
    """Rows are those of ``invitations``."""

    def __init__(
        self,
        *,
        db: Database,
        runtime: Runtime,
        gate: Gate,
        collaborators: Collaborators,
        outbox: Outbox,
        site: str,
    ) -> None:
        """``site`` is the public address."""
        self._db = db
        self._runtime = runtime
        self._gate = gate
        self._collaborators = collaborators
        self._outbox = outbox
        self._site = site
        outbox.register(MAIL, self._mail)

    async def invite(self, repo_id: str, email: str, permission: str, invited_by: str) -> Row:
        """Send an invitation; an earlier one to the same address is replaced.

        The caller has asked the gate for Level.ADMIN. Whether the address has an account is not
        told. Raises Invalid, NotFound; Conflict at MAX_OPEN.
        """
        email = check_email(email)
        now = self._runtime.now()
        which = self._runtime.new_id()
        async with self._db.transaction() as tx:
            await lock_repository(tx, repo_id)
            await tx.execute(_REPLACED, repo=repo_id, whose=email)
            if await tx.fetch_value(_COUNT, repo=repo_id, now=now) >= MAX_OPEN:
                raise Conflict(
                    f"a repository has at most {MAX_OPEN} open invitations; cancel one first"
                )
            row = {
                "id": which,
                "kind": "repository",
                "repo_id": repo_id,
                "role": permission,
                "email": email,
                # Nobody has a secret with this hash: the mail brings the real one.
                "token_hash": self._runtime.random_bytes(32).hex(),
                "invited_by": invited_by,
                "expires_at": now + LIFETIME,
                "created_at": now,
            }
            await tx.execute(_INSERT, **row)
            await self._outbox.post(MAIL, {"invitation": which}, tx)
        return row

    async def open(self, repo_id: str) -> list[Row]:
        """Those that nobody has answered, oldest first; MAX_OPEN at most."""
        return await self._db.fetch_all(_LIST, repo=repo_id, now=self._runtime.now())

    async def cancel(self, repo_id: str, invitation_id: str) -> None:
        """Raises NotFound, also for another repository's and for an accepted one."""
        if not await self._db.execute(_CANCEL, repo=repo_id, which=invitation_id):
            raise NotFound("invitation not found")

    async def look(self, secret: str) -> Invited:
        """What a secret is for. Raises NotFound as :meth:`accept` does."""
        found = await self._db.fetch_one(
            _TO_SHOW, hash=secret_hash(secret), now=self._runtime.now()
        )
        if found is None or not await self._is_meant(found):
            raise _unknown()
        return Invited(found["full_name"], found["role"], found["username"])

    async def accept(self, secret: str, user_id: str) -> str:
        """Make the user a collaborator, with this permission at least; returns the repository's id.

        Raises NotFound for a secret that is wrong, used, too old or void; Invalid for the owner.
        """
        hashed = secret_hash(secret)
        found = await self._db.fetch_one(_BY_SECRET, hash=hashed, now=self._runtime.now())
        if found is None or not await self._is_meant(found):
            raise _unknown()
        async with self._db.transaction() as tx:
            await self._accept(tx, hashed, user_id)
        repo_id: str = found["repo_id"]
        return repo_id

    async def _accept(self, tx: Connection, hashed: str, user_id: str) -> None:
        now = self._runtime.now()
        row = await tx.fetch_one(_LOCK, hash=hashed, now=now)
        if row is None:
            raise _unknown()
        await self._collaborators.raise_to(tx, row["repo_id"], user_id, row["role"])
        await tx.execute(_ACCEPT, which=row["id"], now=now)

    async def decline(self, secret: str) -> None:
        """Raises NotFound."""
        if not await self._db.execute(_DECLINE, hash=secret_hash(secret), now=self._runtime.now()):
            raise _unknown()

    async def _is_meant(self, row: Row) -> bool:
        """Whether the one who invited could still do so."""
        inviter = await self._db.fetch_one(_INVITER, user=row["invited_by"])
        if inviter is None or inviter["suspended"]:
            return False
        actor = Actor(inviter["id"], inviter["username"], Origin.SESSION)
        return await self._gate.level(actor, {"id": row["repo_id"]}) >= Level.ADMIN

    async def _mail(self, payload: Any) -> Message | None:
        which = payload["invitation"]
        row = await self._db.fetch_one(_TO_SEND, which=which, now=self._runtime.now())
        if row is None:
            return None
        secret = random_text(self._runtime, SECRET_LENGTH)
        await self._db.execute(_SET_SECRET, which=which, hash=secret_hash(secret))
        name = row["full_name"]
        return Message(
            row["email"],
            f"{row['username']} invites you to {name}",
            f"Hello,\n\n{row['username']} invites you to work on {name}. Accept here, within a "
            f"week:\n\n{self._site}/invitations/{secret}" + FOOTER,
        )


def _unknown() -> NotFound:
    return NotFound("this invitation is not valid any more; ask for a new one")
