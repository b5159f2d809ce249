"""Repositories in the public REST API."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import Level
from wit.access.ref_rules import BRANCHES
from wit.db.port import Row
from wit.operations.access import Repo
from wit.operations.call import Call
from wit.operations.inputs import OfRepo, OwnerName, RepoTitle
from wit.operations.registry import Page, Router
from wit.operations.v1_shapes import (
    Collaborator,
    PagedRepo,
    Permissions,
    Repository,
    UserItem,
    commit_url,
    page_of,
    repository,
    route,
    user_item,
)
from wit.repositories.settings import Changes

PLACE = "/repos/{owner}/{repo}"

router = Router("v1.repos", trpc=False)


class Change(OfRepo):
    name: RepoTitle | None = None
    description: Annotated[str, Field(max_length=1000)] | None = None
    homepage: Annotated[str, Field(max_length=500)] | None = None
    private: bool | None = None
    default_branch: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    archived: bool | None = None


class OfCollaborator(OfRepo):
    username: OwnerName


class Grant(OfCollaborator):
    permission: Literal["read", "write", "admin"] = "write"


class Commit(TypedDict):
    sha: str
    url: str


class Branch(TypedDict):
    name: str
    protected: bool
    commit: Commit


@router.query("get", access=Repo(Level.READ), limit="api", rest=route("GET", PLACE))
async def get(call: Call, values: OfRepo) -> Repository:
    """A repository."""
    return repository(call.repo, call.core.config.public_url)


@router.mutation(
    "update",
    access=Repo(Level.ADMIN, scope="repo:write"),
    errors=("invalid", "conflict", "forbidden", "unavailable"),
    limit="api",
    rest=route("PATCH", PLACE),
)
async def update(call: Call, values: Change) -> Repository:
    """Change what is given; a description or homepage of null is removed."""
    given = values.model_fields_set
    changes = Changes(
        name=values.name,
        description=_or_empty(values.description, "description" in given),
        homepage=_or_empty(values.homepage, "homepage" in given),
        is_private=values.private,
        is_archived=values.archived,
        default_branch=values.default_branch,
    )
    return await _shown(call, await call.core.settings.change(call.repo, changes, call.user_id))


@router.mutation(
    "delete",
    access=Repo(Level.OWNER),
    errors=("unavailable",),
    limit="api",
    rest=route("DELETE", PLACE, 204),
)
async def delete(call: Call, values: OfRepo) -> None:
    """Remove the repository for good, with all that is in it."""
    await call.core.repos.delete_by_id(call.repo["id"])


@router.query(
    "branches",
    access=Repo(Level.READ),
    errors=("unavailable",),
    limit="api",
    rest=route("GET", f"{PLACE}/branches"),
)
async def branches(call: Call, values: PagedRepo) -> Page[Branch]:
    """The branches, by name; protected are those that a protection rule covers."""
    core, repo = call.core, call.repo
    snapshot = await core.refs.snapshot(core.repos.bare(repo))
    rules = await core.pushes.policy.rules(repo)
    found = [ref for ref in snapshot.refs if ref.name.startswith(BRANCHES)]
    page: list[Branch] = [
        {
            "name": ref.name.removeprefix(BRANCHES).decode("utf-8", "replace"),
            "protected": bool(rules.covering(ref.name)),
            "commit": {"sha": ref.oid, "url": commit_url(repo["full_name"], ref.oid)},
        }
        for ref in found[values.offset : values.offset + values.per_page]
    ]
    return page_of(page, values, len(found))


@router.query(
    "collaborators",
    access=Repo(Level.ADMIN, scope="repo:read"),
    limit="api",
    rest=route("GET", f"{PLACE}/collaborators"),
)
async def collaborators(call: Call, values: PagedRepo) -> Page[Collaborator]:
    """Who works on the repository beside its owner, and what each may do."""
    found = await call.core.directory.collaborators(call.repo["id"], values.per_page, values.offset)
    return page_of([_collaborator(row) for row in found.rows], values, found.total)


@router.mutation(
    "setCollaborator",
    access=Repo(Level.ADMIN),
    errors=("not_found", "conflict"),
    limit="api",
    rest=route("PUT", f"{PLACE}/collaborators/{{username}}", 201),
)
async def set_collaborator(call: Call, values: Grant) -> None:
    """Add a collaborator, or change what it may do."""
    await call.core.rights.set_collaborator(call.repo["id"], values.username, values.permission)


@router.mutation(
    "removeCollaborator",
    access=Repo(Level.ADMIN),
    errors=("not_found",),
    limit="api",
    rest=route("DELETE", f"{PLACE}/collaborators/{{username}}", 204),
)
async def remove_collaborator(call: Call, values: OfCollaborator) -> None:
    """Take a collaborator's rights away."""
    await call.core.rights.remove_collaborator(call.repo["id"], values.username)


@router.query(
    "stargazers",
    access=Repo(Level.READ),
    limit="api",
    rest=route("GET", f"{PLACE}/stargazers"),
)
async def stargazers(call: Call, values: PagedRepo) -> Page[UserItem]:
    """Who has starred the repository, the latest first."""
    rows = await call.core.stars.people(call.repo["id"], values.per_page, values.offset)
    return page_of([user_item(row) for row in rows], values, call.repo["stars_count"])


@router.mutation(
    "star",
    access=Repo(Level.READ, signed_in=True),
    limit="api",
    rest=route("PUT", "/repos/starred/{owner}/{repo}", 204),
)
async def star(call: Call, values: OfRepo) -> None:
    """Star a repository; a second time changes nothing."""
    await call.core.stars.add(call.repo["id"], call.user_id)


@router.mutation(
    "unstar",
    access=Repo(Level.READ, signed_in=True),
    limit="api",
    rest=route("DELETE", "/repos/starred/{owner}/{repo}", 204),
)
async def unstar(call: Call, values: OfRepo) -> None:
    """Take the star away, if there is one."""
    await call.core.stars.remove(call.repo["id"], call.user_id)


async def _shown(call: Call, row: Row) -> Repository:
    full = await call.core.directory.repository(row["id"])
    return repository(full, call.core.config.public_url)


def _or_empty(value: str | None, given: bool) -> str | None:
    """Null from a client removes a text; a field that is missing leaves it."""
    return (value or "") if given else None


def _collaborator(row: Row) -> Collaborator:
    permission = row["permission"]
    push, admin = permission in ("write", "admin"), permission == "admin"
    permissions: Permissions = {
        "pull": True,
        "triage": push,
        "push": push,
        "maintain": admin,
        "admin": admin,
    }
    return {**user_item(row), "permissions": permissions, "role_name": permission}
