"""Who one is to the registry: whoami, signing in and out with a password, the profile."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from wit.access.actor import Origin
from wit.accounts.sign_in import CodeMissing
from wit.accounts.tokens import is_token
from wit.db.port import Row
from wit.errors import Forbidden, Invalid, Unauthorized
from wit.oauth.formats import is_access_token
from wit.web.middleware.credentials import Bearer, parse
from wit.web.routes.npm.exchange import Exchange, text_of

ID_PREFIX = "org.couchdb.user:"

WRONG_PASSWORD = b'Basic realm="wit"'
"""npm's way of telling a wrong password from a wrong token."""

ONE_TIME_PASSWORD = b"OTP"
"""npm asks its user for the code of the second factor then."""

_CHANGEABLE = {"fullname": "name", "homepage": "website"}
"""What ``npm profile set`` can change here, and the columns of it."""

_ELSEWHERE = ("email", "freenode", "twitter", "github")


async def whoami(exchange: Exchange) -> None:
    """``GET /-/whoami``."""
    exchange.user_id()
    exchange.answer({"username": exchange.actor.username})


async def user(exchange: Exchange) -> None:
    """``GET /-/user/org.couchdb.user:NAME``: asked before somebody becomes an owner.

    What anybody can see of a user; so the e-mail address is not the user's own.
    """
    row = await exchange.core.users.by_username(_username(exchange))
    name = row["username"]
    person = exchange.core.packages.site.person(name)
    exchange.answer({"_id": ID_PREFIX + name, "type": "user", **person})


async def login(exchange: Exchange) -> None:
    """``PUT /-/user/org.couchdb.user:NAME``: a new token for user name and password.

    Who sends no password but is signed in gets the same token back (contract, rest.md).
    """
    username = _username(exchange)
    body = await exchange.document()
    password = text_of(body, "password")
    if text_of(body, "name") not in ("", username):
        raise Invalid("the name in the body is not the one in the address")
    if password:
        token = await _by_password(exchange, username, password)
    else:
        token = _same_token(exchange, username)
    exchange.answer({"ok": True, "id": ID_PREFIX + username, "token": token}, 201)


async def _by_password(exchange: Exchange, username: str, password: str) -> str:
    try:
        return await exchange.core.package_logins.by_password(
            username, password, exchange.otp, exchange.device
        )
    except CodeMissing:
        exchange.request.setHeader(b"WWW-Authenticate", ONE_TIME_PASSWORD)
        raise
    except Unauthorized:
        exchange.request.setHeader(b"WWW-Authenticate", WRONG_PASSWORD)
        raise


def _same_token(exchange: Exchange, username: str) -> str:
    """Raises Unauthorized."""
    header = exchange.request.header(b"Authorization") or ""
    if exchange.actor.username == username.lower() and not exchange.actor.anonymous:
        credential = parse(header)
        if isinstance(credential, Bearer):
            return credential.token
    raise Unauthorized("send the user name and the password")


def _username(exchange: Exchange) -> str:
    """Raises Invalid."""
    text = exchange.values["user"]
    if not text.startswith(ID_PREFIX):
        raise Invalid(f"users have addresses that end in {ID_PREFIX}NAME")
    return text.removeprefix(ID_PREFIX)


async def logout(exchange: Exchange) -> None:
    """``DELETE /-/user/token/:token``: the end of a token that the caller has.

    One that is over already has its end, too: ``npm logout`` then forgets it.
    """
    user_id = exchange.user_id()
    await end_token(exchange, user_id, exchange.values["token"])
    exchange.answer({"ok": True})


async def end_token(exchange: Exchange, user_id: str, secret: str) -> None:
    """Raises Forbidden for another user's token."""
    core = exchange.core
    try:
        actor = await core.credentials.bearer(secret)
    except Unauthorized:
        return
    if actor.user_id != user_id or actor.credential_id is None:
        raise Forbidden("this token is another user's")
    if is_token(secret):
        await core.tokens.remove(user_id, actor.credential_id)
    elif is_access_token(secret):
        await core.oauth.tokens.revoke(None, secret)
    elif actor.origin is Origin.SESSION:
        await core.identity.sessions.revoke(user_id, actor.credential_id)


async def profile(exchange: Exchange) -> None:
    """``GET /-/npm/v1/user``."""
    row = await exchange.core.identity.profiles.get(exchange.user_id("user:read"))
    exchange.answer(_shape(row))


async def set_profile(exchange: Exchange) -> None:
    """``POST /-/npm/v1/user``: npm sends everything, and what is as it was does not count."""
    user_id = exchange.user_id("user:write")
    profiles = exchange.core.identity.profiles
    row = await profiles.get(user_id)
    before = _shape(row)
    body = await exchange.document()
    if body.get("tfa") is not None or body.get("password") is not None:
        raise Invalid("passwords and two-factor sign-in are not changed by npm here")
    changes: dict[str, str | None] = {}
    for field in (*_CHANGEABLE, *_ELSEWHERE):
        value = text_of(body, field)
        if field not in body or value == before[field]:
            continue
        if field not in _CHANGEABLE:
            raise Invalid(f"{field} cannot be changed by npm profile set")
        changes[_CHANGEABLE[field]] = value
    if changes:
        row = await profiles.update(user_id, changes)
    exchange.answer(_shape(row))


def _shape(row: Row) -> dict[str, Any]:
    return {
        "name": row["username"],
        "email": row["email"],
        "email_verified": row["email_verified"],
        "fullname": row["name"] or "",
        "homepage": row["website"] or "",
        "freenode": "",
        "twitter": "",
        "github": "",
        "created": instant(row["created_at"]),
        "updated": instant(row["updated_at"]),
        "tfa": {"pending": False, "mode": "auth-only"} if row["two_factor_enabled"] else None,
        "cidr_whitelist": None,
    }


def instant(when: datetime) -> str:
    """As JavaScript writes times."""
    return re.sub(r"\+00:00$", "Z", when.isoformat(timespec="milliseconds"))
