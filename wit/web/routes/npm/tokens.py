"""``npm token``: personal access tokens that are good for packages and nothing else of note.

Others are not shown here and cannot be ended here, so that a token of a build machine has no say
over what its user keeps for other uses.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from wit.accounts.sign_in import CodeMissing
from wit.accounts.tokens import is_token
from wit.db.port import Row
from wit.errors import Invalid, NotFound, Unauthorized
from wit.packages.logins import SCOPES
from wit.web.routes.npm.exchange import Exchange, text_of
from wit.web.routes.npm.people import ONE_TIME_PASSWORD, WRONG_PASSWORD, end_token, instant

WRITE = "packages:write"

READ_ONLY = ("packages:read",)
READ_WRITE = ("packages:read", "packages:write")

_NOT_HERE = {
    "cidr_whitelist": "tokens cannot be bound to addresses",
    "packages": "tokens cannot be bound to single packages",
    "scopes": "tokens cannot be bound to scopes",
    "orgs": "tokens cannot be bound to organizations",
    "bypass_2fa": "tokens need no second factor anyway; leave --bypass-2fa out",
}
"""What npm can ask for and this site has not: saying nothing would be a promise."""


async def list_all(exchange: Exchange) -> None:
    """``GET /-/npm/v1/tokens``. A user has few: they are one page."""
    rows = await _own(exchange)
    exchange.answer({"objects": [_shape(row) for row in rows], "total": len(rows), "urls": {}})


async def create(exchange: Exchange) -> None:
    """``POST /-/npm/v1/tokens``, with the password once more."""
    user_id = exchange.user_id()
    body = await exchange.document()
    for field, sentence in _NOT_HERE.items():
        if body.get(field):
            raise Invalid(sentence)
    days = body.get("expires")
    if days is not None and (isinstance(days, bool) or not isinstance(days, int)):
        raise Invalid("expires must be a number of days")
    scopes = _scopes(body)
    name = text_of(body, "name", 100) or "npm token"
    await _confirm(exchange, user_id, text_of(body, "password"))
    row, secret = await exchange.core.tokens.create(user_id, name, scopes, days)
    answer = _shape(row) | {"token": secret}
    if row["expires_at"] is not None:
        answer["expires"] = instant(row["expires_at"])
    exchange.answer(answer, 201)


async def remove(exchange: Exchange) -> None:
    """``DELETE /-/npm/v1/tokens/token/:key``: by its key, or the token itself."""
    user_id = exchange.user_id(WRITE)
    key = exchange.values["key"]
    if is_token(key):
        await end_token(exchange, user_id, key)
    else:
        row = next((row for row in await _own(exchange) if row["id"] == _id(key)), None)
        if row is None:
            raise NotFound("you have no such token for packages; npm token list shows them")
        await exchange.core.tokens.remove(user_id, row["id"])
    exchange.answer({"ok": True})


def _id(key: str) -> str:
    try:
        return str(UUID(key))
    except ValueError:
        return ""


async def _own(exchange: Exchange) -> list[Row]:
    rows = await exchange.core.tokens.list(exchange.user_id(WRITE))
    return [row for row in rows if set(row["scopes"]) <= set(SCOPES)]


async def _confirm(exchange: Exchange, user_id: str, password: str) -> None:
    """Have the caller prove that it is not just a token that asks for another one."""
    identity = exchange.core.identity
    if not password:
        raise Invalid("send your password as well")
    try:
        await identity.sign_in.confirm(user_id, password, exchange.device)
    except Unauthorized:
        exchange.request.setHeader(b"WWW-Authenticate", WRONG_PASSWORD)
        raise
    user = await identity.profiles.get(user_id)
    if not user["two_factor_enabled"]:
        return
    if not exchange.otp:
        exchange.request.setHeader(b"WWW-Authenticate", ONE_TIME_PASSWORD)
        raise CodeMissing("send the code of your second factor as well")
    await identity.two_factor.check_either(user_id, exchange.otp)


def _scopes(body: dict[str, Any]) -> tuple[str, ...]:
    """Raises Invalid."""
    match text_of(body, "packages_and_scopes_permission", 40):
        case "":
            return READ_ONLY if body.get("readonly") is True else READ_WRITE
        case "read-only":
            return READ_ONLY
        case "read-write":
            return READ_WRITE
    raise Invalid("a token for packages has the permission read-only or read-write")


def _shape(row: Row) -> dict[str, Any]:
    return {
        "token": row["token_prefix"],
        "key": row["id"].replace("-", ""),  # npm shows nothing that looks like a UUID
        "name": row["name"],
        "readonly": WRITE not in row["scopes"],
        "cidr_whitelist": None,
        "created": instant(row["created_at"]),
        "updated": instant(row["created_at"]),
    }
