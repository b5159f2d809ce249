"""Who may what with sandboxes.

A sandbox is its maker's alone, and while it belongs to a repository its maker must have write
access there. Administrators of the repository and of the site may see it and end it. To everybody
else it is as if it did not exist.
"""

from __future__ import annotations

from wit.access.actor import Actor, Level, Origin
from wit.access.gate import Gate
from wit.db.port import Row
from wit.errors import Forbidden, NotFound, Unauthorized
from wit.sandboxes.records import Records

SCOPE = "sandbox"
"""The scope that a token needs."""


def user_of(actor: Actor) -> str:
    """Raises Unauthorized, Forbidden: what a sandbox signs in with opens no sandbox."""
    if actor.user_id is None:
        raise Unauthorized("sign in to use sandboxes")
    if actor.origin is Origin.SANDBOX:
        raise Forbidden("the token of a sandbox is for git alone")
    return actor.user_id


class Permissions:
    """Finds a repository or a sandbox for somebody: its row, or an error."""

    def __init__(self, gate: Gate, records: Records) -> None:
        self._gate = gate
        self._records = records

    async def writable(self, actor: Actor, repo_id: str) -> Row:
        """The repository, if the actor may have sandboxes of it. Raises NotFound, Forbidden."""
        return await self._gate.repository_by_id(actor, repo_id, Level.WRITE, SCOPE)

    async def seen(self, actor: Actor, sandbox_id: str) -> Row:
        """One's own sandbox, whatever one may still do with its repository; or an administrator's
        view. Raises NotFound, and what :func:`user_of` does."""
        row = await self._find(actor, sandbox_id)
        if row["user_id"] == actor.user_id or actor.is_admin:
            return row
        if row["repo_id"] is not None:
            level = await self._gate.level(actor, {"id": row["repo_id"]})
            if level >= Level.ADMIN:
                return row
        raise _missing()

    async def own(self, actor: Actor, sandbox_id: str) -> Row:
        """The maker's, who may still write to its repository. Raises NotFound, Forbidden, and what
        :func:`user_of` does."""
        row = await self._find(actor, sandbox_id)
        if row["user_id"] != actor.user_id:
            await self.seen(actor, sandbox_id)
            raise Forbidden("only its maker may use a sandbox")
        if row["repo_id"] is not None:
            await self.writable(actor, row["repo_id"])
        return row

    async def _find(self, actor: Actor, sandbox_id: str) -> Row:
        user_of(actor)
        row = await self._records.find(sandbox_id)
        if row is None or row["user_id"] is None:
            raise _missing()
        return row


def _missing() -> NotFound:
    return NotFound("sandbox not found")
