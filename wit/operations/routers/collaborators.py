"""Who works on a repository, and invitations to do so (contract, trpc.json; invitations: wit's)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import Level
from wit.db.port import Row
from wit.errors import Forbidden, NotFound
from wit.operations.access import Repo, SignedIn
from wit.operations.call import Call
from wit.operations.inputs import OfRepoId, UserId, Uuid
from wit.operations.registry import Input, Router
from wit.operations.shapes import Success, UserRef, user_ref

Permission = Literal["read", "write", "admin"]

_LEVELS = {"read": Level.READ, "write": Level.WRITE, "admin": Level.ADMIN}

READER = Repo(Level.READ, by="repoId", signed_in=True)
MANAGER = Repo(Level.ADMIN, by="repoId")

router = Router("collaborators")


class List(OfRepoId):
    limit: Annotated[int, Field(ge=1, le=1000)] = 1000


class OfCollaborator(OfRepoId):
    userId: UserId


class Grant(OfCollaborator):
    permission: Permission


class Check(OfRepoId):
    permission: Permission


class Invite(OfRepoId):
    email: Annotated[str, Field(min_length=3, max_length=254)]
    permission: Permission = "read"


class OfInvitation(OfRepoId):
    id: Uuid


class Answer(Input):
    token: Annotated[str, Field(min_length=1, max_length=100)]


class Collaborator(TypedDict):
    repoId: str
    userId: str
    permission: Permission
    createdAt: datetime


class WithUser(Collaborator):
    user: UserRef


class Checked(TypedDict):
    hasPermission: bool


class Invitation(TypedDict):
    id: str
    repoId: str
    email: str
    permission: Permission
    invitedBy: str
    expiresAt: datetime
    createdAt: datetime


class Accepted(TypedDict):
    success: bool
    repoId: str


def collaborator(row: Row) -> Collaborator:
    """From a row of ``collaborators``."""
    return {
        "repoId": row["repo_id"],
        "userId": row["user_id"],
        "permission": row["permission"],
        "createdAt": row["created_at"],
    }


def invitation(row: Row) -> Invitation:
    return {
        "id": row["id"],
        "repoId": row["repo_id"],
        "email": row["email"],
        "permission": row["role"],
        "invitedBy": row["invited_by"],
        "expiresAt": row["expires_at"],
        "createdAt": row["created_at"],
    }


async def shown(call: Call, limit: int) -> list[WithUser]:
    """The collaborators of ``call.repo``."""
    return [
        {
            "repoId": call.repo["id"],
            "userId": row["id"],
            "permission": row["permission"],
            "createdAt": row["since"],
            "user": user_ref(row),
        }
        for row in await call.core.collaborators.list(call.repo["id"], limit)
    ]


@router.query("list", access=READER)
async def list_(call: Call, values: List) -> list[WithUser]:
    """Who works on a repository beside its owner."""
    return await shown(call, values.limit)


@router.mutation("add", access=MANAGER, errors=("invalid", "not_found"))
async def add(call: Call, values: Grant) -> Collaborator:
    """Let a user work on a repository; the user is told by mail."""
    return collaborator(
        await call.core.collaborators.add(call.repo["id"], values.userId, values.permission)
    )


@router.mutation("updatePermission", access=MANAGER, errors=("not_found",))
async def update_permission(call: Call, values: Grant) -> Collaborator:
    """Change what a collaborator may do."""
    return collaborator(
        await call.core.collaborators.change(call.repo["id"], values.userId, values.permission)
    )


@router.mutation("remove", access=MANAGER, errors=("not_found",))
async def remove(call: Call, values: OfCollaborator) -> Success:
    """Take a collaborator's rights away."""
    await call.core.collaborators.remove(call.repo["id"], values.userId)
    return {"success": True}


@router.query("checkPermission", access=SignedIn("repo:read"))
async def check_permission(call: Call, values: Check) -> Checked:
    """Whether the caller has a level; no for a repository that is missing or invisible."""
    try:
        await call.core.gate.repository_by_id(call.actor, values.repoId, _LEVELS[values.permission])
    except (NotFound, Forbidden):
        return {"hasPermission": False}
    return {"hasPermission": True}


@router.mutation("invite", access=MANAGER, errors=("invalid", "conflict"), limit="strict")
async def invite(call: Call, values: Invite) -> Invitation:
    """Invite somebody by mail; an earlier invitation to the same address is replaced."""
    return invitation(
        await call.core.invitations.invite(
            call.repo["id"], values.email, values.permission, call.user_id
        )
    )


@router.query("listInvitations", access=MANAGER)
async def list_invitations(call: Call, values: OfRepoId) -> list[Invitation]:
    """Invitations that nobody has answered yet, oldest first."""
    return [invitation(row) for row in await call.core.invitations.open(call.repo["id"])]


@router.mutation("cancelInvitation", access=MANAGER, errors=("not_found",))
async def cancel_invitation(call: Call, values: OfInvitation) -> Success:
    """Take an invitation back: its link is worth nothing any more."""
    await call.core.invitations.cancel(call.repo["id"], values.id)
    return {"success": True}


@router.mutation(
    "acceptInvitation",
    access=SignedIn("user:write"),
    errors=("invalid", "not_found"),
)
async def accept_invitation(call: Call, values: Answer) -> Accepted:
    """Become a collaborator, by the token of the mail's link."""
    repo_id = await call.core.invitations.accept(values.token, call.user_id)
    return {"success": True, "repoId": repo_id}


@router.mutation(
    "declineInvitation",
    access=SignedIn("user:write"),
    errors=("not_found",),
)
async def decline_invitation(call: Call, values: Answer) -> Success:
    """Refuse an invitation: its link is worth nothing any more."""
    await call.core.invitations.decline(values.token)
    return {"success": True}
