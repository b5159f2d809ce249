"""Personal access tokens of the caller (contract, trpc-notes.md, "sshKeys, tokens, oauthApps")."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import TOKEN_SCOPES, TokenScope
from wit.accounts.tokens import MAX_DAYS
from wit.db.port import Row
from wit.operations.access import SignedIn
from wit.operations.call import Call
from wit.operations.inputs import ById, Maybe
from wit.operations.registry import Input, Router
from wit.operations.shapes import Success

DESCRIPTIONS = {
    "repo:read": "Read private repositories",
    "repo:write": "Push to repositories and change their contents",
    "repo:admin": "Manage repositories: settings, collaborators, deletion",
    "user:read": "Read your profile and settings",
    "user:write": "Change your profile, keys and settings",
    "packages:read": "Download private packages",
    "packages:write": "Publish packages",
    "sandbox": "Run programs in sandboxes of repositories, with their secrets",
}
assert tuple(DESCRIPTIONS) == TOKEN_SCOPES

WARNING = "Copy the token now: it is not shown again."

router = Router("tokens")


class Create(Input):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    scopes: Annotated[list[TokenScope], Field(min_length=1, max_length=len(TOKEN_SCOPES))]
    expiresInDays: Maybe[Annotated[int, Field(gt=0, le=MAX_DAYS)]] = None


class Verify(Input):
    token: Annotated[str, Field(min_length=1, max_length=200)]


class Token(TypedDict):
    id: str
    name: str
    tokenPrefix: str
    scopes: list[TokenScope]
    lastUsedAt: datetime | None
    expiresAt: datetime | None
    createdAt: datetime


class Created(TypedDict):
    id: str
    name: str
    token: str
    tokenPrefix: str
    scopes: list[TokenScope]
    expiresAt: datetime | None
    createdAt: datetime
    warning: str


class Invalid(TypedDict):
    valid: Literal[False]
    userId: None
    scopes: None


class Valid(TypedDict):
    valid: Literal[True]
    userId: str
    scopes: list[TokenScope]
    tokenId: str


class ScopeInfo(TypedDict):
    name: TokenScope
    description: str


def token(row: Row) -> Token:
    return {
        "id": row["id"],
        "name": row["name"],
        "tokenPrefix": row["token_prefix"],
        "scopes": row["scopes"],
        "lastUsedAt": row["last_used_at"],
        "expiresAt": row["expires_at"],
        "createdAt": row["created_at"],
    }


@router.query("list", access=SignedIn("user:read"))
async def list_(call: Call) -> list[Token]:
    """The caller's tokens, oldest first, without their secrets."""
    return [token(row) for row in await call.core.tokens.list(call.user_id)]


@router.query("get", access=SignedIn("user:read"), errors=("not_found",))
async def get(call: Call, values: ById) -> Token:
    """One of the caller's tokens."""
    return token(await call.core.tokens.get(call.user_id, values.id))


@router.mutation("create", access=SignedIn(None), errors=("invalid", "conflict"))
async def create(call: Call, values: Create) -> Created:
    """A new token; the answer is the only place where it is ever shown."""
    row, secret = await call.core.tokens.create(
        call.user_id, values.name, values.scopes, values.expiresInDays
    )
    shown = token(row)
    return {
        "id": shown["id"],
        "name": shown["name"],
        "token": secret,
        "tokenPrefix": shown["tokenPrefix"],
        "scopes": shown["scopes"],
        "expiresAt": shown["expiresAt"],
        "createdAt": shown["createdAt"],
        "warning": WARNING,
    }


@router.mutation("delete", access=SignedIn("user:write"), errors=("not_found",))
async def delete(call: Call, values: ById) -> Success:
    """Revoke one of the caller's tokens: it is refused from now on."""
    await call.core.tokens.remove(call.user_id, values.id)
    return {"success": True}


@router.query("verify", access=SignedIn("user:read"))
async def verify(call: Call, values: Verify) -> Valid | Invalid:
    """Whether a token works, and what for; only whoever holds it can ask."""
    row = await call.core.tokens.verify(values.token)
    if row is None or row["suspended"]:
        return {"valid": False, "userId": None, "scopes": None}
    return {
        "valid": True,
        "userId": row["user_id"],
        "scopes": row["scopes"],
        "tokenId": row["id"],
    }


@router.query("scopes", access=SignedIn("user:read"))
async def scopes(call: Call) -> list[ScopeInfo]:
    """The scopes that a token can have."""
    return [{"name": name, "description": DESCRIPTIONS[name]} for name in TOKEN_SCOPES]  # type: ignore[typeddict-item]
