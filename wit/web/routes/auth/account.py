"""The caller's account: profile, password, and ways to sign in."""

from __future__ import annotations

from typing import Any

import attrs

from wit.accounts.users import NameTaken
from wit.errors import NotFound, Unauthorized
from wit.web.routes.auth import errors, shapes
from wit.web.routes.auth.errors import AuthError
from wit.web.routes.auth.exchange import Body, Exchange
from wit.web.routes.auth.sign import check_new_password, check_username

_COLUMNS = {
    "name": "name",
    "image": "image",
    "bio": "bio",
    "location": "location",
    "website": "website",
    "avatarUrl": "avatar_url",
}


class UpdateUser(Body):
    name: str | None = None
    image: str | None = None
    bio: str | None = None
    location: str | None = None
    website: str | None = None
    avatarUrl: str | None = None
    username: str | None = None
    displayUsername: str | None = None
    email: str | None = None


class ChangePassword(Body):
    currentPassword: str
    newPassword: str
    revokeOtherSessions: bool | None = None


class Unlink(Body):
    providerId: str


async def update_user(x: Exchange) -> Any:
    own = await x.signed_in()
    body = x.body(UpdateUser)
    if body.email:
        raise AuthError(400, "Email can not be updated")
    username = body.username or body.displayUsername
    given = body.model_dump(exclude_unset=True)
    changes = {column: given[field] for field, column in _COLUMNS.items() if field in given}
    if not changes and username is None:
        raise AuthError(400, "No fields to update")
    if username is not None and username.lower() != own.user["username"]:
        check_username(username, 400)
    try:
        user = await x.identity.profiles.update(own.user_id, changes, username)
    except NameTaken:
        raise errors.USERNAME_TAKEN() from None
    x.begin(attrs.evolve(own, user=user))
    return {"status": True}


async def change_password(x: Exchange) -> Any:
    own = await x.signed_in()
    body = x.body(ChangePassword)
    check_new_password(body.newPassword)
    ways = await x.identity.linked.list(own.user_id)
    if all(way["provider_id"] != "credential" for way in ways):
        raise errors.NO_PASSWORD()
    try:
        await x.identity.password_reset.change(
            own.user_id, body.currentPassword, body.newPassword, x.device.address
        )
    except Unauthorized:
        raise errors.INVALID_PASSWORD() from None
    token = None
    if body.revokeOtherSessions:
        await x.identity.sessions.revoke_all(own.user_id)
        await x.identity.two_factor.trusted.forget(own.user_id)
        session = await x.identity.sessions.create(own.user_id, x.device, remember=own.remember)
        x.begin(session)
        token = session.token
    return {"token": token, "user": shapes.user(own.user)}


async def list_accounts(x: Exchange) -> Any:
    own = await x.signed_in()
    return [shapes.account(row) for row in await x.identity.linked.list(own.user_id)]


async def unlink_account(x: Exchange) -> Any:
    own = await x.signed_in()
    body = x.body(Unlink)
    try:
        await x.identity.linked.disconnect(own.user_id, body.providerId)
    except NotFound:
        raise AuthError(400, "Account not found") from None
    return {"status": True}
