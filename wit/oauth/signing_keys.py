"""Keys that sign ID tokens: RS256, which every OpenID Connect client knows (Core, section 15.1).

A key signs for three months. Its successor is made and published a week before, so that clients
have it when they need it, and the old one stays published until nothing it has signed is valid.
The private part is in the database, sealed.
"""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from joserfc import jwt
from joserfc.jwk import RSAKey
from sqlalchemy import bindparam, insert, select
from sqlalchemy import delete as delete_from
from twisted.logger import Logger

from wit.accounts.secrets import CannotOpen, Secrets
from wit.db.port import Database, Row
from wit.db.tables import signing_keys
from wit.runtime import Runtime

ALGORITHM = "RS256"
KEY_BITS = 2048
SIGNING_LIFE = timedelta(days=90)
PUBLISHED_BEFORE = timedelta(days=7)
PUBLISHED_AFTER = timedelta(days=1)

_PUBLISHED = (
    select(signing_keys)
    .where(signing_keys.c.not_after > bindparam("since"))
    .order_by(signing_keys.c.not_after, signing_keys.c.id)
)
_SWEEP = delete_from(signing_keys).where(signing_keys.c.not_after < bindparam("before"))


class SigningKeys:
    log = Logger()

    def __init__(self, db: Database, runtime: Runtime, secrets: Secrets) -> None:
        self._db = db
        self._runtime = runtime
        self._secrets = secrets
        self._opened: dict[str, RSAKey] = {}

    async def sign(self, claims: dict[str, Any]) -> str:
        """A signed token (RFC 7519), by the oldest key that still signs."""
        key = await self._signing_key()
        header = {"alg": ALGORITHM, "typ": "JWT", "kid": key.kid}
        return await self._runtime.in_thread(jwt.encode, header, claims, key)

    async def published(self) -> list[dict[str, Any]]:
        """Public keys as JWKs (RFC 7517), for whoever checks a signature."""
        await self._signing_key()
        return [row["public_jwk"] for row in await self._rows(PUBLISHED_AFTER)]

    async def rotate(self) -> None:
        """Make the next key in time, and forget those that are not published any more."""
        now = self._runtime.now()
        rows = await self._rows(timedelta(0))
        if rows and rows[-1]["not_after"] < now + PUBLISHED_BEFORE:
            await self._make(rows[-1]["not_after"] + SIGNING_LIFE)
        await self._db.execute(_SWEEP, before=now - PUBLISHED_AFTER)

    async def _signing_key(self) -> RSAKey:
        for row in await self._rows(timedelta(0)):
            key = await self._open(row)
            if key is not None:
                return key
        return await self._make(self._runtime.now() + SIGNING_LIFE)

    async def _rows(self, age: timedelta) -> list[Row]:
        """Keys that have not ended, or not longer ago than ``age``; those that end first first."""
        return await self._db.fetch_all(_PUBLISHED, since=self._runtime.now() - age)

    async def _open(self, row: Row) -> RSAKey | None:
        """None for a key that was sealed with an encryption key that is not there any more."""
        if row["id"] not in self._opened:
            try:
                private = json.loads(self._secrets.open(row["encrypted_private_key"]))
            except CannotOpen as error:
                self.log.warn(
                    "signing key {key_id} cannot be used: {error}",
                    key_id=row["id"],
                    error=error.message,
                )
                return None
            self._opened[row["id"]] = await self._runtime.in_thread(RSAKey.import_key, private)
        return self._opened[row["id"]]

    async def _make(self, not_after: Any) -> RSAKey:
        key = await self._runtime.in_thread(_generate)
        await self._db.execute(
            insert(signing_keys),
            id=key.kid,
            algorithm=ALGORITHM,
            public_jwk=key.as_dict(private=False),
            encrypted_private_key=self._secrets.seal(json.dumps(key.as_dict(private=True))),
            not_after=not_after,
            created_at=self._runtime.now(),
        )
        return key


def _generate() -> RSAKey:
    """Named by its thumbprint (RFC 7638). Blocks for a tenth of a second or more."""
    key = RSAKey.generate_key(KEY_BITS, {"use": "sig", "alg": ALGORITHM}, private=True)
    private = {**key.as_dict(private=True), "kid": key.thumbprint()}
    return RSAKey.import_key(private)
