"""Browsers that are not asked for the second factor again (better-auth's ``trustDevice``).

A browser that was told to be trusted keeps a secret, of which the table has the hash. It is good
for one sign-in with the right password, which gives the next one: a copy of it ends with the
first use of the other. Setting two-factor sign-in up anew, turning it off, a new password by mail
and the end of all sessions end the trust in all devices of the user.
"""

from __future__ import annotations

from datetime import timedelta

from wit.accounts.one_time import OneTimeSecrets
from wit.db.port import Connection

KIND = "trust-device"
LIFETIME = timedelta(days=30)
"""From the last sign-in."""

_LENGTH = 32


class TrustedDevices:
    def __init__(self, one_time: OneTimeSecrets) -> None:
        self._one_time = one_time

    async def trust(self, user_id: str) -> str:
        """The secret that the browser is to keep."""
        return await self._one_time.create(KIND, user_id, LIFETIME, _LENGTH)

    async def renew(self, user_id: str, secret: str) -> str | None:
        """The next secret, for one of this user's that is good; it is used up, whosever it is."""
        if await self._one_time.take(KIND, secret) != user_id:
            return None
        return await self.trust(user_id)

    async def forget(self, user_id: str, tx: Connection | None = None) -> None:
        """Trust none of the user's devices any more."""
        await self._one_time.forget(KIND, user_id, tx)
