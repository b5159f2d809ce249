"""Personal access tokens (contract, auth.md): ``wit_`` and 40 hex digits, stored as a hash.

A token is 160 random bits, so one SHA-256 is enough, and finding it by its hash gives nothing
away through timing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import bindparam, insert, select

from wit.access.actor import TOKEN_SCOPES
from wit.accounts.last_use import LastUse
from wit.accounts.owned import OwnedRows
from wit.db.port import Database, Row
from wit.db.tables import tokens, users
from wit.errors import Invalid
from wit.runtime import Runtime

PREFIX_LENGTH = 8
MAX_DAYS = 365

_SHAPE = re.compile(r"wit_[0-9a-f]{40}")
_SHOWN = [column for column in tokens.c if column is not tokens.c.token_hash]
_BY_HASH = (
    select(
        *_SHOWN,
        users.c.username,
        users.c.email,
        users.c.role,
        users.c.suspended,
        users.c.suspended_reason,
    )
    .join_from(tokens, users)
    .where(tokens.c.token_hash == bindparam("hash"))
    .execution_options(quick=True)
)


def is_token(text: str) -> bool:
    """Whether ``text`` has the shape of a token; nothing else does."""
    return _SHAPE.fullmatch(text) is not None


def secret_hash(secret: str) -> str:
    """What is stored of a bearer secret: SHA-256, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Tokens(OwnedRows):
    """Rows never include the hash; the secret is seen once, when it is made."""

    def __init__(
        self, db: Database, runtime: Runtime, last_use: LastUse, max_per_user: int = 50
    ) -> None:
        super().__init__(db, tokens, _SHOWN, "token", max_per_user)
        self._runtime = runtime
        self._last_use = last_use

    async def create(
        self, user_id: str, name: str, scopes: Iterable[str], expires_in_days: int | None = None
    ) -> tuple[Row, str]:
        """A new token: its row and its secret.

        Raises Invalid, also when the user has too many tokens; NotFound if there is no such user.
        """
        name = name.strip()
        if not 1 <= len(name) <= 100 or not name.isprintable():
            raise Invalid("a token's name is one line of 1 to 100 characters")
        wanted = _check_scopes(scopes)
        now = self._runtime.now()
        expires_at = None
        if expires_in_days is not None:
            if not 1 <= expires_in_days <= MAX_DAYS:
                raise Invalid(f"a token expires in 1 to {MAX_DAYS} days, or never")
            expires_at = now + timedelta(days=expires_in_days)
        secret = "wit_" + self._runtime.random_bytes(20).hex()
        token_id = self._runtime.new_id()
        async with self._db.transaction() as tx:
            await self._check_room(tx, user_id)
            await tx.execute(
                insert(tokens),
                id=token_id,
                user_id=user_id,
                name=name,
                token_hash=secret_hash(secret),
                token_prefix=secret[:PREFIX_LENGTH],
                scopes=wanted,
                expires_at=expires_at,
                created_at=now,
            )
        return await self.get(user_id, token_id), secret

    async def verify(self, secret: str) -> Row | None:
        """The token with this secret unless it has expired, or None.

        The row also has its user's ``username``, ``email``, ``role``, ``suspended`` and
        ``suspended_reason``; whether the user may still act is for the caller to look at.
        """
        if not is_token(secret):
            return None
        row = await self._db.fetch_one(_BY_HASH, hash=secret_hash(secret))
        if row is None:
            return None
        if row["expires_at"] is not None and row["expires_at"] <= self._runtime.now():
            return None
        self._last_use.token(row["id"])
        return row


def _check_scopes(scopes: Iterable[str]) -> list[str]:
    wanted = sorted(set(scopes))
    if not wanted:
        raise Invalid(f"a token needs at least one scope of {', '.join(TOKEN_SCOPES)}")
    for scope in wanted:
        if scope not in TOKEN_SCOPES:
            raise Invalid(f"{scope[:40]!r} is not a scope; use {', '.join(TOKEN_SCOPES)}")
    return wanted
