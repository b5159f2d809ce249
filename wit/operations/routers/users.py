"""People, as everybody sees them, and one's own profile (contract, trpc-notes.md, "users (10)").

Nobody sees the e-mail address of somebody else.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from wit.db.port import Row
from wit.errors import Invalid
from wit.git.names import check_new_owner
from wit.operations.access import Public, SignedIn
from wit.operations.call import Call
from wit.operations.inputs import (
    MAX_LIST,
    Limit,
    ListLimit,
    Maybe,
    Offset,
    OfUser,
    SearchText,
    UserId,
    given,
)
from wit.operations.registry import Input, Router
from wit.operations.shapes import (
    Organization,
    Person,
    Repository,
    User,
    organization,
    person,
    repository,
    user,
)

COLUMNS = {
    "name": "name",
    "bio": "bio",
    "location": "location",
    "website": "website",
    "avatarUrl": "avatar_url",
}

router = Router("users")


class ByUserId(Input):
    id: UserId


class Search(Input):
    query: SearchText
    limit: Limit = 20


class OfUserPaged(OfUser):
    limit: ListLimit = MAX_LIST
    offset: Offset = 0


class Name(Input):
    username: Annotated[str, Field(min_length=1, max_length=255)]


class Update(Input):
    """What is left out stays; null and "" clear a field but the name."""

    name: Maybe[Annotated[str, Field(max_length=255)]] = None
    bio: Annotated[str, Field(max_length=500)] | None = None
    location: Annotated[str, Field(max_length=100)] | None = None
    website: Maybe[Annotated[str, Field(max_length=255)]] = None
    avatarUrl: Maybe[Annotated[str, Field(max_length=500)]] = None


class Profile(TypedDict):
    id: str
    username: str | None
    name: str
    avatarUrl: str | None
    bio: str | None
    location: str | None
    website: str | None
    createdAt: datetime


class OwnProfile(Profile):
    email: str


class WatchedRepository(Repository):
    ownerName: str


class Availability(TypedDict):
    available: bool


def profile(row: Row) -> Profile:
    """From a row of ``user``: what everybody may see."""
    return {
        "id": row["id"],
        "username": row["username"],
        "name": row["name"],
        "avatarUrl": row["avatar_url"],
        "bio": row["bio"],
        "location": row["location"],
        "website": row["website"],
        "createdAt": row["created_at"],
    }


@router.query("me", access=SignedIn("user:read"), errors=("not_found",))
async def me(call: Call) -> OwnProfile:
    """The caller. An OAuth app without the scope user:email sees no address."""
    row = await call.core.users.get(call.user_id)
    email = row["email"] if call.actor.has_scope("user:email") else ""
    return {**profile(row), "email": email}


@router.query("get", access=Public(), errors=("not_found",))
async def get(call: Call, values: OfUser) -> Profile:
    """Somebody, by user name in any case."""
    return profile(await call.core.users.by_username(values.username))


@router.query("getById", access=Public(), errors=("not_found",))
async def get_by_id(call: Call, values: ByUserId) -> Profile:
    """Somebody, by id."""
    return profile(await call.core.users.get(values.id))


@router.query("search", access=Public(), limit="search")
async def search(call: Call, values: Search) -> list[Person]:
    """People by a part of their name or user name, in any case; never by e-mail address."""
    found = await call.core.directory.people(values.query, values.limit, 0)
    return [person(row) for row in found.rows]


@router.query("repos", access=Public(), errors=("not_found",))
async def repos(call: Call, values: OfUserPaged) -> list[Repository]:
    """A user's repositories that the caller may read, the latest change first."""
    owner = await call.core.users.by_username(values.username)
    found = await call.core.directory.of_owner(
        call.actor,
        owner["id"],
        sort="updated",
        descending=True,
        limit=values.limit,
        offset=values.offset,
    )
    return [repository(row) for row in found.rows]


@router.query("stars", access=Public(), errors=("not_found",))
async def stars(call: Call, values: OfUserPaged) -> list[Repository]:
    """What a user has starred and the caller may read, the latest star first."""
    who = await call.core.users.by_username(values.username)
    rows = await call.core.marked.starred(call.actor, who["id"], values.limit, values.offset)
    return [repository(row) for row in rows]


@router.query("watched", access=Public(), errors=("not_found",))
async def watched(call: Call, values: OfUserPaged) -> list[WatchedRepository]:
    """What a user watches and the caller may read, the latest first."""
    who = await call.core.users.by_username(values.username)
    rows = await call.core.marked.watched(call.actor, who["id"], values.limit, values.offset)
    return [{**repository(row), "ownerName": row["owner_name"]} for row in rows]


@router.query("orgs", access=Public(), errors=("not_found",))
async def orgs(call: Call, values: OfUserPaged) -> list[Organization]:
    """The organizations that a user is a member of, by name."""
    who = await call.core.users.by_username(values.username)
    rows = await call.core.organizations.of_user(who["id"], values.limit, values.offset)
    return [organization(row) for row in rows]


@router.mutation("update", access=SignedIn("user:write"), errors=("invalid", "not_found"))
async def update(call: Call, values: Update) -> User:
    """Change the caller's profile."""
    changes = given(values, COLUMNS, "name")
    shown = user(await call.core.identity.profiles.update(call.user_id, changes))
    return shown if call.actor.has_scope("user:email") else {**shown, "email": ""}


@router.query("checkUsername", access=Public(), limit="relaxed")
async def check_username(call: Call, values: Name) -> Availability:
    """Whether a new user could have this name."""
    try:
        check_new_owner(values.username)
    except Invalid:
        return {"available": False}
    return {"available": not await call.core.users.name_taken(values.username)}
