"""Changing what is in a repository, and who works on it.

Contract, trpc-notes.md, "repos (38)". Branches and files go the way of every push, so protected
branches, archived and damaged repositories refuse here what they refuse there.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import Level
from wit.operations.access import Repo
from wit.operations.call import Call
from wit.operations.inputs import OfRepo
from wit.operations.registry import Router
from wit.operations.routers import collaborators
from wit.operations.routers.repos import BranchName
from wit.operations.shapes import Success
from wit.repositories.committing import FileEdit

MAX_CONTENT = 4 * 1024 * 1024
"""Characters of a file that is edited in the browser; larger ones are pushed."""

router = Router("repos")


class CreateBranch(OfRepo):
    name: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9._/-]+$")]
    fromRef: Annotated[str, Field(min_length=1, max_length=1024)] = "HEAD"


class DeleteBranch(OfRepo):
    name: Annotated[str, Field(min_length=1, max_length=1024)]


class UpdateFile(OfRepo):
    """``ref`` is a branch; without it the repository's default branch counts, usually main."""

    ref: BranchName = "main"
    path: Annotated[str, Field(min_length=1, max_length=4000)]
    content: Annotated[str, Field(max_length=MAX_CONTENT)]
    message: Annotated[str, Field(min_length=1, max_length=65536)]


class CreatedBranch(TypedDict):
    name: str
    sha: str
    fromRef: str


class DeletedBranch(TypedDict):
    success: bool
    name: str


class Committed(TypedDict):
    sha: str
    path: str
    branch: str


@router.mutation(
    "createBranch",
    access=Repo(Level.WRITE),
    errors=("invalid", "conflict", "unavailable", "timeout"),
)
async def create_branch(call: Call, values: CreateBranch) -> CreatedBranch:
    """A new branch, from a branch, tag or commit."""
    sha = await call.core.branches.create(
        call.actor,
        call.repo,
        values.name,
        from_ref=values.fromRef,
        request_id=call.client.request_id,
    )
    return {"name": values.name, "sha": sha, "fromRef": values.fromRef}


@router.mutation(
    "deleteBranch",
    access=Repo(Level.WRITE),
    errors=("invalid", "not_found", "conflict", "unavailable"),
)
async def delete_branch(call: Call, values: DeleteBranch) -> DeletedBranch:
    """Remove a branch, but not the default branch."""
    await call.core.branches.delete(call.actor, call.repo, values.name, call.client.request_id)
    return {"success": True, "name": values.name}


@router.mutation(
    "updateFile",
    access=Repo(Level.WRITE),
    errors=("invalid", "conflict", "too_large", "unavailable", "timeout"),
    max_body=6 * MAX_CONTENT,
)
async def update_file(call: Call, values: UpdateFile) -> Committed:
    """One commit by the caller that gives a file this content.

    A branch that does not exist begins with this commit. Conflict if somebody else changed the
    branch at the same time: read the file again, then try again.
    """
    branch = values.ref if "ref" in values.model_fields_set else call.repo["default_branch"]
    edit = FileEdit(branch, values.path, values.content.encode(), values.message)
    sha = await call.core.committing.update_file(
        call.actor, call.repo, edit, call.client.request_id
    )
    return {"sha": sha, "path": values.path, "branch": branch}


@router.query("collaborators", access=collaborators.READER)
async def list_collaborators(
    call: Call, values: collaborators.List
) -> list[collaborators.WithUser]:
    """Who works on a repository beside its owner."""
    return await collaborators.shown(call, values.limit)


@router.mutation("addCollaborator", access=collaborators.MANAGER, errors=("invalid", "not_found"))
async def add_collaborator(call: Call, values: collaborators.Grant) -> collaborators.Collaborator:
    """Let a user work on a repository."""
    return collaborators.collaborator(
        await call.core.collaborators.add(call.repo["id"], values.userId, values.permission)
    )


@router.mutation("removeCollaborator", access=collaborators.MANAGER, errors=("not_found",))
async def remove_collaborator(call: Call, values: collaborators.OfCollaborator) -> Success:
    """Take a collaborator's rights away."""
    await call.core.collaborators.remove(call.repo["id"], values.userId)
    return {"success": True}
