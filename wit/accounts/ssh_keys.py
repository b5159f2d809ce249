"""The SSH keys of users: who a key belongs to, adding, removing, listing."""

from __future__ import annotations

from sqlalchemy import bindparam, insert, select, update

from wit.accounts.last_use import LastUse
from wit.accounts.owned import OwnedRows
from wit.accounts.public_keys import fingerprint, parse_public_key
from wit.db.port import Database, Row, UniqueViolation
from wit.db.tables import ssh_keys, users
from wit.errors import Conflict, Invalid
from wit.runtime import Runtime

MAX_TITLE = 100

_KEY = [column.label(f"key_{column.name}") for column in ssh_keys.c]
_BY_FINGERPRINT = (
    select(*users.c, *_KEY)
    .join_from(ssh_keys, users)
    .where(ssh_keys.c.fingerprint == bindparam("fingerprint"))
    .execution_options(quick=True)
)
_RENAME = (
    update(ssh_keys)
    .where(ssh_keys.c.id == bindparam("id"), ssh_keys.c.user_id == bindparam("user"))
    .values(title=bindparam("new_title"))
)


class KeyManager(OwnedRows):
    """A key belongs to one user, and decides who somebody is."""

    def __init__(
        self, db: Database, runtime: Runtime, last_use: LastUse, max_per_user: int = 50
    ) -> None:
        super().__init__(db, ssh_keys, list(ssh_keys.c), "SSH key", max_per_user)
        self._runtime = runtime
        self._last_use = last_use

    async def verify(self, blob: bytes) -> tuple[Row, Row] | None:
        """The user and the key that a key blob (RFC 4253, section 6.6) stands for, or None.

        This proves nothing yet: anybody can offer anybody's public key. Call :meth:`used` when
        the signature has been verified.
        """
        return await self.by_fingerprint(fingerprint(blob))

    async def by_fingerprint(self, text: str) -> tuple[Row, Row] | None:
        """The user and the key with the fingerprint ``text`` (``SHA256:...``), or None."""
        row = await self._db.fetch_one(_BY_FINGERPRINT, fingerprint=text)
        if row is None:
            return None
        user = {column.name: row[column.name] for column in users.c}
        return user, {column.name: row[f"key_{column.name}"] for column in ssh_keys.c}

    def used(self, key_id: str) -> None:
        """Somebody signed in with this key now."""
        self._last_use.key(key_id)

    async def add(self, user_id: str, public_key: str, title: str | None = None) -> Row:
        """Add the key of one ``.pub`` line; without a title, its comment is the title.

        Raises Invalid, also when the user has too many; NotFound if there is no such user;
        Conflict when the key is known already, without telling whose it is.
        """
        key = parse_public_key(public_key)
        title = _check_title(title if title is not None else (key.comment or key.type)[:MAX_TITLE])
        key_id = self._runtime.new_id()
        try:
            async with self._db.transaction() as tx:
                await self._check_room(tx, user_id)
                await tx.execute(
                    insert(ssh_keys),
                    id=key_id,
                    user_id=user_id,
                    title=title,
                    public_key=f"{key.text} {key.comment}".rstrip(),
                    fingerprint=key.fingerprint,
                    key_type=key.type,
                    created_at=self._runtime.now(),
                )
        except UniqueViolation:
            raise Conflict("this SSH key is in use already; each key belongs to one user") from None
        return await self.get(user_id, key_id)

    async def rename(self, user_id: str, key_id: str, title: str) -> Row:
        """Raises Invalid; NotFound, also for another user's key."""
        await self._db.execute(_RENAME, user=user_id, id=key_id, new_title=_check_title(title))
        return await self.get(user_id, key_id)


def _check_title(title: str) -> str:
    title = title.strip()
    if not 1 <= len(title) <= MAX_TITLE or not title.isprintable():
        raise Invalid(f"a key's title is one line of 1 to {MAX_TITLE} characters")
    return title
