"""Organizations and their members (contract, trpc-notes.md, "organizations (21)").

The teams are in organizations_teams.py.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import OrgRole
from wit.db.port import Row
from wit.errors import Invalid
from wit.git.names import check_new_owner
from wit.operations.access import Org, Public, SignedIn
from wit.operations.call import Call
from wit.operations.inputs import (
    MAX_LIST,
    ById,
    Limit,
    ListLimit,
    Maybe,
    Offset,
    OwnerName,
    SearchText,
    UserId,
    Uuid,
    given,
)
from wit.operations.registry import Input, Router
from wit.operations.shapes import Organization, Person, Success, organization, person

Role = Literal["member", "admin", "owner"]
NewName = Annotated[
    str,
    Field(min_length=2, max_length=39, pattern=r"^[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?$"),
]
DisplayName = Annotated[str, Field(min_length=1, max_length=100)]
Description = Annotated[str, Field(max_length=500)]
Address = Annotated[str, Field(max_length=500)]
Location = Annotated[str, Field(max_length=100)]

COLUMNS = {
    "displayName": "display_name",
    "description": "description",
    "avatarUrl": "avatar_url",
    "website": "website",
    "location": "location",
}

router = Router("organizations")


class ByName(Input):
    name: OwnerName


class Search(Input):
    query: SearchText
    limit: Limit = 20


class CheckName(Input):
    name: NewName


class Create(Input):
    name: NewName
    displayName: Maybe[DisplayName] = None
    description: Maybe[Description] = None
    avatarUrl: Maybe[Address] = None
    website: Maybe[Address] = None
    location: Maybe[Location] = None


class OfOrg(Input):
    orgId: Uuid


class Update(OfOrg):
    """What is left out stays; null clears a field but the name."""

    displayName: Maybe[DisplayName] = None
    description: Maybe[Description] = None
    avatarUrl: Address | None = None
    website: Address | None = None
    location: Location | None = None


class ListOfOrg(OfOrg):
    limit: ListLimit = MAX_LIST
    offset: Offset = 0


class OfMember(OfOrg):
    userId: UserId


class AddMember(OfMember):
    role: Role = "member"


class UpdateMemberRole(OfMember):
    role: Role


class Availability(TypedDict):
    available: bool


class Membership(TypedDict):
    """One that somebody has."""

    orgId: str
    role: Role
    joinedAt: datetime
    org: Organization


class Member(TypedDict):
    userId: str
    role: Role
    joinedAt: datetime
    user: Person


class OrgMember(TypedDict):
    orgId: str
    userId: str
    role: Role
    createdAt: datetime


class Found(TypedDict):
    isMember: bool
    role: Role | None


def org_member(row: Row) -> OrgMember:
    """From a row of ``org_members``."""
    return {
        "orgId": row["org_id"],
        "userId": row["user_id"],
        "role": row["role"],
        "createdAt": row["created_at"],
    }


@router.query("get", access=Public(), errors=("not_found",))
async def get(call: Call, values: ByName) -> Organization:
    """An organization, by name in any case."""
    return organization(await call.core.organizations.get(values.name))


@router.query("getById", access=Public(), errors=("not_found",))
async def get_by_id(call: Call, values: ById) -> Organization:
    """An organization."""
    return organization(await call.core.organizations.by_id(values.id))


@router.query("search", access=Public(), limit="search")
async def search(call: Call, values: Search) -> list[Organization]:
    """Organizations by a part of one of their names, in any case."""
    rows = await call.core.organizations.search(values.query, values.limit)
    return [organization(row) for row in rows]


@router.query("checkName", access=Public(), limit="relaxed")
async def check_name(call: Call, values: CheckName) -> Availability:
    """Whether a new organization could have this name. Users and organizations share names."""
    try:
        check_new_owner(values.name)
    except Invalid:
        return {"available": False}
    return {"available": not await call.core.users.name_taken(values.name)}


@router.mutation("create", access=SignedIn("org:write"), errors=("invalid", "conflict"))
async def create(call: Call, values: Create) -> Organization:
    """A new organization, with the caller as its owner."""
    about = {
        column: getattr(values, field)
        for field, column in COLUMNS.items()
        if field != "displayName"
    }
    return organization(
        await call.core.organizations.create(values.name, call.user_id, values.displayName, about)
    )


@router.mutation("update", access=Org(OrgRole.ADMIN), errors=("invalid",))
async def update(call: Call, values: Update) -> Organization:
    """Change what an organization says about itself."""
    changes = given(values, COLUMNS, "displayName")
    return organization(await call.core.organizations.update(call.org["id"], changes))


@router.mutation("delete", access=Org(OrgRole.OWNER), errors=("conflict",))
async def delete(call: Call, values: OfOrg) -> Success:
    """Remove an organization that has no repositories (any more)."""
    await call.core.organizations.delete(call.org["id"])
    return {"success": True}


@router.query("listMembers", access=Public())
async def list_members(call: Call, values: ListOfOrg) -> list[Member]:
    """Who is in an organization, by user name; [] for one that does not exist."""
    rows = await call.core.organizations.members(values.orgId, values.limit, values.offset)
    return [
        {
            "userId": row["id"],
            "role": row["role"],
            "joinedAt": row["joined_at"],
            "user": person(row),
        }
        for row in rows
    ]


@router.query("listForUser", access=SignedIn("org:read"))
async def list_for_user(call: Call) -> list[Membership]:
    """The organizations that the caller is in, by name."""
    return [
        {
            "orgId": row["id"],
            "role": row["role"],
            "joinedAt": row["joined_at"],
            "org": organization(row),
        }
        for row in await call.core.organizations.of_user(call.user_id)
    ]


@router.query("checkMembership", access=Public())
async def check_membership(call: Call, values: OfMember) -> Found:
    """Whether somebody is in an organization."""
    row = await call.core.organizations.member(values.orgId, values.userId)
    return {"isMember": row is not None, "role": None if row is None else row["role"]}


@router.mutation(
    "addMember",
    access=Org(OrgRole.ADMIN),
    errors=("not_found", "conflict", "forbidden"),
)
async def add_member(call: Call, values: AddMember) -> OrgMember:
    """Take somebody in; only owners make owners."""
    return org_member(
        await call.core.organizations.add_member(
            call.org["id"], values.userId, values.role, by=call.org["role"]
        )
    )


@router.mutation("updateMemberRole", access=Org(OrgRole.OWNER), errors=("invalid", "not_found"))
async def update_member_role(call: Call, values: UpdateMemberRole) -> OrgMember:
    """Give a member another role; the last owner stays one."""
    row = await call.core.organizations.set_role(call.org["id"], values.userId, values.role)
    return org_member(row)


@router.mutation(
    "removeMember",
    access=Org(OrgRole.ADMIN, or_self="userId"),
    errors=("invalid", "not_found", "forbidden"),
)
async def remove_member(call: Call, values: OfMember) -> Success:
    """Leave, or have somebody leave; only owners remove owners, and the last one stays."""
    by = OrgRole.OWNER if values.userId == call.user_id else call.org["role"]
    await call.core.organizations.remove_member(call.org["id"], values.userId, by=by)
    return {"success": True}
