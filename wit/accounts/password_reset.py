"""Setting a new password with a link that came by mail, or with the old one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from wit.accounts.credentials import Credentials
from wit.accounts.one_time import OneTimeSecrets
from wit.accounts.passwords import Passwords, password_bytes
from wit.accounts.profiles import Profiles
from wit.accounts.sessions import Sessions
from wit.accounts.throttle import Throttle
from wit.accounts.trusted_devices import TrustedDevices
from wit.accounts.users import Users
from wit.addresses import address_group
from wit.db.port import Database
from wit.errors import Invalid, RateLimited
from wit.mail import messages
from wit.mail.messages import Message
from wit.mail.outbox import Outbox

KIND = "reset-password"
LIFETIME = timedelta(hours=1)

_BAD_LINK = "this link is wrong, too old, or was used before; ask for another"


class InvalidLink(Invalid):
    """The link is wrong, too old, or was used before."""


class PasswordReset:
    def __init__(
        self,
        *,
        db: Database,
        passwords: Passwords,
        users: Users,
        profiles: Profiles,
        credentials: Credentials,
        sessions: Sessions,
        trusted: TrustedDevices,
        one_time: OneTimeSecrets,
        outbox: Outbox,
        base: str,
        attempts: Throttle,
        mails: Throttle,
    ) -> None:
        """``base``: address of the auth door; ``attempts`` counts requests by address, ``mails``
        mails by recipient."""
        self._db = db
        self._passwords = passwords
        self._users = users
        self._profiles = profiles
        self._credentials = credentials
        self._sessions = sessions
        self._trusted = trusted
        self._one_time = one_time
        self._outbox = outbox
        self._base = base
        self._attempts = attempts
        self._mails = mails
        outbox.register(KIND, self._mail)

    async def request(self, email: str, return_to: str, address: str) -> None:
        """Send a link to ``email`` if somebody has that address.

        Whether somebody has is only looked at when the mail is written, so that neither the
        answer nor its time gives it away. Raises RateLimited for too many from ``address``.
        """
        self._attempts.count(f"mail {address_group(address)}")
        try:
            self._mails.count(f"{KIND} {email.lower()}")
        except RateLimited:
            return
        await self._outbox.post(KIND, {"email": email.lower(), "return_to": return_to})

    async def _mail(self, payload: Any) -> Message | None:
        user = await self._profiles.by_email(payload["email"])
        if user is None or user["suspended"]:
            return None
        token = await self._one_time.create(KIND, user["id"], LIFETIME)
        query = urlencode({"callbackURL": payload["return_to"]})
        link = f"{self._base}/reset-password/{token}?{query}"
        return messages.password_reset(user["email"], user["name"], link)

    async def good(self, token: str) -> bool:
        """Whether :meth:`reset` would take the token."""
        return await self._one_time.look(KIND, token) is not None

    async def reset(self, token: str, password: str) -> None:
        """Set the password; all sessions and all other links end. Raises InvalidLink, Invalid."""
        if not await self.good(token):
            raise InvalidLink(_BAD_LINK)
        stored = await self._passwords.hash(password)  # what may fail, before the link is used up
        async with self._db.transaction() as tx:
            user_id = await self._one_time.take(KIND, token, tx)
            if user_id is None:
                raise InvalidLink(_BAD_LINK)
            await self._users.store_password(tx, user_id, stored)
        await self._one_time.forget(KIND, user_id)
        await self._trusted.forget(user_id)
        await self._sessions.revoke_all(user_id)

    async def change(self, user_id: str, old: str, new: str, address: str) -> None:
        """With the old password. Raises Unauthorized, Invalid, RateLimited."""
        password_bytes(new)
        await self._credentials.password(user_id, old, address, "id")
        await self._users.set_password(user_id, new)
        await self._one_time.forget(KIND, user_id)
