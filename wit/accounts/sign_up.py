"""Making an account for oneself: who may, and what comes with it.

The setting ``accounts.sign_up`` decides. With ``first-user`` a fresh server makes the first one
its administrator; after that, as with ``invitation``, somebody must have been invited.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

import attrs
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from wit.accounts.passwords import Passwords
from wit.accounts.profiles import Profiles, check_profile
from wit.accounts.throttle import Throttle
from wit.accounts.tokens import secret_hash
from wit.accounts.users import (
    Users,
    check_email,
    insert_password,
    insert_user,
    random_text,
)
from wit.addresses import address_group
from wit.db.port import Connection, Database, Row, UniqueViolation
from wit.db.tables import invitations, system_settings, users
from wit.errors import Forbidden, Invalid, NotFound
from wit.git.names import check_new_owner
from wit.mail import messages
from wit.mail.messages import Message
from wit.mail.outbox import Outbox
from wit.runtime import Runtime

INVITATION_LIFETIME = timedelta(days=7)
INVITATION_LENGTH = 40

FIRST = "wit.first_user"
"""The row of ``system_settings`` that two first users, who sign up at once, have to pass."""

_LOCK_FIRST = upsert(system_settings).on_conflict_do_nothing()
_FIRST = select(system_settings.c.key).where(system_settings.c.key == FIRST).with_for_update()
_ADMINISTRATORS = select(func.count()).select_from(users).where(users.c.role != "user")
_OPEN = (invitations.c.accepted_at.is_(None)) & (invitations.c.expires_at > bindparam("now"))
_TO_SITE = _OPEN & (invitations.c.kind == "site") & (invitations.c.email == bindparam("email"))
"""Only administrators let people in: an invitation to a repository is for those who are."""
_BY_TOKEN = select(invitations).where(_TO_SITE, invitations.c.token_hash == bindparam("hash"))
_BY_SECRET = select(invitations.c.email).where(
    _OPEN, invitations.c.kind == "site", invitations.c.token_hash == bindparam("hash")
)
_BY_EMAIL = select(invitations).where(_TO_SITE).limit(1)
_BY_ID = (
    select(invitations, users.c.username)
    .join_from(invitations, users, users.c.id == invitations.c.invited_by)
    .where(_OPEN, invitations.c.id == bindparam("which"))
)
_ACCEPT = (
    update(invitations)
    .where(invitations.c.email == bindparam("whose"), invitations.c.kind == "site")
    .where(invitations.c.accepted_at.is_(None))
    .values(accepted_at=bindparam("now"))
)
_SET_TOKEN = (
    update(invitations)
    .where(invitations.c.id == bindparam("which"))
    .values(token_hash=bindparam("hash"))
)

MAIL = "site-invitation"
WELCOME = "welcome"


class SignUpClosed(Forbidden):
    """Not everybody may make an account here."""


@attrs.frozen
class NewAccount:
    """What somebody says who signs up; checked by :class:`SignUp`."""

    email: str
    name: str
    username: str = ""
    """Empty: one is made from the name."""
    profile: Mapping[str, str | None] = attrs.field(factory=dict)
    """Columns of :data:`wit.accounts.profiles.LIMITS` besides the name."""
    verified: bool = False
    """Whether the address is known to be theirs."""
    invitation: str = attrs.field(default="", repr=False)


Also = Callable[[Connection, str], Awaitable[object]]
"""More to do in the transaction that makes the user, with its id."""


class SignUp:
    def __init__(
        self,
        policy: str,
        db: Database,
        runtime: Runtime,
        *,
        users: Users,
        profiles: Profiles,
        passwords: Passwords,
        outbox: Outbox,
        site: str,
        attempts: Throttle,
    ) -> None:
        """``site`` is the public address; ``attempts`` counts sign-ups by address."""
        self._policy = policy
        self._db = db
        self._runtime = runtime
        self._users = users
        self._profiles = profiles
        self._passwords = passwords
        self._outbox = outbox
        self._site = site
        self._attempts = attempts
        outbox.register(MAIL, self._invitation_mail)
        outbox.register(WELCOME, self._welcome_mail)

    async def register(self, new: NewAccount, password: str, address: str) -> Row:
        """An account with a password, asked for from ``address``.

        Raises SignUpClosed, RateLimited, Invalid, EmailTaken, NameTaken.
        """
        self._attempts.count(f"sign-up {address_group(address)}")
        email = check_email(new.email)
        verified = await self._admitted(email, new)
        if new.username:
            check_new_owner(new.username)
        await self._check_free(new.username, email)
        stored = await self._passwords.hash(password)

        async def with_password(tx: Connection, user_id: str) -> None:
            await insert_password(tx, self._runtime, user_id, stored)

        return await self._create(attrs.evolve(new, email=email, verified=verified), with_password)

    async def register_linked(self, new: NewAccount, also: Also) -> Row:
        """An account that somebody else vouches for: ``also`` adds the link to them.

        Raises as :meth:`register` does.
        """
        email = check_email(new.email)
        await self._admitted(email, new)
        return await self._create(attrs.evolve(new, email=email), also)

    async def _admitted(self, email: str, new: NewAccount) -> bool:
        """Whether the address is known to be theirs. Raises SignUpClosed."""
        if new.invitation:
            found = await self._db.fetch_one(
                _BY_TOKEN, email=email, hash=secret_hash(new.invitation), now=self._runtime.now()
            )
            if found is not None and self._policy != "closed":
                return True  # the invitation came to that address
        if await self.open_to_all():
            return new.verified
        if self._policy != "closed" and new.verified:
            found = await self._db.fetch_one(_BY_EMAIL, email=email, now=self._runtime.now())
            if found is not None:
                return True
        raise self._closed()

    async def open_to_all(self) -> bool:
        """Whether somebody without an invitation may make an account."""
        if self._policy == "first-user":
            return not await self._db.fetch_value(_ADMINISTRATORS)
        return self._policy == "open"

    async def offered_to(self, invitation: str) -> str:
        """The address that an invitation's secret is for; empty if any address may sign up.

        Raises SignUpClosed.
        """
        if invitation and self._policy != "closed":
            hashed, now = secret_hash(invitation), self._runtime.now()
            if email := await self._db.fetch_value(_BY_SECRET, hash=hashed, now=now):
                return str(email)
        if not await self.open_to_all():
            raise self._closed(invitation)
        return ""

    def _closed(self, invitation: str = "") -> SignUpClosed:
        """``invitation`` is a secret that is no good."""
        if self._policy == "closed":
            return SignUpClosed(
                "this server does not take new accounts; ask its administrator for one"
            )
        if invitation:
            return SignUpClosed(
                "this invitation is wrong, too old, or was used before; ask for another"
            )
        return SignUpClosed(
            "you need an invitation to make an account here; ask the administrator for one"
        )

    async def _check_free(self, username: str, email: str) -> None:
        """Before the password is hashed, which costs more than all the rest."""
        if await self._users.email_taken(email) or (
            username and await self._users.name_taken(username)
        ):
            raise await self._users.taken(username, email)

    async def _create(self, new: NewAccount, also: Also) -> Row:
        username = new.username or await self.free_name(new.name)
        check_new_owner(username)
        profile = check_profile({"name": new.name.strip() or username, **new.profile})
        try:
            async with self._db.transaction() as tx:
                user_id = await insert_user(
                    tx,
                    self._runtime,
                    username,
                    new.email,
                    role=await self._role(tx),
                    name=str(profile["name"]),
                )
                await tx.execute(
                    update(users)
                    .where(users.c.id == user_id)
                    .values(**profile, email_verified=new.verified)
                )
                await also(tx, user_id)
                await tx.execute(_ACCEPT, whose=new.email, now=self._runtime.now())
                if self._outbox.reaches_people:
                    await self._outbox.post(WELCOME, {"user": user_id}, tx)
        except UniqueViolation:
            raise await self._users.taken(username, new.email) from None
        return await self._profiles.get(user_id)

    async def _role(self, tx: Connection) -> str:
        """``superadmin`` for the first user of a server that waits for one."""
        if self._policy != "first-user":
            return "user"
        now = self._runtime.now()
        await tx.execute(_LOCK_FIRST, key=FIRST, value=True, updated_at=now)
        await tx.fetch_value(_FIRST)
        return "user" if await tx.fetch_value(_ADMINISTRATORS) else "superadmin"

    async def name_free(self, username: str) -> bool:
        """Whether somebody could take this name."""
        try:
            check_new_owner(username)
        except Invalid:
            return False
        return not await self._users.name_taken(username)

    async def free_name(self, wish: str) -> str:
        """A user name like ``wish`` that nobody has."""
        base = re.sub(r"[^A-Za-z0-9_-]+", "-", wish).strip("-_")[:30] or "user"
        if len(base) < 3:
            base = f"{base}-user"
        for suffix in ("", *(f"-{n}" for n in range(2, 10))):
            if await self.name_free(base + suffix):
                return base + suffix
        return f"{base}-{random_text(self._runtime, 6).lower()}"

    # invitations

    async def invite(self, email: str, invited_by: str) -> None:
        """Send an invitation to the site. Raises Invalid, EmailTaken, RateLimited."""
        self._attempts.count(f"invitation {invited_by}")
        which = await self._invitation(email, invited_by)
        await self._outbox.post(MAIL, {"invitation": which})

    async def invitation_link(self, email: str, invited_by: str) -> str:
        """An invitation to hand over by other means. Raises Invalid, EmailTaken."""
        return await self._link(await self._invitation(email, invited_by))

    async def _invitation(self, email: str, invited_by: str) -> str:
        """Its id. Nobody has a secret that would open it yet."""
        email = check_email(email)
        await self._check_free("", email)
        now = self._runtime.now()
        which = self._runtime.new_id()
        await self._db.execute(
            insert(invitations),
            id=which,
            kind="site",
            email=email,
            token_hash=self._runtime.random_bytes(32).hex(),
            invited_by=invited_by,
            expires_at=now + INVITATION_LIFETIME,
            created_at=now,
        )
        return which

    async def _link(self, which: str) -> str:
        """The address with a new secret; older ones of the invitation are no good any more."""
        secret = random_text(self._runtime, INVITATION_LENGTH)
        await self._db.execute(_SET_TOKEN, which=which, hash=secret_hash(secret))
        return f"{self._site}/register?invitation={secret}"

    async def _invitation_mail(self, payload: Any) -> Message | None:
        which = payload["invitation"]
        row = await self._db.fetch_one(_BY_ID, which=which, now=self._runtime.now())
        if row is None:
            return None
        return messages.site_invitation(row["email"], row["username"], await self._link(which))

    async def _welcome_mail(self, payload: Any) -> Message | None:
        try:
            user = await self._profiles.get(payload["user"])
        except NotFound:
            return None
        return messages.welcome(user["email"], user["display_username"], self._site)
