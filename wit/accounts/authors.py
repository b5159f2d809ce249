"""Whose a commit is: from the address in a commit to a user, and back.

Anybody can write any address into a commit, and into an account. So an address counts for the user
who has proved that it is theirs, and only as long as it is the account's. Besides, each user has an
address of the site, at which no mail arrives: with it commits are made here for those who have not
proved theirs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from sqlalchemy import bindparam, func, or_, select

from wit.config import Config
from wit.db.port import Database, Row
from wit.db.tables import users

MAX_ADDRESS = 254
"""Characters of an address that is looked up (RFC 5321, section 4.5.3.1.3)."""

_WHOSE = select(
    users.c.id,
    users.c.email,
    users.c.email_verified,
    users.c.username,
    func.coalesce(users.c.avatar_url, users.c.image).label("avatar"),
).where(
    or_(
        users.c.email_verified & users.c.email.in_(bindparam("emails", expanding=True)),
        users.c.id.in_(bindparam("ids", expanding=True)),
    )
)


class Authors:
    def __init__(self, config: Config, db: Database) -> None:
        self._db = db
        host = urlsplit(config.public_url).hostname or "localhost"
        self._domain = f"users.noreply.{host}"
        self._site_address = re.compile(
            rf"([A-Za-z0-9]{{32}})\+[^@\s]*@{re.escape(self._domain)}", re.IGNORECASE
        )

    def address(self, user: Row) -> str:
        """What commits that are made here for ``user`` (``id``, ``username``, ``email``,
        ``email_verified``) carry: the proved address, else that of the site."""
        if user["email_verified"]:
            return str(user["email"])
        return f"{user['id']}+{user['username']}@{self._domain}"

    async def accounts(self, addresses: Iterable[str]) -> dict[str, Row]:
        """Rows of users (``username``, ``avatar``), by those of ``addresses`` that are theirs."""
        asked = {text for text in addresses if 0 < len(text) <= MAX_ADDRESS and "\0" not in text}
        ids = {text: found[1] for text in asked if (found := self._site_address.fullmatch(text))}
        emails = {text: text.lower() for text in asked - ids.keys()}
        if not asked:
            return {}
        rows = await self._db.fetch_all(
            _WHOSE, emails=sorted(set(emails.values())), ids=sorted(set(ids.values()))
        )
        by_id = {row["id"]: row for row in rows}
        by_email = {row["email"]: row for row in rows if row["email_verified"]}
        whose = {text: by_id.get(which) for text, which in ids.items()}
        whose |= {text: by_email.get(email) for text, email in emails.items()}
        return {text: row for text, row in whose.items() if row is not None}
