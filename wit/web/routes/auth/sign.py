"""Signing up, in and out."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field

from wit.accounts.passwords import MAX_LENGTH, MIN_LENGTH
from wit.accounts.sessions import Session
from wit.accounts.sign_in import SECOND_STEP_LIFETIME, SecondStep
from wit.accounts.sign_up import NewAccount
from wit.accounts.trusted_devices import LIFETIME as TRUST_LIFETIME
from wit.accounts.users import EmailTaken, NameTaken, check_email
from wit.errors import Invalid, Unauthorized
from wit.git.names import check_new_owner
from wit.web.cookies import DONT_REMEMBER, SESSION, SESSION_DATA, TRUST_DEVICE, TWO_FACTOR
from wit.web.routes.auth import errors, shapes
from wit.web.routes.auth.errors import AuthError
from wit.web.routes.auth.exchange import Body, Exchange

TRUST_SECONDS = int(TRUST_LIFETIME.total_seconds())

_USERNAME = re.compile(r"[a-zA-Z0-9_.]+")
_LOGIN = re.compile(r"[a-zA-Z0-9_.-]+")
"""Names that GitHub or the command line gave may have a hyphen."""


class SignUp(Body):
    name: str
    email: str
    password: Annotated[str, Field(min_length=1)]
    username: str | None = None
    displayUsername: str | None = None
    image: str | None = None
    callbackURL: str | None = None
    bio: str | None = None
    location: str | None = None
    website: str | None = None
    avatarUrl: str | None = None
    rememberMe: bool | None = None
    invitation: str | None = None
    """wit's own: the secret of an invitation's link."""


class SignInEmail(Body):
    email: str
    password: str
    callbackURL: str | None = None
    rememberMe: bool | None = None


class SignInUsername(Body):
    username: str
    password: str
    callbackURL: str | None = None
    rememberMe: bool | None = None


class Username(Body):
    username: str


def check_username(name: str, status: int, pattern: re.Pattern[str] = _USERNAME) -> None:
    """Raises AuthError with ``status``."""
    if len(name) < 3:
        raise AuthError(status, "Username is too short", "USERNAME_TOO_SHORT")
    if len(name) > 39:
        raise AuthError(status, "Username is too long")
    if not pattern.fullmatch(name):
        raise AuthError(status, "Username is invalid")


def check_new_username(name: str, status: int) -> None:
    """Raises AuthError with ``status`` for a name that nobody may take."""
    check_username(name, status)
    try:
        check_new_owner(name)
    except Invalid:
        raise AuthError(status, "Username is invalid") from None


def check_new_password(password: str) -> None:
    """Raises AuthError."""
    if len(password) < MIN_LENGTH:
        raise errors.PASSWORD_TOO_SHORT()
    if len(password) > MAX_LENGTH:
        raise errors.PASSWORD_TOO_LONG()


async def sign_up(x: Exchange) -> Any:
    body = x.body(SignUp)
    username = body.username or body.displayUsername
    if username is not None:
        check_new_username(username, 400)
    try:
        check_email(body.email)
    except Invalid:
        raise AuthError(400, "[body.email] Invalid email address", "VALIDATION_ERROR") from None
    check_new_password(body.password)
    x.check_return(body.callbackURL)
    new = NewAccount(
        email=body.email,
        name=body.name,
        username=username or "",
        profile={
            "image": body.image,
            "bio": body.bio,
            "location": body.location,
            "website": body.website,
            "avatar_url": body.avatarUrl,
        },
        invitation=body.invitation or "",
    )
    try:
        user = await x.identity.sign_up.register(new, body.password, x.device.address)
    except EmailTaken:
        raise errors.EMAIL_TAKEN() from None
    except NameTaken:
        raise errors.USERNAME_TAKEN() from None
    if x.identity.outbox.reaches_people and not user["email_verified"]:
        await x.identity.verification.send(user["email"], body.callbackURL or "/")
    session = await x.identity.sessions.create(
        user["id"], x.device, remember=body.rememberMe is not False
    )
    x.begin(session)
    return shapes.signed_in(session)


async def sign_in_email(x: Exchange) -> Any:
    body = x.body(SignInEmail)
    x.check_return(body.callbackURL)
    try:
        email = check_email(body.email)
    except Invalid:
        raise errors.INVALID_EMAIL() from None
    try:
        found = await x.identity.sign_in.by_password(
            email, body.password, x.device, by="email", remember=body.rememberMe is not False
        )
    except Unauthorized:
        raise errors.INVALID_EMAIL_OR_PASSWORD() from None
    if isinstance(found, SecondStep):
        trusted = await _trusted(x, found)
        if trusted is None:
            return _second_step(x, found, body.rememberMe)
        found = trusted
    answer = {"redirect": bool(body.callbackURL), **_signed_in(x, found)}
    if body.callbackURL:
        x.request.setHeader(b"Location", body.callbackURL.encode())
        answer["url"] = body.callbackURL
    return answer


async def sign_in_username(x: Exchange) -> Any:
    body = x.body(SignInUsername)
    x.check_return(body.callbackURL)
    if not body.username or not body.password:
        raise errors.INVALID_USERNAME_OR_PASSWORD()
    check_username(body.username, 422, _LOGIN)
    try:
        found = await x.identity.sign_in.by_password(
            body.username,
            body.password,
            x.device,
            by="username",
            remember=body.rememberMe is not False,
        )
    except Unauthorized:
        raise errors.INVALID_USERNAME_OR_PASSWORD() from None
    if isinstance(found, SecondStep):
        trusted = await _trusted(x, found)
        if trusted is None:
            return _second_step(x, found, body.rememberMe)
        found = trusted
    return _signed_in(x, found)


def _signed_in(x: Exchange, session: Session) -> dict[str, Any]:
    x.begin(session)
    return shapes.signed_in(session)


async def _trusted(x: Exchange, step: SecondStep) -> Session | None:
    """The session, if this browser need not show a second factor."""
    secret = x.cookies.signed(x.request, TRUST_DEVICE)
    if secret is None:
        return None
    found = await x.identity.sign_in.trusted_step(step.token, secret, x.device)
    if found is None:
        x.cookies.delete(x.request, TRUST_DEVICE)
        return None
    session, renewed = found
    x.cookies.set(x.request, TRUST_DEVICE, renewed, TRUST_SECONDS)
    return session


def _second_step(x: Exchange, step: SecondStep, remember: bool | None) -> Any:
    """No session yet: a cookie that says whose code is waited for."""
    x.cookies.delete(x.request, SESSION, SESSION_DATA)
    if remember is False:
        x.cookies.set(x.request, DONT_REMEMBER, "true", None)
    seconds = int(SECOND_STEP_LIFETIME.total_seconds())
    x.cookies.set(x.request, TWO_FACTOR, step.token, seconds)
    return {"twoFactorRedirect": True}


async def sign_out(x: Exchange) -> Any:
    session = await x.session()
    if session is not None:
        await x.identity.sessions.revoke(session.user_id, session.id)
    x.end()
    return {"success": True}


async def is_username_available(x: Exchange) -> Any:
    body = x.body(Username)
    if not body.username:
        raise AuthError(422, "Username is invalid")
    check_username(body.username, 422)
    return {"available": await x.identity.sign_up.name_free(body.username)}
