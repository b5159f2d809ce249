"""What begins or ends with a mail: a new password, a verified address."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from wit.accounts.identity import PREFIX
from wit.accounts.password_reset import InvalidLink
from wit.accounts.users import check_email
from wit.accounts.verification import BadLink
from wit.errors import Invalid
from wit.web.routes.auth import errors, shapes
from wit.web.routes.auth.errors import AuthError
from wit.web.routes.auth.exchange import Body, Exchange, Redirect
from wit.web.routes.auth.sign import check_new_password

SENT = "If this email exists in our system, check your email for the reset link"


class RequestReset(Body):
    email: str
    redirectTo: str | None = None


class Reset(Body):
    newPassword: str
    token: str | None = None


class RequestVerification(Body):
    email: str
    callbackURL: str | None = None


def with_query(address: str, **values: str) -> str:
    """``address`` with more in its query; what is behind a ``#`` stays behind it."""
    parts = urlsplit(address)
    query = "&".join(filter(None, (parts.query, urlencode(values))))
    return parts._replace(query=query).geturl()


def _checked_email(email: str) -> str:
    try:
        return check_email(email)
    except Invalid:
        raise AuthError(400, "[body.email] Invalid email address", "VALIDATION_ERROR") from None


async def request_password_reset(x: Exchange) -> Any:
    body = x.body(RequestReset)
    email = _checked_email(body.email)
    x.check_return(body.redirectTo, "redirectURL")
    await x.identity.password_reset.request(email, body.redirectTo or "", x.device.address)
    return {"status": True, "message": SENT}


async def open_reset_link(x: Exchange) -> Redirect:
    """From the mail to the page that asks for the new password."""
    if "callbackURL" not in x.query:
        raise AuthError(400, "[query.callbackURL] Required", "VALIDATION_ERROR")
    page, token = x.query["callbackURL"], x.path["token"]
    x.check_return(page)
    if not page or not await x.identity.password_reset.good(token):
        page = page or f"{x.public_url}{PREFIX}/error"
        return Redirect(with_query(urljoin(x.public_url, page), error="INVALID_TOKEN"))
    return Redirect(with_query(urljoin(x.public_url, page), token=token))


async def reset_password(x: Exchange) -> Any:
    body = x.body(Reset)
    token = body.token or x.query.get("token")
    if not token:
        raise errors.INVALID_TOKEN()
    check_new_password(body.newPassword)
    try:
        await x.identity.password_reset.reset(token, body.newPassword)
    except InvalidLink:
        raise errors.INVALID_TOKEN() from None
    return {"status": True}


async def send_verification_email(x: Exchange) -> Any:
    body = x.body(RequestVerification)
    email = _checked_email(body.email)
    x.check_return(body.callbackURL)
    session = await x.session()
    if session is not None:
        if session.user["email"] != email:
            raise AuthError(400, "Email mismatch")
        if session.user["email_verified"]:
            raise AuthError(400, "Email is already verified")
    await x.identity.verification.request(email, body.callbackURL or "/", x.device.address)
    return {"status": True}


async def verify_email(x: Exchange) -> Any:
    """Open a verification link. Who does it for the first time, and is not signed in, is now;
    unless there is a second factor, which a mail is not."""
    page = x.query.get("callbackURL")
    if "token" not in x.query:
        raise AuthError(400, "[query.token] Required", "VALIDATION_ERROR")
    x.check_return(page)
    try:
        verified = await x.identity.verification.verify(x.query["token"])
    except BadLink as error:
        if page:
            return Redirect(with_query(page, error=error.reason))
        raise AuthError(401, error.reason) from None
    user = verified.user
    locked = user["suspended"] or user["two_factor_enabled"]
    if verified.new and not locked and await x.session() is None:
        x.begin(await x.identity.sessions.create(user["id"], x.device))
    if page:
        return Redirect(page)
    return {"status": True, "user": shapes.user(user) if verified.new else None}
