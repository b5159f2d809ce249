"""Proving that an e-mail address is one's own."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import attrs
from sqlalchemy import bindparam, update

from wit.accounts.email_links import BadLink, EmailLinks, Link
from wit.accounts.profiles import Profiles
from wit.accounts.throttle import Throttle
from wit.addresses import address_group
from wit.db.port import Database, Row
from wit.db.tables import users
from wit.errors import RateLimited
from wit.mail import messages
from wit.mail.messages import Message
from wit.mail.outbox import Outbox
from wit.runtime import Runtime

KIND = "verify-email"

_VERIFY = (
    update(users)
    .where(users.c.id == bindparam("who"), users.c.email == bindparam("address"))
    .where(users.c.email_verified.is_(False))
    .values(email_verified=True, updated_at=bindparam("now"))
)


@attrs.frozen
class Verified:
    """Whose address it is; ``new``: whether that was not known before."""

    user: Row
    new: bool


class EmailVerification:
    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        *,
        profiles: Profiles,
        links: EmailLinks,
        outbox: Outbox,
        base: str,
        attempts: Throttle,
        mails: Throttle,
    ) -> None:
        """``base``: address of the auth door; ``attempts`` counts requests by address, ``mails``
        mails by recipient."""
        self._db = db
        self._runtime = runtime
        self._profiles = profiles
        self._links = links
        self._outbox = outbox
        self._base = base
        self._attempts = attempts
        self._mails = mails
        outbox.register(KIND, self._mail)

    async def request(self, email: str, return_to: str, address: str) -> None:
        """Send a link to ``email`` if somebody has that address and has not proved it.

        As with a password, nobody learns whether. Raises RateLimited for too many from
        ``address``.
        """
        self._attempts.count(f"mail {address_group(address)}")
        await self.send(email, return_to)

    async def send(self, email: str, return_to: str) -> None:
        """As :meth:`request`, when we want it ourselves."""
        try:
            self._mails.count(f"{KIND} {email.lower()}")
        except RateLimited:
            return
        await self._outbox.post(KIND, {"email": email.lower(), "return_to": return_to})

    async def _mail(self, payload: Any) -> Message | None:
        user = await self._profiles.by_email(payload["email"])
        if user is None or user["suspended"] or user["email_verified"]:
            return None
        query = urlencode({"token": self.token(user), "callbackURL": payload["return_to"] or "/"})
        link = f"{self._base}/verify-email?{query}"
        return messages.verification(user["email"], user["name"], link)

    def token(self, user: Row) -> str:
        return self._links.token(Link(user["id"], user["email"]))

    async def verify(self, link: Link) -> Verified:
        """Take a link. Raises BadLink."""
        user = await self._profiles.by_email(link.email)
        if user is None or user["id"] != link.user_id:
            raise BadLink("user_not_found")
        new = await self._db.execute(
            _VERIFY, who=user["id"], address=link.email, now=self._runtime.now()
        )
        return Verified({**user, "email_verified": True}, bool(new))
