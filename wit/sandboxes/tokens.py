"""What a sandbox's git signs in with: a token for one repository and for git alone.

It is good while its sandbox runs and its lease lasts, and what it may do is also bounded by what
its user may do at that moment. Stored as a hash, like every token.
"""

from __future__ import annotations

import re
from datetime import datetime

from sqlalchemy import bindparam, delete, insert, select

from wit.accounts.tokens import secret_hash
from wit.db.port import Database, Row
from wit.db.tables import sandbox_tokens, sandboxes, users
from wit.runtime import Runtime
from wit.sandboxes.records import Stage

USERNAME = "x-access-token"
"""The name that goes with it."""

_SHAPE = re.compile(r"wit_sbx_[0-9a-f]{40}")

_BY_HASH = (
    select(
        sandbox_tokens,
        users.c.username,
        users.c.email,
        users.c.role,
        users.c.suspended,
        users.c.suspended_reason,
    )
    .join_from(sandbox_tokens, users, users.c.id == sandbox_tokens.c.user_id)
    .join(sandboxes, sandboxes.c.id == sandbox_tokens.c.sandbox_id)
    .where(
        sandbox_tokens.c.token_hash == bindparam("hash"),
        sandbox_tokens.c.expires_at > bindparam("now"),
        sandboxes.c.state.in_([Stage.CREATING.value, Stage.RUNNING.value]),
    )
    .execution_options(quick=True)
)
_OLD = delete(sandbox_tokens).where(sandbox_tokens.c.sandbox_id == bindparam("which"))


def is_sandbox_token(text: str) -> bool:
    """Whether ``text`` has the shape of one; nothing else does."""
    return _SHAPE.fullmatch(text) is not None


class SandboxTokens:
    """One for each sandbox of a repository."""

    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime

    async def issue(
        self, sandbox_id: str, user_id: str, repo_id: str, *, can_write: bool, until: datetime
    ) -> str:
        """The secret of a new token, instead of the one before."""
        secret = "wit_sbx_" + self._runtime.random_bytes(20).hex()
        async with self._db.transaction() as tx:
            await tx.execute(_OLD, which=sandbox_id)
            await tx.execute(
                insert(sandbox_tokens),
                id=self._runtime.new_id(),
                sandbox_id=sandbox_id,
                user_id=user_id,
                repo_id=repo_id,
                token_hash=secret_hash(secret),
                can_write=can_write,
                created_at=self._runtime.now(),
                expires_at=until,
            )
        return secret

    async def verify(self, secret: str) -> Row | None:
        """The token's row with its user's ``username``, ``email``, ``role``, ``suspended`` and
        ``suspended_reason``, while it is good; whether the user may act is for the caller."""
        if not is_sandbox_token(secret):
            return None
        return await self._db.fetch_one(_BY_HASH, hash=secret_hash(secret), now=self._runtime.now())
