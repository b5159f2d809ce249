"""Signing up and in for clients without cookies, and one's own account (contract, auth.md)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from wit.access.actor import Origin
from wit.accounts.github import PROVIDER
from wit.accounts.passwords import MAX_LENGTH, MIN_LENGTH
from wit.accounts.sessions import Device
from wit.accounts.sign_up import NewAccount
from wit.accounts.users import check_email
from wit.errors import Invalid
from wit.operations.access import Public, SignedIn
from wit.operations.call import Call
from wit.operations.inputs import Maybe
from wit.operations.registry import Input, Router
from wit.operations.shapes import Success, User, user


def _email(text: str) -> str:
    try:
        return check_email(text)
    except Invalid:
        raise ValueError("Invalid email") from None


Email = Annotated[
    str,
    Field(max_length=254, json_schema_extra={"format": "email"}),
    AfterValidator(_email),
]
Username = Annotated[str, Field(min_length=3, max_length=39)]
Address = Annotated[str, Field(max_length=500, json_schema_extra={"format": "uri"})]

router = Router("auth")


class Register(Input):
    username: Username
    email: Email
    password: Annotated[str, Field(min_length=MIN_LENGTH, max_length=MAX_LENGTH)]
    name: Maybe[Annotated[str, Field(max_length=255)]] = None
    invitation: Annotated[str, Field(max_length=100)] | None = None
    """wit's own: the secret of an invitation's link."""


class Login(Input):
    usernameOrEmail: Annotated[str, Field(max_length=254)]
    password: Annotated[str, Field(max_length=4 * MAX_LENGTH)]
    code: Annotated[str, Field(max_length=20)] | None = None
    """wit's own: the second factor, of those who have set one up."""


class CheckUsername(Input):
    username: Username


class CheckEmail(Input):
    email: Email


class UpdateProfile(Input):
    name: Maybe[Annotated[str, Field(max_length=255)]] = None
    bio: Annotated[str, Field(max_length=500)] | None = None
    location: Annotated[str, Field(max_length=100)] | None = None
    website: Maybe[Annotated[Address, Field(max_length=255)]] = None
    avatarUrl: Maybe[Address] = None


class Disconnect(Input):
    provider: Annotated[str, Field(min_length=1, max_length=40)]


class SignedInUser(TypedDict):
    user: User
    sessionId: str


class Me(TypedDict):
    id: str
    email: str
    name: str
    username: str | None
    image: str | None


class Available(TypedDict):
    available: bool


class CanChange(TypedDict):
    canChange: bool


class ConnectedAccount(TypedDict):
    id: str
    provider: str
    accountId: str
    connectedAt: datetime


class GitHubToken(TypedDict):
    connected: bool
    token: str | None
    username: str | None


COLUMNS = {
    "name": "name",
    "bio": "bio",
    "location": "location",
    "website": "website",
    "avatarUrl": "avatar_url",
}


def device(call: Call) -> Device:
    return Device(call.client.address, call.client.user_agent)


@router.mutation(
    "register",
    access=Public(),
    errors=("invalid", "forbidden", "conflict", "rate_limited"),
)
async def register(call: Call, values: Register) -> SignedInUser:
    """Make an account and sign in: ``sessionId`` is sent as a Bearer token from now on."""
    identity = call.core.identity
    new = NewAccount(
        email=values.email,
        name=values.name or values.username,
        username=values.username,
        invitation=values.invitation or "",
    )
    made = await identity.sign_up.register(new, values.password, call.client.address)
    session = await identity.sessions.create(made["id"], device(call))
    return {"user": user(made), "sessionId": session.token}


@router.mutation(
    "login",
    access=Public(),
    errors=("invalid", "unauthorized", "forbidden", "rate_limited"),
)
async def login(call: Call, values: Login) -> SignedInUser:
    """Sign in: ``sessionId`` is sent as a Bearer token from now on."""
    session = await call.core.identity.sign_in.by_password_and_code(
        values.usernameOrEmail, values.password, values.code or "", device(call)
    )
    return {"user": user(session.user), "sessionId": session.token}


@router.query("me", access=Public())
async def me(call: Call) -> Me | None:
    """Who is signed in; the e-mail address only for a token that may see it."""
    if call.actor.user_id is None:
        return None
    row = await call.core.identity.profiles.get(call.actor.user_id)
    return {
        "id": row["id"],
        "email": row["email"] if call.actor.has_scope("user:email") else "",
        "name": row["name"],
        "username": row["username"],
        "image": row["image"],
    }


@router.query("checkUsername", access=Public(), limit="search")
async def check_username(call: Call, values: CheckUsername) -> Available:
    """Whether one could still take this name."""
    return {"available": await call.core.identity.sign_up.name_free(values.username)}


@router.query("checkEmail", access=Public(), limit="search")
async def check_email_address(call: Call, values: CheckEmail) -> Available:
    """Whether no account has this address."""
    return {"available": not await call.core.users.email_taken(values.email)}


@router.mutation("updateProfile", access=SignedIn("user:write"), errors=("invalid",))
async def update_profile(call: Call, values: UpdateProfile) -> User:
    """Change what others see of oneself; an empty text clears."""
    given = values.model_dump(exclude_unset=True)
    if given.get("name") is None:
        given.pop("name", None)
    changes = {COLUMNS[field]: value for field, value in given.items()}
    return user(await call.core.identity.profiles.update(call.user_id, changes))


@router.query("canChangePassword", access=SignedIn("user:read"))
async def can_change_password(call: Call) -> CanChange:
    """Whether there is a password to change."""
    ways = await call.core.identity.linked.list(call.user_id)
    return {"canChange": any(way["provider_id"] == "credential" for way in ways)}


@router.mutation("logoutAll", access=SignedIn(None))
async def logout_all(call: Call) -> Success:
    """End all sessions but the one that asks."""
    own = call.actor.credential_id if call.actor.origin is Origin.SESSION else None
    await call.core.identity.sessions.revoke_all(call.user_id, keep=own or "")
    return {"success": True}


@router.query("getConnectedAccounts", access=SignedIn("user:read"))
async def get_connected_accounts(call: Call) -> list[ConnectedAccount]:
    """By what one can sign in: ``credential`` is the password."""
    return [
        {
            "id": row["id"],
            "provider": row["provider_id"],
            "accountId": row["account_id"],
            "connectedAt": row["created_at"],
        }
        for row in await call.core.identity.linked.list(call.user_id)
    ]


@router.query("getGitHubToken", access=SignedIn(None))
async def get_github_token(call: Call) -> GitHubToken:
    """One's access token at GitHub, if an account there is connected."""
    token = await call.core.identity.linked.token(call.user_id, PROVIDER)
    if token is None:
        return {"connected": False, "token": None, "username": None}
    return {"connected": True, "token": token, "username": call.actor.username}


@router.mutation("disconnectAccount", access=SignedIn(None), errors=("invalid", "not_found"))
async def disconnect_account(call: Call, values: Disconnect) -> Success:
    """Give up a way to sign in, unless it is the last one."""
    await call.core.identity.linked.disconnect(call.user_id, values.provider)
    return {"success": True}
