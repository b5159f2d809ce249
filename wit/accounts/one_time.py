"""Secrets that are good once and for a short time: links in mails, steps of a sign-in.

The table has the SHA-256 of each, below its kind; the value says what it stands for.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import bindparam, delete, insert, select

from wit.accounts.tokens import secret_hash
from wit.accounts.users import random_id, random_text
from wit.db.port import Connection, Database
from wit.db.tables import verifications
from wit.runtime import Runtime

_FIND = select(verifications.c.value).where(
    verifications.c.identifier == bindparam("name"), verifications.c.expires_at > bindparam("now")
)
_TAKE = delete(verifications).where(
    verifications.c.identifier == bindparam("name"), verifications.c.expires_at > bindparam("now")
)
_FORGET = delete(verifications).where(
    verifications.c.identifier.like(bindparam("beginning")),
    verifications.c.value == bindparam("same"),
)


class OneTimeSecrets:
    """``kind`` is a word of ours, such as ``reset-password``."""

    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime

    async def create(self, kind: str, value: str, lifetime: timedelta, length: int = 24) -> str:
        """A new secret of ``length`` characters that stands for ``value``."""
        secret = random_text(self._runtime, length)
        await self.put(kind, secret, value, lifetime)
        return secret

    async def put(
        self,
        kind: str,
        secret: str,
        value: str,
        lifetime: timedelta,
        tx: Connection | None = None,
    ) -> None:
        """Have ``secret``, which is known already, stand for ``value``."""
        now = self._runtime.now()
        await (tx or self._db).execute(
            insert(verifications),
            id=random_id(self._runtime),
            identifier=_name(kind, secret),
            value=value,
            expires_at=now + lifetime,
            created_at=now,
            updated_at=now,
        )

    async def look(self, kind: str, secret: str) -> str | None:
        """What the secret stands for; None if it is wrong, used or too old."""
        value = await self._db.fetch_value(_FIND, name=_name(kind, secret), now=self._runtime.now())
        return None if value is None else str(value)

    async def take(self, kind: str, secret: str, tx: Connection | None = None) -> str | None:
        """As :meth:`look`, and use it up: of many who try at once, one gets the value."""
        value = await self.look(kind, secret)
        if value is None:  # one that is made at this moment is for the next who asks
            return None
        used = await (tx or self._db).execute(
            _TAKE, name=_name(kind, secret), now=self._runtime.now()
        )
        return value if used else None

    async def forget(self, kind: str, value: str, tx: Connection | None = None) -> None:
        """Make all secrets of the kind that stand for ``value`` useless."""
        await (tx or self._db).execute(_FORGET, beginning=f"{kind}:%", same=value)


def _name(kind: str, secret: str) -> str:
    return f"{kind}:{secret_hash(secret)}"
