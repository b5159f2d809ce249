"""Keys of AI providers that users and repositories bring along.

They are sealed and never shown again; people recognise them by their last characters."""

from __future__ import annotations

from typing import Any

import attrs
from sqlalchemy import Table, bindparam, delete, exists, select
from sqlalchemy.dialects.postgresql import insert

from wit.accounts.secrets import Secrets
from wit.db.port import Database, ForeignKeyViolation, Row
from wit.db.tables import repo_ai_keys, user_ai_keys
from wit.errors import Invalid, NotFound
from wit.runtime import Runtime

PREFIXES = {"openai": "sk-", "anthropic": "sk-ant-", "openrouter": "sk-or-", "coderabbit": ""}
"""Providers, and how their keys begin."""

MAX_LENGTH = 500
_HINTED = 8
"""A key that is shorter than this gets no hint, which would be half of it."""


@attrs.frozen
class Availability:
    """Whether there is a key to work with, and whose is taken first."""

    own: bool
    server: bool

    @property
    def available(self) -> bool:
        return self.own or self.server


class AiKeys:
    """The keys of one kind of owner: one for each provider. Rows have no key, only its hint."""

    def __init__(
        self, db: Database, runtime: Runtime, secrets: Secrets, table: Table, *, server_keys: bool
    ) -> None:
        """``server_keys``: whether the configuration has keys for everybody."""
        self._db = db
        self._runtime = runtime
        self._secrets = secrets
        self._server_keys = server_keys
        self._column = "user_id" if "user_id" in table.c else "repo_id"
        shown = [column for column in table.c if column is not table.c.encrypted_key]
        of_owner = table.c[self._column] == bindparam("owner")
        one = of_owner & (table.c.provider == bindparam("which"))
        self._all = select(*shown).where(of_owner).order_by(table.c.provider)
        self._one = select(*shown).where(one)
        self._any = select(exists().where(of_owner))
        self._delete = delete(table).where(one)
        new = insert(table)
        self._set = new.on_conflict_do_update(
            index_elements=[table.c[self._column], table.c.provider],
            set_={name: new.excluded[name] for name in ("encrypted_key", "key_hint", "updated_at")},
        )

    async def list(self, owner_id: str) -> list[Row]:
        """By provider."""
        return await self._db.fetch_all(self._all, owner=owner_id)

    async def set(self, owner_id: str, provider: str, key: str, **columns: Any) -> Row:
        """Keep ``key`` instead of what was there; ``columns`` for a new row. Raises Invalid,
        NotFound."""
        key = _check(provider, key)
        now = self._runtime.now()
        try:
            await self._db.execute(
                self._set,
                id=self._runtime.new_id(),
                provider=provider,
                encrypted_key=self._secrets.seal(key),
                key_hint=f"...{key[-4:] if len(key) > _HINTED else ''}",
                created_at=now,
                updated_at=now,
                **{self._column: owner_id},
                **columns,
            )
        except ForeignKeyViolation:
            raise NotFound("the owner of this key is gone") from None
        row = await self._db.fetch_one(self._one, owner=owner_id, which=provider)
        if row is None:
            raise NotFound("this key has been removed meanwhile")
        return row

    async def remove(self, owner_id: str, provider: str) -> None:
        """Raises NotFound."""
        if not await self._db.execute(self._delete, owner=owner_id, which=provider):
            raise NotFound(f"there is no {provider} key")

    async def has(self, owner_id: str) -> bool:
        return bool(await self._db.fetch_value(self._any, owner=owner_id))

    async def availability(self, owner_id: str) -> Availability:
        return Availability(own=await self.has(owner_id), server=self._server_keys)


def make_user_keys(
    db: Database, runtime: Runtime, secrets: Secrets, *, server_keys: bool
) -> AiKeys:
    return AiKeys(db, runtime, secrets, user_ai_keys, server_keys=server_keys)


def make_repo_keys(
    db: Database, runtime: Runtime, secrets: Secrets, *, server_keys: bool
) -> AiKeys:
    """:meth:`AiKeys.set` takes ``created_by_id``."""
    return AiKeys(db, runtime, secrets, repo_ai_keys, server_keys=server_keys)


def _check(provider: str, key: str) -> str:
    key = key.strip()
    if provider not in PREFIXES:
        raise Invalid(f"{provider[:40]!r} is not a provider; use {', '.join(PREFIXES)}")
    printable = key.isascii() and key.isprintable() and " " not in key
    if not 1 <= len(key) <= MAX_LENGTH or not printable:
        raise Invalid(f"an API key is 1 to {MAX_LENGTH} characters without spaces")
    if not key.startswith(PREFIXES[provider]):
        raise Invalid(f"a key of {provider} begins with {PREFIXES[provider]}")
    return key
