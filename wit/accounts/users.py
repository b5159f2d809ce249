"""Users: making, finding, suspending and removing them."""

from __future__ import annotations

import re
import string

from sqlalchemy import bindparam, delete, exists, func, insert, or_, select, update

from wit.accounts import roles
from wit.accounts.audit import COMMAND_LINE, AuditLog, Change
from wit.accounts.passwords import Passwords
from wit.accounts.roles import check_role, lock_user
from wit.db.port import Connection, Database, Row, UniqueViolation
from wit.db.tables import (
    account_credentials,
    namespaces,
    oauth_apps,
    org_members,
    organizations,
    repositories,
    users,
)
from wit.errors import Conflict, Invalid, NotFound
from wit.git.names import check_new_owner
from wit.runtime import Runtime

_ALPHANUMERIC = (string.ascii_letters + string.digits).encode()
_PART = r"[^\s@<>()\[\],;:\"\\/\x00-\x1f\x7f]+"
_EMAIL = re.compile(f"{_PART}@{_PART}")
_EMAIL_LENGTH = 254  # RFC 5321, section 4.5.3.1.3, without the angle brackets
_NAME_LENGTH = 200

_BY_ID = select(users).where(users.c.id == bindparam("id")).execution_options(quick=True)
_BY_USERNAME = select(users).where(users.c.username == bindparam("username"))
_PAGE = (
    select(users)
    .where(users.c.username > bindparam("after"))
    .order_by(users.c.username)
    .limit(bindparam("limit"))
)
_COUNT = select(func.count()).select_from(users)
_TAKEN = select(users.c.username, users.c.email).where(
    or_(users.c.username == bindparam("username"), users.c.email == bindparam("email"))
)
_EMAIL_TAKEN = select(users.c.id).where(users.c.email == bindparam("email"))
_NAMESPACE = select(namespaces.c.name).where(namespaces.c.name_key == bindparam("key"))
_LOCK_NAMESPACE = (
    select(namespaces.c.name_key).where(namespaces.c.owner_id == bindparam("id")).with_for_update()
)
_OWNS_REPOSITORY = (
    select(repositories.c.id).where(repositories.c.owner_id == bindparam("id")).limit(1)
)
_others = org_members.alias("others")
_LAST_OWNER_OF = (
    select(organizations.c.name)
    .join_from(organizations, org_members)
    .where(org_members.c.user_id == bindparam("id"), org_members.c.role == "owner")
    .where(
        ~exists()
        .where(_others.c.org_id == organizations.c.id)
        .where(_others.c.role == "owner", _others.c.user_id != bindparam("id"))
    )
    .limit(1)
)
_DELETE_NAMESPACE = delete(namespaces).where(namespaces.c.owner_id == bindparam("who"))
_DELETE = delete(users).where(users.c.id == bindparam("who"))
_DELETE_APPS = delete(oauth_apps).where(oauth_apps.c.owner_id == bindparam("who"))
_SET_PASSWORD = (
    update(account_credentials)
    .where(account_credentials.c.user_id == bindparam("who"))
    .where(account_credentials.c.provider_id == "credential")
    .values(password=bindparam("hash"), updated_at=bindparam("now"))
)


def random_text(runtime: Runtime, length: int) -> str:
    """So many random characters of [A-Za-z0-9], with almost 6 bits each."""
    text = bytearray()
    while len(text) < length:
        for byte in runtime.random_bytes(48):
            if byte < 4 * len(_ALPHANUMERIC):  # the rest would make some characters more likely
                text.append(_ALPHANUMERIC[byte % len(_ALPHANUMERIC)])
    return text[:length].decode()


def random_id(runtime: Runtime) -> str:
    """32 random characters, the form of user, session and account ids."""
    return random_text(runtime, 32)


def check_email(email: str) -> str:
    """``email`` as it is stored: trimmed, in lower case. Raises Invalid."""
    email = email.strip().lower()
    if len(email) > _EMAIL_LENGTH or not _EMAIL.fullmatch(email):
        raise Invalid(f"{email[:80]!r} is not an e-mail address")
    return email


async def insert_user(
    tx: Connection,
    runtime: Runtime,
    username: str,
    email: str,
    *,
    role: str,
    name: str,
    verified: bool = False,
) -> str:
    """The rows of a new user, all but its credentials; returns its id.

    The arguments have been checked. Raises UniqueViolation.
    """
    user_id = random_id(runtime)
    now = runtime.now()
    await tx.execute(
        insert(users),
        id=user_id,
        name=name,
        email=email,
        email_verified=verified,
        username=username.lower(),
        display_username=username,
        role=role,
        created_at=now,
        updated_at=now,
    )
    await tx.execute(
        insert(namespaces),
        name_key=username.lower(),
        name=username,
        owner_type="user",
        owner_id=user_id,
    )
    return user_id


async def insert_password(tx: Connection, runtime: Runtime, user_id: str, stored: str) -> None:
    """The row that holds the hash ``stored`` of a user who has no password yet."""
    now = runtime.now()
    await tx.execute(
        insert(account_credentials),
        id=random_id(runtime),
        account_id=user_id,
        provider_id="credential",
        user_id=user_id,
        password=stored,
        created_at=now,
        updated_at=now,
    )


class EmailTaken(Conflict):
    """Another account has this e-mail address."""


class NameTaken(Conflict):
    """Another account or organization has this name."""


class Users:
    """The accounts of people (and of programs that act like people).

    What changes somebody's rights here is the wish of whoever runs the server, and is noted in the
    audit log as such; administrators have :mod:`wit.accounts.administration`.
    """

    def __init__(self, db: Database, runtime: Runtime, passwords: Passwords) -> None:
        self._db = db
        self._runtime = runtime
        self._passwords = passwords
        self._audit = AuditLog(db, runtime)

    async def create(
        self,
        username: str,
        email: str,
        password: str | None = None,
        role: str = "user",
        name: str | None = None,
        *,
        verified: bool = False,
    ) -> Row:
        """A new user; without a password it signs in with tokens and keys only.

        ``verified``: the address is known to be theirs. Raises Invalid; Conflict, naming which of
        user name and e-mail is taken.
        """
        check_new_owner(username)
        email = check_email(email)
        check_role(role)
        name = _check_text("name", username if name is None else name, _NAME_LENGTH)
        stored = None if password is None else await self._passwords.hash(password)
        try:
            async with self._db.transaction() as tx:
                user_id = await insert_user(
                    tx, self._runtime, username, email, role=role, name=name, verified=verified
                )
                if stored is not None:
                    await insert_password(tx, self._runtime, user_id, stored)
        except UniqueViolation:
            raise await self.taken(username, email) from None
        return await self.get(user_id)

    async def _note(
        self, tx: Connection, action: str, user_id: str, description: str, **metadata: str
    ) -> None:
        change = Change(action, "user", user_id, description, metadata)
        await self._audit.append(tx, COMMAND_LINE, change)

    async def name_taken(self, username: str) -> bool:
        """Whether a user or an organization has this name."""
        return await self._db.fetch_value(_NAMESPACE, key=username.lower()) is not None

    async def email_taken(self, email: str) -> bool:
        return await self._db.fetch_value(_EMAIL_TAKEN, email=email.lower()) is not None

    async def taken(self, username: str, email: str) -> Conflict:
        """Which of the two made the database refuse a user."""
        rows = await self._db.fetch_all(_TAKEN, username=username.lower(), email=email)
        name_taken = await self.name_taken(username)
        email_taken = any(row["email"] == email for row in rows)
        if name_taken and email_taken:
            return EmailTaken(f"the name {username!r} and the e-mail address {email!r} are taken")
        if email_taken:
            return EmailTaken(f"the e-mail address {email!r} is taken")
        return NameTaken(f"the name {username!r} is taken")

    async def get(self, user_id: str) -> Row:
        """Raises NotFound."""
        row = await self._db.fetch_one(_BY_ID, id=user_id)
        if row is None:
            raise NotFound("user not found")
        return row

    async def by_username(self, username: str) -> Row:
        """The user of that name, in any case. Raises NotFound."""
        row = await self._db.fetch_one(_BY_USERNAME, username=username.lower())
        if row is None:
            raise NotFound(f"there is no user {username[:40]!r}")
        return row

    async def list(self, after: str = "", limit: int = 100) -> list[Row]:
        """Users by name, at most ``limit`` of those after the user name ``after``."""
        return await self._db.fetch_all(_PAGE, after=after.lower(), limit=limit)

    async def count(self) -> int:
        return int(await self._db.fetch_value(_COUNT))

    async def set_password(self, user_id: str, password: str) -> None:
        """Raises Invalid, NotFound, RateLimited."""
        stored = await self._passwords.hash(password)
        async with self._db.transaction() as tx:
            await self.store_password(tx, user_id, stored)

    async def store_password(self, tx: Connection, user_id: str, stored: str) -> None:
        """As :meth:`set_password`, with the hash. Raises NotFound."""
        await lock_user(tx, user_id)
        now = self._runtime.now()
        if not await tx.execute(_SET_PASSWORD, who=user_id, hash=stored, now=now):
            await insert_password(tx, self._runtime, user_id, stored)

    async def reset_password(self, user_id: str, password: str) -> None:
        """Another password for who has lost the old one, or had it stolen: all sessions end.

        Raises Invalid, NotFound, RateLimited.
        """
        stored = await self._passwords.hash(password)
        async with self._db.transaction() as tx:
            await self.store_password(tx, user_id, stored)
            await roles.end_sessions(tx, user_id)
            await self._note(tx, "user.password_reset", user_id, "Set another password")

    async def set_role(self, user_id: str, role: str) -> None:
        """Raises Invalid, also for the last superadmin; NotFound."""
        async with self._db.transaction() as tx:
            before = await roles.set_role(tx, self._runtime, user_id, role)
            await self._note(
                tx,
                "user.role_changed",
                user_id,
                f"Changed the role of {before['username']} from {before['role']} to {role}",
                oldRole=before["role"],
                newRole=role,
            )

    async def suspend(self, user_id: str, reason: str) -> None:
        """Lock the user out, whatever the credential; ``reason`` is shown.

        Raises Invalid, also for the last superadmin; NotFound.
        """
        async with self._db.transaction() as tx:
            user = await roles.suspend(tx, self._runtime, user_id, reason)
            text = f"Suspended {user['username']}"
            await self._note(tx, "user.suspended", user_id, text, reason=reason.strip())

    async def resume(self, user_id: str) -> None:
        """End a suspension. Raises NotFound."""
        async with self._db.transaction() as tx:
            user = await roles.resume(tx, self._runtime, user_id)
            text = f"Ended the suspension of {user['username']}"
            await self._note(tx, "user.unsuspended", user_id, text)

    async def delete(self, user_id: str) -> None:
        """Remove the user with its credentials, memberships and OAuth apps.

        Raises NotFound; Invalid for the last superadmin; Conflict while it owns a repository or is
        an organization's last owner.
        """
        async with self._db.transaction() as tx:
            await roles.keep_one(tx, user_id)
            name = await tx.fetch_value(_LOCK_NAMESPACE, id=user_id)
            if name is None:
                raise NotFound("user not found")
            if await tx.fetch_value(_OWNS_REPOSITORY, id=user_id) is not None:
                raise Conflict("this user still owns repositories: transfer or delete them first")
            organization = await tx.fetch_value(_LAST_OWNER_OF, id=user_id)
            if organization is not None:
                raise Conflict(f"this user is the last owner of the organization {organization}")
            await tx.execute(_DELETE_NAMESPACE, who=user_id)
            await tx.execute(_DELETE_APPS, who=user_id)
            await tx.execute(_DELETE, who=user_id)
            await self._note(tx, "user.deleted", user_id, f"Removed {name}", username=name)


def _check_text(what: str, text: str, limit: int) -> str:
    """``text`` trimmed: one line of 1 to ``limit`` characters. Raises Invalid."""
    text = text.strip()
    if not 1 <= len(text) <= limit or not text.isprintable():
        raise Invalid(f"the {what} must be one line of 1 to {limit} characters")
    return text
