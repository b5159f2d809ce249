"""Repositories themselves: finding, making, changing, giving away and removing them.

Contract, trpc-notes.md, "repos (38)"; the other procedures of this router are in the modules
``repos_*`` beside this one.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, Field
from typing_extensions import TypedDict

from wit.access.actor import Level, OrgRole
from wit.git.names import RepoName
from wit.operations.access import Org, Public, Repo, SignedIn, need_scope
from wit.operations.call import Call
from wit.operations.inputs import ById, Maybe, Offset, OfRepo, OfRepoId, OwnerName, RepoTitle, Uuid
from wit.operations.registry import Input, Rest, Router
from wit.operations.shapes import Repository, UserRef, repository
from wit.repositories.settings import Changes

MAX_LIST = 1000

NewName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-zA-Z0-9._-]+$")]
Description = Annotated[str, Field(max_length=500)]
BranchName = Annotated[str, Field(min_length=1, max_length=255)]
OwnerType = Literal["user", "organization"]

router = Router("repos")


class List(Input):
    """Users and organizations share one space of names, so ``ownerType`` says nothing new."""

    owner: Maybe[OwnerName] = None
    ownerType: OwnerType = "user"
    limit: Annotated[int, Field(ge=1, le=MAX_LIST)] = MAX_LIST
    offset: Offset = 0


class Get(Input):
    """The documentation page says ``name`` instead of ``repo``."""

    owner: OwnerName
    repo: Annotated[RepoTitle, Field(validation_alias=AliasChoices("repo", "name"))]


class Create(Input):
    """Without ``defaultBranch`` the server's own setting counts, usually main."""

    name: NewName
    description: Maybe[Description] = None
    isPrivate: bool = False
    defaultBranch: BranchName = "main"


class CreateForOrg(Create):
    orgId: Uuid


class Settings(Input):
    name: Maybe[NewName] = None
    description: Maybe[Description] = None
    isPrivate: Maybe[bool] = None
    defaultBranch: Maybe[BranchName] = None
    homepage: Annotated[str, Field(max_length=500)] | None = None
    isArchived: Maybe[bool] = None

    def changes(self) -> Changes:
        return Changes(
            name=self.name,
            description=self.description,
            homepage=self.homepage,
            is_private=self.isPrivate,
            is_archived=self.isArchived,
            default_branch=self.defaultBranch,
        )


class Update(Settings, OfRepoId):
    pass


class Transfer(OfRepo):
    newOwner: OwnerName
    newOwnerType: OwnerType


class OrganizationRef(TypedDict):
    id: str
    name: str
    type: Literal["organization"]


class Found(TypedDict):
    repo: Repository
    owner: UserRef | OrganizationRef


class Transferred(TypedDict):
    success: bool
    repo: Repository
    previousOwner: str
    newOwner: str


class Counts(TypedDict):
    openIssuesCount: int
    openPrsCount: int
    success: bool


@router.query("list", access=Public(), rest=Rest("GET", "/api/repos/{owner}"))
async def list_(call: Call, values: List) -> list[Repository]:
    """An owner's repositories that the caller may read, the latest change first."""
    if values.owner is None:
        return []
    rows = await call.core.listing.of_owner(call.actor, values.owner, values.limit, values.offset)
    return [repository(row) for row in rows]


@router.query("get", access=Repo(Level.READ), rest=Rest("GET", "/api/repos/{owner}/{repo}"))
async def get(call: Call, values: Get) -> Found:
    """A repository and its owner."""
    repo = call.repo
    owner: UserRef | OrganizationRef
    if repo["owner_type"] == "user":
        owner = {
            "id": repo["owner_id"],
            "name": repo["owner_display_name"],
            "email": "",
            "username": repo["owner_username"],
            "image": repo["owner_image"],
            "avatarUrl": repo["owner_avatar_url"],
        }
    else:
        owner = {"id": repo["owner_id"], "name": repo["owner_name"], "type": "organization"}
    return {"repo": repository(repo), "owner": owner}


@router.query("getById", access=Repo(Level.READ, by="id"))
async def get_by_id(call: Call, values: ById) -> Repository:
    """A repository, by its id."""
    return repository(call.repo)


@router.mutation(
    "create",
    access=SignedIn("repo:write"),
    errors=("invalid", "conflict", "unavailable"),
    rest=Rest("POST", "/api/repos", status=201),
)
async def create(call: Call, values: Create) -> Repository:
    """A new, empty repository of the caller's."""
    return await _create(call, call.actor.username, values)


@router.mutation(
    "createForOrg",
    access=Org(OrgRole.ADMIN),
    errors=("invalid", "conflict", "unavailable"),
)
async def create_for_org(call: Call, values: CreateForOrg) -> Repository:
    """A new, empty repository of an organization."""
    return await _create(call, call.org["name"], values)


async def _create(call: Call, owner: str, values: Create) -> Repository:
    chosen = "defaultBranch" in values.model_fields_set
    row = await call.core.repos.create(
        RepoName(owner, values.name),
        private=values.isPrivate,
        description=values.description,
        default_branch=values.defaultBranch if chosen else None,
        actor_id=call.user_id,
    )
    return repository(row)


@router.mutation(
    "update",
    access=Repo(Level.ADMIN, by="repoId"),
    errors=("invalid", "conflict", "unavailable"),
)
async def update(call: Call, values: Update) -> Repository:
    """Change what is given. An empty description or homepage removes it."""
    row = await call.core.settings.change(call.repo, values.changes(), call.user_id)
    return repository(row)


@router.mutation("delete", access=Repo(Level.OWNER, by="repoId"), errors=("unavailable",))
async def delete(call: Call, values: OfRepoId) -> bool:
    """Remove a repository for good, with all that is in it."""
    await call.core.repos.delete_by_id(call.repo["id"])
    return True


@router.mutation(
    "transfer",
    access=Repo(Level.OWNER),
    errors=("not_found", "conflict", "unavailable"),
    rest=Rest("POST", "/api/repos/{owner}/{repo}/transfer"),
)
async def transfer(call: Call, values: Transfer) -> Transferred:
    """Give a repository to a user, or to an organization that the caller is an admin of."""
    if values.newOwnerType == "organization":
        need_scope(call.actor, "org:write")
        target = await call.core.org_gate.by_name(call.actor, values.newOwner, OrgRole.ADMIN)
        new_owner = target["name"]
    else:
        new_owner = (await call.core.users.by_username(values.newOwner))["username"]
    name = RepoName(new_owner, call.repo["name"])
    row = await call.core.repos.relocate(call.repo["id"], name, call.user_id)
    return {
        "success": True,
        "repo": repository(row),
        "previousOwner": call.repo["owner_name"],
        "newOwner": row["owner_name"],
    }


@router.mutation("recalculateCounts", access=Repo(Level.OWNER))
async def recalculate_counts(call: Call, values: OfRepo) -> Counts:
    """Count anew what the repository's row counts."""
    row = await call.core.listing.recount(call.repo["id"])
    return {
        "openIssuesCount": row["open_issues_count"],
        "openPrsCount": row["open_prs_count"],
        "success": True,
    }
