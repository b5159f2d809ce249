"""What begins or ends with a mail: a new password, a verified address."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

import attrs

from wit.accounts.email_links import BadLink, Link
from wit.accounts.password_reset import InvalidLink
from wit.accounts.sessions import Session
from wit.accounts.users import EmailTaken, check_email
from wit.db.port import Row
from wit.errors import Conflict, Invalid
from wit.web.routes.auth import errors, shapes
from wit.web.routes.auth.errors import AuthError
from wit.web.routes.auth.exchange import Body, Exchange, Redirect
from wit.web.routes.auth.sign import check_new_password

RESET_PAGE = "/reset-password"
"""wit's own page for a new password, for who asks without a page."""

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


class ChangeEmail(Body):
    newEmail: str
    callbackURL: str | None = None


def with_query(address: str, **values: str) -> str:
    """``address`` with more in its query; what is behind a ``#`` stays behind it."""
    parts = urlsplit(address)
    query = "&".join(filter(None, (parts.query, urlencode(values))))
    return parts._replace(query=query).geturl()


def _checked_email(email: str, field: str = "email") -> str:
    try:
        return check_email(email)
    except Invalid:
        text = f"[body.{field}] Invalid email address"
        raise AuthError(400, text, "VALIDATION_ERROR") from None


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
    page, token = x.query["callbackURL"] or RESET_PAGE, x.path["token"]
    x.check_return(page)
    if not await x.identity.password_reset.good(token):
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


async def change_email(x: Exchange) -> Any:
    own = await x.signed_in()
    body = x.body(ChangeEmail)
    email = _checked_email(body.newEmail, "newEmail")
    x.check_return(body.callbackURL)
    try:
        await x.identity.email_change.request(
            own.user, email, body.callbackURL or "/", x.device.address
        )
    except EmailTaken:
        raise errors.EMAIL_TAKEN() from None
    except Conflict:
        raise AuthError(400, "Email is the same") from None
    return {"status": True}


async def verify_email(x: Exchange) -> Any:
    """Open a link of a mail: that proves an address, or changes it. Who does it for the first time,
    and is not signed in, is now; unless there is a second factor, which a mail is not."""
    page = x.query.get("callbackURL")
    if "token" not in x.query:
        raise AuthError(400, "[query.token] Required", "VALIDATION_ERROR")
    x.check_return(page)
    try:
        link = x.identity.links.read(x.query["token"])
        user = await (_changed(x, link, page) if link.new_email else _verified(x, link))
    except BadLink as error:
        if page:
            return Redirect(with_query(page, error=error.reason))
        raise AuthError(401, error.reason) from None
    if page:
        return Redirect(page)
    return {"status": True, "user": None if user is None else shapes.user(user)}


async def _verified(x: Exchange, link: Link) -> Row | None:
    """The user, if that is new. Raises BadLink."""
    verified = await x.identity.verification.verify(link)
    if not verified.new:
        return None
    await _let_in(x, verified.user, await x.session())
    return verified.user


async def _changed(x: Exchange, link: Link, page: str | None) -> Row | None:
    """The user, if it has the new address now. Raises BadLink."""
    own = await x.session()
    if own is not None and own.user_id != link.user_id:
        raise BadLink("unauthorized")
    user = await x.identity.email_change.follow(link, page or "/")
    if user is not None:
        await _let_in(x, user, own)
    return user


async def _let_in(x: Exchange, user: Row, own: Session | None) -> None:
    """Sign in who has shown to read the mail of ``user``, or tell the browser what is new."""
    if own is not None:
        if own.user_id == user["id"]:
            x.begin(attrs.evolve(own, user=user))
    elif not (user["suspended"] or user["two_factor_enabled"]):
        x.begin(await x.identity.sessions.create(user["id"], x.device))
