"""The SSH keys of users: who a key belongs to, adding, removing, listing."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, func, insert, select

from wit.accounts.last_use import LastUse
from wit.accounts.public_keys import fingerprint, parse_public_key
from wit.db.port import Database, Row, UniqueViolation
from wit.db.tables import ssh_keys, users
from wit.errors import Conflict, Invalid, NotFound
from wit.runtime import Runtime

_KEY = [column.label(f"key_{column.name}") for column in ssh_keys.c]
_BY_FINGERPRINT = (
    select(*users.c, *_KEY)
    .join_from(ssh_keys, users)
    .where(ssh_keys.c.fingerprint == bindparam("fingerprint"))
)
_OF_USER = (
    select(ssh_keys)
    .where(ssh_keys.c.user_id == bindparam("user"))
    .order_by(ssh_keys.c.created_at, ssh_keys.c.id)
)
_ONE = select(ssh_keys).where(
    ssh_keys.c.id == bindparam("id"), ssh_keys.c.user_id == bindparam("user")
)
_COUNT = select(func.count()).select_from(ssh_keys).where(ssh_keys.c.user_id == bindparam("user"))
_LOCK_USER = select(users.c.id).where(users.c.id == bindparam("user")).with_for_update()
_DELETE = delete(ssh_keys).where(
    ssh_keys.c.id == bindparam("id"), ssh_keys.c.user_id == bindparam("user")
)


class KeyManager:
    """A key belongs to one user, and decides who somebody is."""

    def __init__(
        self, db: Database, runtime: Runtime, last_use: LastUse, max_per_user: int = 50
    ) -> None:
        self._db = db
        self._runtime = runtime
        self._last_use = last_use
        self._max_per_user = max_per_user

    async def verify(self, blob: bytes) -> tuple[Row, Row] | None:
        """The user and the key that a key blob (RFC 4253, section 6.6) stands for, or None.

        This proves nothing yet: anybody can offer anybody's public key. Call :meth:`used` when
        the signature has been verified.
        """
        row = await self._db.fetch_one(_BY_FINGERPRINT, fingerprint=fingerprint(blob))
        if row is None:
            return None
        user = {column.name: row[column.name] for column in users.c}
        return user, {column.name: row[f"key_{column.name}"] for column in ssh_keys.c}

    def used(self, key_id: str) -> None:
        """Somebody signed in with this key now."""
        self._last_use.key(key_id)

    async def add(self, user_id: str, public_key: str, title: str | None = None) -> Row:
        """Add the key of one ``.pub`` line; without a title, its comment is the title.

        Raises Invalid; NotFound if there is no such user; Conflict when the key is known already
        (without telling whose it is) or the user has too many.
        """
        key = parse_public_key(public_key)
        title = (title or key.comment or key.type).strip()[: 100 if title is None else None]
        if not 1 <= len(title) <= 100 or not title.isprintable():
            raise Invalid("a key's title is one line of 1 to 100 characters")
        key_id = self._runtime.new_id()
        try:
            async with self._db.transaction() as tx:
                if await tx.fetch_value(_LOCK_USER, user=user_id) is None:
                    raise NotFound("user not found")
                if await tx.fetch_value(_COUNT, user=user_id) >= self._max_per_user:
                    raise Conflict(
                        f"a user has at most {self._max_per_user} SSH keys: "
                        "remove one that is not used"
                    )
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

    async def list(self, user_id: str) -> list[Row]:
        """The user's keys, oldest first."""
        return await self._db.fetch_all(_OF_USER, user=user_id)

    async def get(self, user_id: str, key_id: str) -> Row:
        """Raises NotFound, also for another user's key."""
        row = await self._db.fetch_one(_ONE, user=user_id, id=key_id)
        if row is None:
            raise NotFound("SSH key not found")
        return row

    async def remove(self, user_id: str, key_id: str) -> None:
        """Raises NotFound, also for another user's key."""
        if not await self._db.execute(_DELETE, user=user_id, id=key_id):
            raise NotFound("SSH key not found")
