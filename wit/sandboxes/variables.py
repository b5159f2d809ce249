"""Environment variables of a repository's sandboxes.

All values are sealed in the database. The value of one that is secret is never shown again: it
reaches the commands in the repository's own sandboxes, and nothing else.
"""

from __future__ import annotations

import re
from datetime import datetime

import attrs
from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from wit.accounts.secrets import Secrets
from wit.db.port import Database, ForeignKeyViolation
from wit.db.tables import repo_sandbox_variables, repositories
from wit.errors import Invalid, NotFound
from wit.runtime import Runtime

MAX_VARIABLES = 64
MAX_BYTES = 16 * 1024
"""Of one value, as UTF-8. All together are less than execve(2) takes."""

RESERVED = "WIT_"
"""What these names begin with is wit's own."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")

_ALL = (
    select(repo_sandbox_variables)
    .where(repo_sandbox_variables.c.repo_id == bindparam("repo"))
    .order_by(repo_sandbox_variables.c.name)
)
_OTHERS = (
    select(func.count())
    .select_from(repo_sandbox_variables)
    .where(
        repo_sandbox_variables.c.repo_id == bindparam("repo"),
        repo_sandbox_variables.c.name != bindparam("name"),
    )
)
_LOCK = select(repositories.c.id).where(repositories.c.id == bindparam("repo")).with_for_update()
_DELETE = delete(repo_sandbox_variables).where(
    repo_sandbox_variables.c.repo_id == bindparam("repo"),
    repo_sandbox_variables.c.name == bindparam("name"),
)
_new = insert(repo_sandbox_variables)
_SET = _new.on_conflict_do_update(
    index_elements=[repo_sandbox_variables.c.repo_id, repo_sandbox_variables.c.name],
    set_={name: _new.excluded[name] for name in ("sealed_value", "secret", "updated_at")},
)


@attrs.frozen
class Variable:
    name: str
    value: str | None
    """None if it is secret."""
    secret: bool
    updated_at: datetime


class Variables:
    def __init__(self, db: Database, runtime: Runtime, secrets: Secrets) -> None:
        self._db = db
        self._runtime = runtime
        self._secrets = secrets

    async def list(self, repo_id: str) -> list[Variable]:
        """By name; there are at most MAX_VARIABLES. Raises CannotOpen."""
        return [
            Variable(
                name=row["name"],
                value=None if row["secret"] else self._secrets.open(row["sealed_value"]),
                secret=row["secret"],
                updated_at=row["updated_at"],
            )
            for row in await self._db.fetch_all(_ALL, repo=repo_id)
        ]

    async def set(self, repo_id: str, name: str, value: str, *, secret: bool, user_id: str) -> None:
        """Make or change one. Raises Invalid, NotFound."""
        if not _NAME.fullmatch(name) or name.upper().startswith(RESERVED):
            raise Invalid(
                "a variable's name has letters, digits and _, at most 128 of them, does not begin "
                f"with a digit and not with {RESERVED}"
            )
        if "\0" in value or len(_encoded(value)) > MAX_BYTES:
            raise Invalid(f"a value has at most {MAX_BYTES} bytes, and no NUL among them")
        now = self._runtime.now()
        try:
            async with self._db.transaction() as tx:
                if await tx.fetch_value(_LOCK, repo=repo_id) is None:
                    raise NotFound("repository not found")
                if await tx.fetch_value(_OTHERS, repo=repo_id, name=name) >= MAX_VARIABLES:
                    raise Invalid(f"a repository has at most {MAX_VARIABLES} variables")
                await tx.execute(
                    _SET,
                    id=self._runtime.new_id(),
                    repo_id=repo_id,
                    name=name,
                    sealed_value=self._secrets.seal(value),
                    secret=secret,
                    created_by_id=user_id,
                    created_at=now,
                    updated_at=now,
                )
        except ForeignKeyViolation:
            raise NotFound("repository not found") from None

    async def delete(self, repo_id: str, name: str) -> None:
        """Raises NotFound."""
        if not await self._db.execute(_DELETE, repo=repo_id, name=name):
            raise NotFound(f"there is no variable {name[:128]!r}")

    async def environment(self, repo_id: str) -> dict[str, str]:
        """All of them, for commands in the repository's sandboxes. Raises CannotOpen."""
        return {
            row["name"]: self._secrets.open(row["sealed_value"])
            for row in await self._db.fetch_all(_ALL, repo=repo_id)
        }


def _encoded(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise Invalid("a value is text in UTF-8") from None
