"""Keys of hosted providers that repositories bring along: sealed, and never shown again."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from wit.accounts.secrets import Secrets
from wit.db.port import Database, ForeignKeyViolation, Row
from wit.db.tables import repo_sandbox_keys
from wit.errors import Invalid, NotFound
from wit.runtime import Runtime

PREFIXES = {"e2b": "e2b_", "daytona": "", "vercel": ""}
"""Providers that take a key, and how their keys begin."""

MAX_LENGTH = 500
_HINTED = 8
"""A key that is shorter than this gets no hint, which would be half of it."""

_ONE = select(repo_sandbox_keys).where(
    repo_sandbox_keys.c.repo_id == bindparam("repo"),
    repo_sandbox_keys.c.provider == bindparam("which"),
)
_PROVIDERS = select(repo_sandbox_keys.c.provider).where(
    repo_sandbox_keys.c.repo_id == bindparam("repo")
)
_DELETE = delete(repo_sandbox_keys).where(
    repo_sandbox_keys.c.repo_id == bindparam("repo"),
    repo_sandbox_keys.c.provider == bindparam("which"),
)
_new = insert(repo_sandbox_keys)
_SET = _new.on_conflict_do_update(
    index_elements=[repo_sandbox_keys.c.repo_id, repo_sandbox_keys.c.provider],
    set_={name: _new.excluded[name] for name in ("encrypted_key", "key_hint", "updated_at")},
)


class Keys:
    """One key for each repository and provider."""

    def __init__(self, db: Database, runtime: Runtime, secrets: Secrets) -> None:
        self._db = db
        self._runtime = runtime
        self._secrets = secrets

    async def set(self, repo_id: str, provider: str, key: str, user_id: str) -> str:
        """Keep ``key`` instead of what was there; returns its hint. Raises Invalid, NotFound."""
        key = _check(provider, key)
        hint = f"...{key[-4:] if len(key) > _HINTED else ''}"
        now = self._runtime.now()
        try:
            await self._db.execute(
                _SET,
                id=self._runtime.new_id(),
                repo_id=repo_id,
                provider=provider,
                encrypted_key=self._secrets.seal(key),
                key_hint=hint,
                created_by_id=user_id,
                created_at=now,
                updated_at=now,
            )
        except ForeignKeyViolation:
            raise NotFound("repository not found") from None
        return hint

    async def delete(self, repo_id: str, provider: str) -> None:
        """Raises NotFound."""
        if not await self._db.execute(_DELETE, repo=repo_id, which=provider):
            raise NotFound(f"there is no {provider[:40]} key")

    async def hint(self, repo_id: str, provider: str) -> str | None:
        """The end of the key, for people to recognise it; None without a key."""
        row = await self._find(repo_id, provider)
        return None if row is None else row["key_hint"]

    async def providers(self, repo_id: str) -> frozenset[str]:
        """Those that the repository has a key of."""
        rows = await self._db.fetch_all(_PROVIDERS, repo=repo_id)
        return frozenset(row["provider"] for row in rows)

    async def sealed(self, repo_id: str, provider: str) -> str | None:
        """The key as it is stored; :meth:`open` makes it readable. For sandboxes' rows."""
        row = await self._find(repo_id, provider)
        return None if row is None else row["encrypted_key"]

    def open(self, sealed: str) -> str:
        """Raises CannotOpen."""
        return self._secrets.open(sealed)

    async def _find(self, repo_id: str, provider: str) -> Row | None:
        return await self._db.fetch_one(_ONE, repo=repo_id, which=provider)


def _check(provider: str, key: str) -> str:
    key = key.strip()
    if provider not in PREFIXES:
        raise Invalid(f"{provider[:40]!r} takes no key; {', '.join(PREFIXES)} do")
    printable = key.isascii() and key.isprintable() and " " not in key
    if not 1 <= len(key) <= MAX_LENGTH or not printable:
        raise Invalid(f"an API key is 1 to {MAX_LENGTH} characters without spaces")
    if not key.startswith(PREFIXES[provider]):
        raise Invalid(f"a key of {provider} begins with {PREFIXES[provider]}")
    return key
