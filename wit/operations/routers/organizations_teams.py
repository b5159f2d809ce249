"""Teams of organizations (contract, trpc-notes.md, "organizations (21)").

wit's own: what a team may do with the organization's repositories (``*TeamRepository``).
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import OrgRole
from wit.accounts.teams import PERMISSIONS
from wit.db.port import Row
from wit.operations.access import Org, Public, need_scope
from wit.operations.call import Call
from wit.operations.inputs import MAX_LIST, ListLimit, Maybe, Offset, UserId, Uuid, given
from wit.operations.registry import Input, Router
from wit.operations.shapes import Person, Repository, Success, person, repository

Permission = Literal["read", "write", "admin"]
Name = Annotated[str, Field(min_length=1, max_length=50)]
Description = Annotated[str, Field(max_length=500)]

router = Router("organizations")


class OfTeam(Input):
    teamId: Uuid


class ListOfTeam(OfTeam):
    limit: ListLimit = MAX_LIST
    offset: Offset = 0


class ListTeams(Input):
    orgId: Uuid
    limit: ListLimit = MAX_LIST
    offset: Offset = 0


class CreateTeam(Input):
    orgId: Uuid
    name: Name
    description: Maybe[Description] = None


class UpdateTeam(OfTeam):
    """What is left out stays; a description of null is removed."""

    name: Maybe[Name] = None
    description: Description | None = None


class OfTeamMember(OfTeam):
    userId: UserId


class OfTeamRepository(OfTeam):
    repoId: Uuid


class AddTeamRepository(OfTeamRepository):
    permission: Permission = "read"


class Team(TypedDict):
    id: str
    orgId: str
    name: str
    description: str | None
    createdAt: datetime


class TeamMember(TypedDict):
    userId: str
    joinedAt: datetime
    user: Person


class AddedMember(TypedDict):
    teamId: str
    userId: str
    createdAt: datetime


class TeamRepository(TypedDict):
    permission: Permission
    grantedAt: datetime
    ownerName: str
    repo: Repository


def team(row: Row) -> Team:
    """From a row of ``teams``."""
    return {
        "id": row["id"],
        "orgId": row["org_id"],
        "name": row["name"],
        "description": row["description"],
        "createdAt": row["created_at"],
    }


@router.query("listTeams", access=Public())
async def list_teams(call: Call, values: ListTeams) -> list[Team]:
    """The teams of an organization, by name."""
    rows = await call.core.teams.of_organization(values.orgId, values.limit, values.offset)
    return [team(row) for row in rows]


@router.query("getTeam", access=Public(), errors=("not_found",))
async def get_team(call: Call, values: OfTeam) -> Team:
    """A team."""
    return team(await call.core.teams.get(values.teamId))


@router.mutation("createTeam", access=Org(OrgRole.ADMIN), errors=("invalid", "conflict"))
async def create_team(call: Call, values: CreateTeam) -> Team:
    """A new team, with nobody in it."""
    return team(await call.core.teams.create(call.org["id"], values.name, values.description))


@router.mutation(
    "updateTeam", access=Org(OrgRole.ADMIN, by="teamId"), errors=("invalid", "conflict")
)
async def update_team(call: Call, values: UpdateTeam) -> Team:
    """Change a team's name or description."""
    changes = given(values, {"name": "name", "description": "description"}, "name")
    return team(await call.core.teams.update(call.team["id"], changes))


@router.mutation("deleteTeam", access=Org(OrgRole.ADMIN, by="teamId"))
async def delete_team(call: Call, values: OfTeam) -> Success:
    """Remove a team, and with it what it gave its members."""
    await call.core.teams.delete(call.team["id"])
    return {"success": True}


@router.query("listTeamMembers", access=Public())
async def list_team_members(call: Call, values: ListOfTeam) -> list[TeamMember]:
    """Who is in a team, by user name; [] for one that does not exist."""
    rows = await call.core.teams.members(values.teamId, values.limit, values.offset)
    return [
        {"userId": row["id"], "joinedAt": row["joined_at"], "user": person(row)} for row in rows
    ]


@router.mutation(
    "addTeamMember",
    access=Org(OrgRole.ADMIN, by="teamId"),
    errors=("invalid", "conflict", "forbidden"),
)
async def add_team_member(call: Call, values: OfTeamMember) -> AddedMember:
    """Put a member of the organization into a team; into one that administers repositories only
    an owner can."""
    row = await call.core.teams.add_member(call.team["id"], values.userId, by=call.org["role"])
    return {
        "teamId": row["team_id"],
        "userId": row["user_id"],
        "createdAt": row["created_at"],
    }


@router.mutation(
    "removeTeamMember",
    access=Org(OrgRole.ADMIN, by="teamId", or_self="userId"),
    errors=("not_found",),
)
async def remove_team_member(call: Call, values: OfTeamMember) -> Success:
    """Leave a team, or have somebody leave it."""
    await call.core.teams.remove_member(call.team["id"], values.userId)
    return {"success": True}


@router.query("listTeamRepositories", access=Public(), errors=("not_found",))
async def list_team_repositories(call: Call, values: ListOfTeam) -> list[TeamRepository]:
    """What a team may do with which repositories, as far as the caller may read them."""
    found = await call.core.teams.get(values.teamId)
    rows = await call.core.teams.repositories(call.actor, found["id"], values.limit, values.offset)
    return [
        {
            "permission": row["permission"],
            "grantedAt": row["granted_at"],
            "ownerName": row["owner_name"],
            "repo": repository(row),
        }
        for row in rows
    ]


@router.mutation(
    "addTeamRepository",
    access=Org(OrgRole.ADMIN, by="teamId"),
    errors=("invalid", "not_found", "forbidden"),
)
async def add_team_repository(call: Call, values: AddTeamRepository) -> Success:
    """Let a team work with one of the organization's repositories; at most at the caller's level.

    Asked again, the team has the new permission instead.
    """
    need_scope(call.actor, "repo:admin")
    needed = PERMISSIONS[values.permission]
    repo = await call.core.gate.repository_by_id(call.actor, values.repoId, needed)
    await call.core.teams.grant(call.team, repo, values.permission)
    return {"success": True}


@router.mutation(
    "removeTeamRepository",
    access=Org(OrgRole.ADMIN, by="teamId"),
    errors=("not_found",),
)
async def remove_team_repository(call: Call, values: OfTeamRepository) -> Success:
    """Take away what a team may do with a repository."""
    need_scope(call.actor, "repo:admin")
    await call.core.teams.revoke(call.team["id"], values.repoId)
    return {"success": True}
