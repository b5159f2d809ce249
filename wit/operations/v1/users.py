"""Users in the public REST API."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from wit.db.port import Row
from wit.errors import Invalid
from wit.operations.access import Public, SignedIn
from wit.operations.call import Call
from wit.operations.inputs import OfUser
from wit.operations.registry import Input, Page, Router
from wit.operations.v1_shapes import (
    OwnUser,
    Repository,
    Sorted,
    User,
    page_of,
    repository,
    route,
    user,
)

router = Router("v1.users", trpc=False)


class Change(Input):
    """``company`` and ``twitter_username`` are taken and dropped: there is nowhere to put them."""

    name: Annotated[str, Field(max_length=255)] | None = None
    bio: Annotated[str, Field(max_length=500)] | None = None
    location: Annotated[str, Field(max_length=100)] | None = None
    blog: Annotated[str, Field(max_length=255)] | None = None
    company: Annotated[str, Field(max_length=255)] | None = None
    twitter_username: Annotated[str, Field(max_length=255)] | None = None


class Repositories(Sorted, OfUser):
    pass


@router.query(
    "me",
    access=SignedIn("user:read"),
    limit="api",
    rest=(route("GET", "/user"), route("GET", "/users")),
)
async def me(call: Call) -> OwnUser:
    """The caller, with what only the caller sees."""
    return await _own(call, await call.core.users.get(call.user_id))


@router.mutation(
    "update",
    access=SignedIn("user:write"),
    errors=("invalid",),
    limit="api",
    rest=(route("PATCH", "/user"), route("PATCH", "/users")),
)
async def update(call: Call, values: Change) -> OwnUser:
    """Change the caller's profile; null clears a field but the name."""
    columns = {"name": "name", "bio": "bio", "location": "location", "blog": "website"}
    changes = {
        columns[field]: getattr(values, field) or ""
        for field in values.model_fields_set
        if field in columns
    }
    if not changes:
        raise Invalid("there is nothing to change: send name, bio, location or blog")
    return await _own(call, await call.core.identity.profiles.update(call.user_id, changes))


@router.query(
    "get",
    access=Public(),
    errors=("not_found",),
    limit="api",
    rest=route("GET", "/users/{username}"),
)
async def get(call: Call, values: OfUser) -> User:
    """Anybody, as everybody sees it."""
    row = await call.core.users.by_username(values.username)
    public, _ = await call.core.directory.owned(row["id"])
    return user(row, public)


@router.query(
    "repos",
    access=Public(),
    errors=("not_found",),
    limit="api",
    rest=route("GET", "/users/{username}/repos"),
)
async def repos(call: Call, values: Repositories) -> Page[Repository]:
    """A user's repositories: those that the caller may read."""
    row = await call.core.users.by_username(values.username)
    found = await call.core.directory.of_owner(
        call.actor,
        row["id"],
        sort=values.sort,
        descending=values.direction == "desc",
        limit=values.per_page,
        offset=values.offset,
    )
    url = call.core.config.public_url
    return page_of([repository(each, url) for each in found.rows], values, found.total)


async def _own(call: Call, row: Row) -> OwnUser:
    """An OAuth app sees the address only if it may; numbers of what is private, too."""
    public, private = await call.core.directory.owned(row["id"])
    return {
        **user(row, public),
        "email": row["email"] if call.actor.has_scope("user:email") else None,
        "private_repos": private if call.actor.has_scope("repo:read") else 0,
    }
