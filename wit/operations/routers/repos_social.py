"""What people do with repositories of others: star, watch, fork.

Contract, trpc-notes.md, "repos (38)", with its holes closed: whoever may not read a repository
learns nothing about it here either, and nobody's e-mail address is shown.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import Level
from wit.git.names import RepoName
from wit.operations.access import Repo, need_scope
from wit.operations.call import Call
from wit.operations.inputs import Maybe, Offset, OfRepoId
from wit.operations.registry import Router
from wit.operations.routers.repos import NewName
from wit.operations.shapes import Repository, Success, UserRef, repository, user_ref

router = Router("repos")


class Page(OfRepoId):
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    offset: Offset = 0


class Fork(OfRepoId):
    name: Maybe[NewName] = None


class CanFork(OfRepoId):
    name: Maybe[Annotated[str, Field(max_length=100)]] = None


class Starred(TypedDict):
    starred: bool


class Watching(TypedDict):
    watching: bool


class OriginOwner(TypedDict):
    id: str
    username: str | None


class Origin(TypedDict):
    id: str
    name: str
    ownerId: str
    owner: OriginOwner | None


class Forked(Repository):
    forkedFrom: Origin
    branches: list[str]


class Forkable(TypedDict):
    canFork: Literal[True]


class NotForkable(TypedDict):
    canFork: Literal[False]
    reason: str


class OtherName(NotForkable):
    suggestedName: str


READER = Repo(Level.READ, by="repoId", signed_in=True)
ANYBODY = Repo(Level.READ, by="repoId")


@router.mutation("star", access=READER)
async def star(call: Call, values: OfRepoId) -> Success:
    """Star a repository; a second time changes nothing."""
    await call.core.stars.add(call.repo["id"], call.user_id)
    return {"success": True}


@router.mutation("unstar", access=READER)
async def unstar(call: Call, values: OfRepoId) -> Success:
    """Take the star away, if there is one."""
    await call.core.stars.remove(call.repo["id"], call.user_id)
    return {"success": True}


@router.query("isStarred", access=READER)
async def is_starred(call: Call, values: OfRepoId) -> Starred:
    """Whether the caller has starred a repository."""
    return {"starred": await call.core.stars.has(call.repo["id"], call.user_id)}


@router.mutation("watch", access=READER)
async def watch(call: Call, values: OfRepoId) -> Success:
    """Watch a repository: what happens there is in the caller's feed."""
    await call.core.watches.add(call.repo["id"], call.user_id)
    return {"success": True}


@router.mutation("unwatch", access=READER)
async def unwatch(call: Call, values: OfRepoId) -> Success:
    """Stop watching a repository."""
    await call.core.watches.remove(call.repo["id"], call.user_id)
    return {"success": True}


@router.query("isWatching", access=READER)
async def is_watching(call: Call, values: OfRepoId) -> Watching:
    """Whether the caller watches a repository."""
    return {"watching": await call.core.watches.has(call.repo["id"], call.user_id)}


@router.query("stargazers", access=ANYBODY)
async def stargazers(call: Call, values: Page) -> list[UserRef]:
    """Who has starred a repository, the latest first."""
    rows = await call.core.stars.people(call.repo["id"], values.limit, values.offset)
    return [user_ref(row) for row in rows]


@router.query("watchers", access=ANYBODY)
async def watchers(call: Call, values: Page) -> list[UserRef]:
    """Who watches a repository, the latest first."""
    rows = await call.core.watches.people(call.repo["id"], values.limit, values.offset)
    return [user_ref(row) for row in rows]


@router.query("forks", access=ANYBODY)
async def forks(call: Call, values: Page) -> list[Repository]:
    """The forks that the caller may read, the latest first."""
    rows = await call.core.listing.forks(call.actor, call.repo["id"], values.limit, values.offset)
    return [repository(row) for row in rows]


@router.mutation(
    "fork",
    access=Repo(Level.READ, by="repoId", signed_in=True),
    errors=("invalid", "conflict", "unavailable"),
    limit="strict",
)
async def fork(call: Call, values: Fork) -> Forked:
    """A copy of a repository, of the caller's own; of a private one, a private copy."""
    need_scope(call.actor, "repo:write")
    core, origin = call.core, call.repo
    name = RepoName(call.actor.username, values.name or origin["name"])
    row = await core.repos.fork_of(origin, name, actor_id=call.user_id)
    owner: OriginOwner | None = None
    if origin["owner_type"] == "user":
        owner = {
            "id": origin["owner_id"],
            "username": (await core.users.get(origin["owner_id"]))["username"],
        }
    return {
        **repository(row),
        "forkedFrom": {
            "id": origin["id"],
            "name": origin["name"],
            "ownerId": origin["owner_id"],
            "owner": owner,
        },
        "branches": await core.branches.names(row),
    }


@router.query("canFork", access=READER)
async def can_fork(call: Call, values: CanFork) -> OtherName | NotForkable | Forkable:
    """Whether the caller can have a fork of that name; if not, why, and which name is free."""
    name = values.name or call.repo["name"]
    suggested, reason = await call.core.listing.fork_name(call.user_id, call.actor.username, name)
    if not reason:
        return {"canFork": True}
    if suggested is None:
        return {"canFork": False, "reason": reason}
    return {"canFork": False, "reason": reason, "suggestedName": suggested}
