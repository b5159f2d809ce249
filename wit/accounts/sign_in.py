"""Signing in with a password, and the second step for those who have set one up."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Literal

import attrs
from sqlalchemy import insert

from wit.accounts.credentials import Credentials, check_active
from wit.accounts.one_time import OneTimeSecrets
from wit.accounts.profiles import Profiles
from wit.accounts.sessions import Device, Session, Sessions
from wit.accounts.two_factor import TwoFactor
from wit.db.port import Database, Row
from wit.db.tables import login_attempts
from wit.errors import Unauthorized, WitError
from wit.runtime import Runtime

SECOND_STEP = "2fa"
SECOND_STEP_LIFETIME = timedelta(minutes=10)


class CodeMissing(Unauthorized):
    """The password is right, and the account wants the code of a second factor as well."""


@attrs.frozen
class SecondStep:
    """The password was right; ``token`` proves that when the code comes."""

    token: str = attrs.field(repr=False)


@attrs.frozen
class Waiting:
    """Whose code is waited for."""

    user: Row
    remember: bool


class SignIn:
    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        *,
        credentials: Credentials,
        profiles: Profiles,
        sessions: Sessions,
        two_factor: TwoFactor,
        one_time: OneTimeSecrets,
    ) -> None:
        self._db = db
        self._runtime = runtime
        self._credentials = credentials
        self._profiles = profiles
        self._sessions = sessions
        self._two_factor = two_factor
        self._one_time = one_time

    async def by_password(
        self,
        login: str,
        password: str,
        device: Device,
        *,
        by: Literal["email", "username", "either"],
        remember: bool = True,
    ) -> Session | SecondStep:
        """A session, or what the second step begins with.

        Raises Unauthorized, Forbidden for a suspended user, RateLimited.
        """
        user = await self._right_password(login, password, device, by)
        if user["two_factor_enabled"]:
            value = json.dumps({"user": user["id"], "remember": remember})
            token = await self._one_time.create(SECOND_STEP, value, SECOND_STEP_LIFETIME, 32)
            return SecondStep(token)
        return await self._sessions.create(user["id"], device, remember=remember)

    async def by_password_and_code(
        self, login: str, password: str, code: str, device: Device
    ) -> Session:
        """Both steps at once, for clients without cookies.

        Raises Unauthorized (also for a code that is missing), Forbidden, RateLimited.
        """
        user = await self.person(login, password, code, device)
        return await self._sessions.create(user["id"], device)

    async def person(self, login: str, password: str, code: str, device: Device) -> Row:
        """Whose password this is, and whose code where one is needed: the user's row.

        Raises as :meth:`by_password_and_code`: CodeMissing, Unauthorized, Forbidden, RateLimited.
        """
        user = await self._right_password(login, password, device, "either")
        if user["two_factor_enabled"]:
            if not code:
                raise CodeMissing("this account signs in with two factors: send the code as well")
            await self._two_factor.check_either(user["id"], code)
        return user

    async def confirm(self, user_id: str, password: str, device: Device) -> None:
        """Have who is signed in show the password once more. Raises Unauthorized, RateLimited."""
        await self._credentials.password(user_id, password, device.address, "id")

    async def _right_password(
        self, login: str, password: str, device: Device, by: Literal["email", "username", "either"]
    ) -> Row:
        try:
            user = await self._credentials.password(login, password, device.address, by)
            check_active(user)
        except WitError as error:
            await self._note(login, device, None, error.code)
            raise
        await self._note(login, device, user["id"], None)
        return user

    async def _note(
        self, login: str, device: Device, user_id: str | None, failure: str | None
    ) -> None:
        """For administrators to look at. What was not looked at, as there were too many, is not
        noted either: so the limits bound the notes as well."""
        if failure in (None, "unauthorized", "forbidden"):
            await self._db.execute(
                insert(login_attempts),
                id=self._runtime.new_id(),
                email=login.replace("\0", "")[:254].encode("utf-8", "replace").decode(),
                user_id=user_id,
                success=failure is None,
                ip_address=device.address,
                user_agent=device.user_agent[:500],
                failure_reason=failure,
                created_at=self._runtime.now(),
            )

    # the second step

    async def waiting(self, token: str) -> Waiting:
        """Who has shown a right password with this token. Raises Unauthorized."""
        value = await self._one_time.look(SECOND_STEP, token)
        if value is None:
            raise Unauthorized("sign in with your password again")
        known = json.loads(value)
        user = await self._profiles.get(known["user"])
        check_active(user)
        return Waiting(user, bool(known["remember"]))

    async def second_step(
        self, token: str, code: str, device: Device, *, recovery: bool
    ) -> Session:
        """The session, for a code of the app (or a recovery code).

        Raises Unauthorized, WrongCode, NotSetUp, RateLimited, Forbidden.
        """
        waiting = await self.waiting(token)
        user_id = waiting.user["id"]
        if recovery:
            await self._two_factor.check_recovery(user_id, code)
        else:
            await self._two_factor.check(user_id, code)
        return await self._finish(token, waiting, device)

    async def trusted_step(
        self, token: str, secret: str, device: Device
    ) -> tuple[Session, str] | None:
        """The session without a code, for the secret of a trusted device; and its next secret.

        None if the device is not trusted. Raises Unauthorized, Forbidden.
        """
        waiting = await self.waiting(token)
        renewed = await self._two_factor.trusted.renew(waiting.user["id"], secret)
        if renewed is None:
            return None
        return await self._finish(token, waiting, device), renewed

    async def _finish(self, token: str, waiting: Waiting, device: Device) -> Session:
        """Raises Unauthorized if the token has been used up meanwhile."""
        if await self._one_time.take(SECOND_STEP, token) is None:
            raise Unauthorized("sign in with your password again")
        return await self._sessions.create(waiting.user["id"], device, remember=waiting.remember)
