"""Another e-mail address for an account, when its owner has shown to read the mail of both.

Who has proved the old address confirms the change there first: a session that somebody else got
hold of is not enough to take the account away. The address changes when the link that was sent to
the new one is opened; then the old one is nobody's here, and is told.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from sqlalchemy import bindparam, update

from wit.accounts import password_reset
from wit.accounts.email_links import BadLink, EmailLinks, Link
from wit.accounts.one_time import OneTimeSecrets
from wit.accounts.profiles import Profiles
from wit.accounts.throttle import Throttle
from wit.accounts.users import EmailTaken, check_email
from wit.addresses import address_group
from wit.db.port import Database, Row, UniqueViolation
from wit.db.tables import users
from wit.errors import Conflict, NotFound, RateLimited
from wit.mail import messages
from wit.mail.messages import Message
from wit.mail.outbox import Outbox
from wit.runtime import Runtime

KIND = "change-email"
CHANGED = "email-changed"

_CHANGE = (
    update(users)
    .where(users.c.id == bindparam("who"), users.c.email == bindparam("old"))
    .values(email=bindparam("new"), email_verified=True, updated_at=bindparam("now"))
)


class EmailChange:
    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        *,
        profiles: Profiles,
        one_time: OneTimeSecrets,
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
        self._one_time = one_time
        self._links = links
        self._outbox = outbox
        self._base = base
        self._attempts = attempts
        self._mails = mails
        outbox.register(KIND, self._mail)
        outbox.register(CHANGED, self._changed_mail)

    async def request(self, user: Row, new: str, return_to: str, address: str) -> None:
        """Begin a change, asked for from ``address``.

        Raises Invalid; Conflict for the address that it is; EmailTaken; RateLimited.
        """
        new = check_email(new)
        if new == user["email"]:
            raise Conflict("this is your e-mail address already")
        self._attempts.count(f"mail {address_group(address)}")
        if await self._profiles.by_email(new) is not None:
            raise EmailTaken(f"the e-mail address {new!r} is taken")
        at_new = not user["email_verified"]
        await self._send(Link(user["id"], user["email"], new, at_new), return_to)

    async def _send(self, link: Link, return_to: str) -> None:
        try:
            self._mails.count(f"{KIND} {link.new_email if link.at_new else link.email}")
        except RateLimited:
            return
        payload = {
            "user": link.user_id,
            "email": link.email,
            "new_email": link.new_email,
            "at_new": link.at_new,
            "return_to": return_to,
        }
        await self._outbox.post(KIND, payload)

    async def _mail(self, payload: Any) -> Message | None:
        link = Link(payload["user"], payload["email"], payload["new_email"], payload["at_new"])
        user = await self._owner(link)
        if user is None or user["suspended"]:
            return None
        query = urlencode(
            {"token": self._links.token(link), "callbackURL": payload["return_to"] or "/"}
        )
        address = f"{self._base}/verify-email?{query}"
        if link.at_new:
            return messages.verification(link.new_email, user["name"], address)
        return messages.email_change(link.email, user["name"], link.new_email, address)

    async def follow(self, link: Link, return_to: str) -> Row | None:
        """Take a link to either address: the user's row if its address is the new one now; None
        if that is to be confirmed next, by another mail. Raises BadLink."""
        if await self._owner(link) is None:
            raise BadLink("user_not_found")
        if not link.at_new:
            await self._send(Link(link.user_id, link.email, link.new_email, True), return_to)
            return None
        now = self._runtime.now()
        try:
            changed = await self._db.execute(
                _CHANGE, who=link.user_id, old=link.email, new=link.new_email, now=now
            )
        except UniqueViolation:
            raise BadLink("user_already_exists") from None
        if not changed:
            raise BadLink("user_not_found")
        # Links that went to the old address set no password any more.
        await self._one_time.forget(password_reset.KIND, link.user_id)
        await self._outbox.post(CHANGED, {"user": link.user_id, "old": link.email})
        return await self._profiles.get(link.user_id)

    async def _changed_mail(self, payload: Any) -> Message | None:
        try:
            user = await self._profiles.get(payload["user"])
        except NotFound:
            return None
        return messages.email_changed(payload["old"], user["name"], user["email"])

    async def _owner(self, link: Link) -> Row | None:
        """Whose the link is, if the account still has the address that it had."""
        user = await self._profiles.by_email(link.email)
        return user if user is not None and user["id"] == link.user_id else None
