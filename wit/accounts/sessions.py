"""Sessions: what a browser or a command line keeps after signing in (contract, auth.md).

The bearer secret is seen once, by who signs in; the table has its SHA-256. So a list of sessions
shows each by its id, and a session is revoked by that (or by its secret, if one has it).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import attrs
from sqlalchemy import bindparam, delete, insert, or_, select, update

from wit.accounts.tokens import secret_hash
from wit.accounts.users import random_id
from wit.db.port import Database, Row
from wit.db.tables import login_attempts, sessions, two_factor, users, verifications
from wit.runtime import Runtime

LIFETIME = timedelta(days=30)
"""Of a session that is to be remembered, from its last refresh."""

UNREMEMBERED = timedelta(days=1)
"""Of one that ends with the browser, which only the browser knows of."""

REFRESH_AFTER = timedelta(days=1)

MAX_PER_USER = 100
"""A user's oldest sessions beyond these end when another one begins."""

ATTEMPTS_KEPT = timedelta(days=30)

_COLUMNS: Sequence[str] = tuple(c.name for c in sessions.c if c.name not in ("token_hash",))
_FIND = (
    select(
        users,
        two_factor.c.enabled.label("two_factor_enabled"),
        *(sessions.c[name].label(f"session_{name}") for name in _COLUMNS),
    )
    .join_from(sessions, users)
    .join(two_factor, two_factor.c.user_id == users.c.id, isouter=True)
    .where(sessions.c.token_hash == bindparam("hash"))
    .execution_options(quick=True)
)
_REFRESH = (
    update(sessions)
    .where(sessions.c.id == bindparam("which"))
    .values(expires_at=bindparam("until"), updated_at=bindparam("now"))
)
_OF_USER = sessions.c.user_id == bindparam("who")
_LIST = (
    select(*(sessions.c[name] for name in _COLUMNS))
    .where(_OF_USER, sessions.c.expires_at > bindparam("now"))
    .order_by(sessions.c.created_at.desc(), sessions.c.id)
    .limit(MAX_PER_USER)
)
_REVOKE = delete(sessions).where(
    _OF_USER, or_(sessions.c.id == bindparam("handle"), sessions.c.token_hash == bindparam("hash"))
)
_REVOKE_ALL = delete(sessions).where(_OF_USER, sessions.c.id != bindparam("kept"))
_surplus = (
    select(sessions.c.id)
    .where(_OF_USER)
    .order_by(sessions.c.created_at.desc(), sessions.c.id)
    .offset(MAX_PER_USER)
)
_END_SURPLUS = delete(sessions).where(sessions.c.id.in_(_surplus))
_SWEEPS = (
    delete(sessions).where(sessions.c.expires_at <= bindparam("now")),
    delete(verifications).where(verifications.c.expires_at <= bindparam("now")),
)
_SWEEP_ATTEMPTS = delete(login_attempts).where(login_attempts.c.created_at < bindparam("before"))


@attrs.frozen
class Device:
    """Where somebody signs in from."""

    address: str = ""
    user_agent: str = ""


@attrs.frozen
class Session:
    """A session that is good, with its user."""

    id: str
    token: str = attrs.field(repr=False)
    """The bearer secret."""
    user: Row
    """The row of ``user``, with ``two_factor_enabled``."""
    expires_at: datetime
    created_at: datetime
    updated_at: datetime
    ip_address: str | None
    user_agent: str | None
    remember: bool

    @property
    def user_id(self) -> str:
        return str(self.user["id"])


class Sessions:
    """Each look at a session reads its user anew, so that a suspension counts at once."""

    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime

    async def create(self, user_id: str, device: Device, *, remember: bool = True) -> Session:
        """Begin a session of a user who is not suspended."""
        now = self._runtime.now()
        token = random_id(self._runtime)
        async with self._db.transaction() as tx:
            await tx.execute(
                insert(sessions),
                id=random_id(self._runtime),
                token_hash=secret_hash(token),
                user_id=user_id,
                expires_at=now + (LIFETIME if remember else UNREMEMBERED),
                created_at=now,
                updated_at=now,
                ip_address=device.address,
                user_agent=device.user_agent[:500],
                remember=remember,
            )
            await tx.execute(_END_SURPLUS, who=user_id)
        session = await self.find(token)
        assert session is not None, "the caller has looked at the suspension"
        return session

    async def find(self, token: str) -> Session | None:
        """The session with this secret; None if it is over or its user is suspended."""
        row = await self._db.fetch_one(_FIND, hash=secret_hash(token))
        if row is None or row["suspended"] or row["session_expires_at"] <= self._runtime.now():
            return None
        user = {name: value for name, value in row.items() if not name.startswith("session_")}
        return Session(
            id=row["session_id"],
            token=token,
            user=user,
            expires_at=row["session_expires_at"],
            created_at=row["session_created_at"],
            updated_at=row["session_updated_at"],
            ip_address=row["session_ip_address"],
            user_agent=row["session_user_agent"],
            remember=row["session_remember"],
        )

    async def refresh(self, session: Session) -> Session | None:
        """The session with a new expiry, if it is one to remember and a day has passed.

        None: it does not need one yet.
        """
        now = self._runtime.now()
        if not session.remember or session.expires_at > now + LIFETIME - REFRESH_AFTER:
            return None
        until = now + LIFETIME
        await self._db.execute(_REFRESH, which=session.id, until=until, now=now)
        return attrs.evolve(session, expires_at=until, updated_at=now)

    async def renew(self, session: Session, device: Device) -> Session:
        """A new session instead of ``session``: after a change of what signing in takes."""
        new = await self.create(session.user_id, device, remember=session.remember)
        await self.revoke(session.user_id, session.id)
        return new

    async def list(self, user_id: str) -> list[Row]:
        """Those that are good, newest first, without their secrets."""
        return await self._db.fetch_all(_LIST, who=user_id, now=self._runtime.now())

    async def revoke(self, user_id: str, handle: str) -> bool:
        """End one of the user's sessions, by its id or its secret; false if there is none."""
        return bool(
            await self._db.execute(_REVOKE, who=user_id, handle=handle, hash=secret_hash(handle))
        )

    async def revoke_all(self, user_id: str, *, keep: str = "") -> int:
        """End all of the user's sessions but the one with the id ``keep``."""
        return await self._db.execute(_REVOKE_ALL, who=user_id, kept=keep)

    async def sweep(self) -> None:
        """Delete what has expired: sessions, links of mails; and old notes of sign-ins."""
        now = self._runtime.now()
        for statement in _SWEEPS:
            await self._db.execute(statement, now=now)
        await self._db.execute(_SWEEP_ATTEMPTS, before=now - ATTEMPTS_KEPT)
