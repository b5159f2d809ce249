"""Searching in the public REST API."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict

from wit.operations.access import Public
from wit.operations.call import Call
from wit.operations.registry import Router
from wit.operations.v1_shapes import Paged, Repository, UserItem, repository, route, user_item

router = Router("v1.search", trpc=False)


class Query(Paged):
    q: Annotated[str, Field(min_length=1, max_length=256)]


class Envelope(TypedDict):
    total_count: int
    incomplete_results: bool


class Repositories(Envelope):
    items: list[Repository]


class Users(Envelope):
    items: list[UserItem]


class Issues(Envelope):
    items: list[Any]


@router.query(
    "repositories", access=Public(), limit="api", rest=route("GET", "/search/repositories")
)
async def repositories(call: Call, values: Query) -> Repositories:
    """Repositories that the caller may read, by a part of OWNER/NAME or of the description."""
    found = await call.core.directory.search(call.actor, values.q, values.per_page, values.offset)
    url = call.core.config.public_url
    return {
        "total_count": found.total,
        "incomplete_results": False,
        "items": [repository(row, url) for row in found.rows],
    }


@router.query("users", access=Public(), limit="api", rest=route("GET", "/search/users"))
async def users(call: Call, values: Query) -> Users:
    """Users by a part of their name or user name."""
    found = await call.core.directory.people(values.q, values.per_page, values.offset)
    return {
        "total_count": found.total,
        "incomplete_results": False,
        "items": [user_item(row) for row in found.rows],
    }


@router.query("issues", access=Public(), limit="api", rest=route("GET", "/search/issues"))
async def issues(call: Call, values: Query) -> Issues:
    """Issues of one repository; there are none yet, so nothing is ever found."""
    return {"total_count": 0, "incomplete_results": False, "items": []}
