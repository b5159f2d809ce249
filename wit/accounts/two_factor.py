"""Two-factor sign-in: time-based codes (TOTP, RFC 6238) and recovery codes for lost devices.

The seed is sealed, recovery codes are hashed, and no code is good twice. Six digits are few, so
that wrong ones are counted per user, over a longer time than wrong passwords.
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode

import attrs
from pyotp import TOTP
from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.dialects.postgresql import insert

from wit.accounts.audit import COMMAND_LINE, AuditLog, Change
from wit.accounts.secrets import Secrets
from wit.accounts.throttle import Throttle
from wit.accounts.tokens import secret_hash
from wit.accounts.trusted_devices import TrustedDevices
from wit.accounts.users import random_text
from wit.db.port import Connection, Database, Row
from wit.db.tables import two_factor
from wit.errors import Invalid, Unauthorized
from wit.runtime import Runtime

ISSUER = "wit"
"""What an authenticator app shows beside the code."""

PERIOD = 30
"""Seconds of a time step (RFC 6238, section 5.2); one step of clock drift is allowed."""

SEED_BYTES = 20
"""RFC 4226, section 4: 160 bits are recommended."""

RECOVERY_CODES = 10

FAILURES = 5
FAILURE_SECONDS = 900.0

_CODE = re.compile(r"[0-9]{6}")
_RECOVERY_CODE = re.compile(r"[A-Za-z0-9]{5}-[A-Za-z0-9]{5}")

_GET = select(two_factor).where(two_factor.c.user_id == bindparam("who"))
_LOCK = _GET.with_for_update()
_insert = insert(two_factor)
_PUT = _insert.on_conflict_do_update(
    index_elements=["user_id"],
    set_={
        name: _insert.excluded[name]
        for name in ("encrypted_secret", "recovery_hashes", "last_step", "updated_at")
    },
)
_OF_USER = two_factor.c.user_id == bindparam("who")
_ENABLE = update(two_factor).where(_OF_USER).values(enabled=True, updated_at=bindparam("now"))
_STEP = (
    update(two_factor)
    .where(_OF_USER, two_factor.c.last_step < bindparam("step"))
    .values(last_step=bindparam("step"))
)
_SET_RECOVERY = (
    update(two_factor)
    .where(_OF_USER)
    .values(recovery_hashes=bindparam("hashes"), updated_at=bindparam("now"))
)
_DELETE = delete(two_factor).where(_OF_USER)


class WrongCode(Unauthorized):
    """The code is wrong, too old, or was used before."""


class NotSetUp(Invalid):
    """The user has not asked for two-factor sign-in."""


@attrs.frozen
class Enrolment:
    """What a user needs to set up an authenticator app; shown once."""

    uri: str = attrs.field(repr=False)
    recovery_codes: list[str] = attrs.field(repr=False)


class TwoFactor:
    def __init__(
        self, db: Database, runtime: Runtime, secrets: Secrets, trusted: TrustedDevices
    ) -> None:
        self._db = db
        self._runtime = runtime
        self._secrets = secrets
        self.trusted = trusted
        self._audit = AuditLog(db, runtime)
        self._throttle = Throttle(runtime, FAILURES, FAILURE_SECONDS, "wrong codes")

    async def prepare(self, user: Row, issuer: str = "") -> Enrolment:
        """A new seed and new recovery codes. It is asked for at sign-in once :meth:`enable` has
        been called; whoever had it before uses the new one from now on."""
        seed = b32encode(self._runtime.random_bytes(SEED_BYTES)).decode()
        codes = self._recovery_codes()
        now = self._runtime.now()
        await self._db.execute(
            _PUT,
            user_id=user["id"],
            encrypted_secret=self._secrets.seal(seed),
            recovery_hashes=[secret_hash(code) for code in codes],
            enabled=False,
            last_step=0,
            created_at=now,
            updated_at=now,
        )
        await self.trusted.forget(user["id"])
        return Enrolment(_uri(seed, user, issuer), codes)

    async def uri(self, user: Row) -> str:
        """The seed again, for another device. Raises NotSetUp."""
        row = await self._row(user["id"])
        return _uri(self._secrets.open(row["encrypted_secret"]), user)

    async def enable(self, user_id: str) -> None:
        await self._db.execute(_ENABLE, who=user_id, now=self._runtime.now())

    async def disable(self, user_id: str) -> None:
        """Ask for codes no more; no device is trusted any more."""
        async with self._db.transaction() as tx:
            await self._forget(tx, user_id)

    async def reset(self, user_id: str) -> None:
        """As :meth:`disable`, by whoever runs the server, for who has lost the device."""
        async with self._db.transaction() as tx:
            await self._forget(tx, user_id)
            change = Change(
                "user.two_factor_reset", "user", user_id, "Took two-factor sign-in away"
            )
            await self._audit.append(tx, COMMAND_LINE, change)

    async def _forget(self, tx: Connection, user_id: str) -> None:
        await tx.execute(_DELETE, who=user_id)
        await self.trusted.forget(user_id, tx)

    async def check(self, user_id: str, code: str) -> None:
        """Take a code of the user's app. Raises WrongCode, NotSetUp, RateLimited."""
        row = await self._row(user_id)
        self._throttle.check(user_id)  # after the last await before it is counted
        step = self._matching_step(self._secrets.open(row["encrypted_secret"]), code)
        if step is None or step <= row["last_step"]:
            self._throttle.failed(user_id)
            raise WrongCode("this code is wrong, too old, or was used before")
        if not await self._db.execute(_STEP, who=user_id, step=step):
            raise WrongCode("this code is wrong, too old, or was used before")

    def _matching_step(self, seed: str, code: str) -> int | None:
        if not _CODE.fullmatch(code):
            return None
        totp = TOTP(seed, interval=PERIOD)
        now = int(self._runtime.now().timestamp()) // PERIOD
        for step in (now, now - 1, now + 1):
            if hmac.compare_digest(totp.generate_otp(step), code):
                return step
        return None

    async def check_recovery(self, user_id: str, code: str) -> None:
        """Use up one of the user's recovery codes. Raises WrongCode, NotSetUp, RateLimited."""
        async with self._db.transaction() as tx:
            row = await tx.fetch_one(_LOCK, who=user_id)
            if row is None:
                raise NotSetUp("two-factor sign-in is not set up for this account")
            self._throttle.check(user_id)
            hashes, used = list(row["recovery_hashes"]), secret_hash(code)
            if not _RECOVERY_CODE.fullmatch(code) or used not in hashes:
                self._throttle.failed(user_id)
                raise WrongCode("this recovery code is wrong or was used before")
            hashes.remove(used)
            await tx.execute(_SET_RECOVERY, who=user_id, hashes=hashes, now=self._runtime.now())

    async def check_either(self, user_id: str, code: str) -> None:
        """A code of the app or a recovery code: they do not look alike."""
        if _RECOVERY_CODE.fullmatch(code):
            await self.check_recovery(user_id, code)
        else:
            await self.check(user_id, code)

    async def new_recovery_codes(self, user_id: str) -> list[str]:
        """Others instead of those that were there. Raises NotSetUp."""
        codes = self._recovery_codes()
        hashes = [secret_hash(code) for code in codes]
        now = self._runtime.now()
        if not await self._db.execute(_SET_RECOVERY, who=user_id, hashes=hashes, now=now):
            raise NotSetUp("two-factor sign-in is not set up for this account")
        return codes

    def _recovery_codes(self) -> list[str]:
        texts = (random_text(self._runtime, 10) for _ in range(RECOVERY_CODES))
        return [f"{text[:5]}-{text[5:]}" for text in texts]

    async def _row(self, user_id: str) -> Row:
        row = await self._db.fetch_one(_GET, who=user_id)
        if row is None:
            raise NotSetUp("two-factor sign-in is not set up for this account")
        return row


def _uri(seed: str, user: Row, issuer: str = "") -> str:
    """The ``otpauth`` address that apps read from a QR code."""
    return TOTP(seed, interval=PERIOD).provisioning_uri(
        name=user["email"], issuer_name=issuer or ISSUER
    )
