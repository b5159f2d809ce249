"""Two-factor sign-in: setting it up, and the second step (better-auth's plugin ``two-factor``)."""

from __future__ import annotations

from typing import Any

from wit.accounts.sessions import Session
from wit.accounts.two_factor import NotSetUp, WrongCode
from wit.errors import Unauthorized
from wit.web.cookies import DONT_REMEMBER, TRUST_DEVICE, TWO_FACTOR
from wit.web.routes.auth import errors, shapes
from wit.web.routes.auth.errors import AuthError
from wit.web.routes.auth.exchange import Body, Exchange
from wit.web.routes.auth.sign import TRUST_SECONDS


class Password(Body):
    password: str


class Enable(Password):
    issuer: str | None = None


class Code(Body):
    code: str
    trustDevice: bool | None = None


async def _confirmed(x: Exchange, password: str) -> Session:
    """The caller, who has given the password once more. Raises AuthError, NotSignedIn."""
    own = await x.signed_in()
    try:
        await x.identity.sign_in.confirm(own.user_id, password, x.device)
    except Unauthorized:
        raise errors.INVALID_PASSWORD() from None
    return own


async def enable(x: Exchange) -> Any:
    """The seed and recovery codes; the first right code turns it on."""
    await x.signed_in()
    body = x.body(Enable)
    own = await _confirmed(x, body.password)
    enrolment = await x.identity.two_factor.prepare(own.user, (body.issuer or "")[:100])
    return {"totpURI": enrolment.uri, "backupCodes": enrolment.recovery_codes}


async def get_totp_uri(x: Exchange) -> Any:
    own = await x.signed_in()
    body = x.body(Password)
    try:
        uri = await x.identity.two_factor.uri(own.user)
    except NotSetUp:
        raise errors.TOTP_NOT_ENABLED() from None
    await _confirmed(x, body.password)
    return {"totpURI": uri}


async def disable(x: Exchange) -> Any:
    await x.signed_in()
    own = await _confirmed(x, x.body(Password).password)
    await x.identity.two_factor.disable(own.user_id)
    x.begin(await x.identity.sessions.renew(own, x.device))
    if x.cookies.signed(x.request, TRUST_DEVICE) is not None:
        x.cookies.delete(x.request, TRUST_DEVICE)
    return {"status": True}


async def generate_backup_codes(x: Exchange) -> Any:
    own = await x.signed_in()
    body = x.body(Password)
    if not own.user["two_factor_enabled"]:
        raise errors.TWO_FACTOR_NOT_ENABLED()
    await _confirmed(x, body.password)
    codes = await x.identity.two_factor.new_recovery_codes(own.user_id)
    return {"status": True, "backupCodes": codes}


async def verify_totp(x: Exchange) -> Any:
    return await _verify(x, recovery=False)


async def verify_backup_code(x: Exchange) -> Any:
    return await _verify(x, recovery=True)


async def _verify(x: Exchange, *, recovery: bool) -> Any:
    """For who is signed in: a right code of the app turns two-factor sign-in on. For who has only
    shown a password: the second step."""
    body = x.body(Code)
    try:
        own = await x.session()
        if own is None:
            own = await _second_step(x, body, recovery=recovery)
        elif recovery:
            await x.identity.two_factor.check_recovery(own.user_id, body.code)
        else:
            await x.identity.two_factor.check(own.user_id, body.code)
            if not own.user["two_factor_enabled"]:
                await x.identity.two_factor.enable(own.user_id)
                own = await x.identity.sessions.renew(own, x.device)
                x.begin(own)
    except WrongCode:
        raise _wrong(recovery) from None
    except NotSetUp:
        raise _not_set_up(recovery) from None
    return shapes.signed_in(own)


async def _second_step(x: Exchange, body: Code, *, recovery: bool) -> Session:
    token = x.cookies.signed(x.request, TWO_FACTOR)
    try:
        if token is None:
            raise errors.INVALID_TWO_FACTOR_COOKIE()
        session = await x.identity.sign_in.second_step(
            token, body.code, x.device, recovery=recovery
        )
    except WrongCode:
        raise
    except Unauthorized:
        raise errors.INVALID_TWO_FACTOR_COOKIE() from None
    x.begin(session)
    x.cookies.delete(x.request, TWO_FACTOR)
    if body.trustDevice:
        secret = await x.identity.two_factor.trusted.trust(session.user_id)
        x.cookies.set(x.request, TRUST_DEVICE, secret, TRUST_SECONDS)
        x.cookies.delete(x.request, DONT_REMEMBER)
    return session


def _wrong(recovery: bool) -> AuthError:
    return errors.INVALID_BACKUP_CODE() if recovery else errors.INVALID_CODE()


def _not_set_up(recovery: bool) -> AuthError:
    return errors.BACKUP_CODES_NOT_ENABLED() if recovery else errors.TOTP_NOT_ENABLED()
