"""Organizations in the public REST API."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import OrgRole
from wit.db.port import Row
from wit.errors import Invalid
from wit.operations.access import Org, Public, SignedIn
from wit.operations.call import Call
from wit.operations.inputs import OwnerName
from wit.operations.registry import Page, Router
from wit.operations.v1_shapes import (
    V1,
    Account,
    Member,
    OfOrg,
    Organization,
    Paged,
    Repository,
    UserItem,
    org_account,
    organization,
    page_of,
    repository,
    route,
    user_item,
)

PLACE = "/orgs/{org}"
MEMBERSHIP = "/orgs/{org}/memberships/{username}"

router = Router("v1.orgs", trpc=False)


class Change(OfOrg):
    """``email`` is taken and dropped: organizations have none."""

    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    description: Annotated[str, Field(max_length=500)] | None = None
    email: Annotated[str, Field(max_length=254)] | None = None
    location: Annotated[str, Field(max_length=100)] | None = None
    blog: Annotated[str, Field(max_length=255)] | None = None


class Members(OfOrg, Paged):
    role: Literal["all", "member", "admin", "owner"] = "all"


class Repositories(OfOrg, Paged):
    sort: Literal["created", "updated", "pushed"] = "created"


class OfMember(OfOrg):
    username: OwnerName


class NewRole(OfMember):
    role: Literal["member", "admin"] = "member"


class Membership(TypedDict):
    url: str
    state: Literal["active"]
    role: Literal["member", "admin"]
    organization_url: str
    organization: Account
    user: UserItem


@router.query("get", access=Public(), errors=("not_found",), limit="api", rest=route("GET", PLACE))
async def get(call: Call, values: OfOrg) -> Organization:
    """An organization; its members also see ``billing_email`` and ``private_repos``."""
    row = await call.core.organizations.get(values.org)
    return await _shown(call, row, await _is_member(call, row))


@router.mutation(
    "update",
    access=Org(OrgRole.ADMIN, by="org"),
    errors=("invalid",),
    limit="api",
    rest=route("PATCH", PLACE),
)
async def update(call: Call, values: Change) -> Organization:
    """Change what the organization says about itself; null clears a field but the name."""
    columns = {
        "name": "display_name",
        "description": "description",
        "location": "location",
        "blog": "website",
    }
    changes = {
        columns[field]: getattr(values, field) or ""
        for field in values.model_fields_set
        if field in columns
    }
    if not changes:
        raise Invalid("there is nothing to change: send name, description, location or blog")
    return await _shown(call, await call.core.organizations.update(call.org["id"], changes), True)


@router.query(
    "members",
    access=Public(),
    errors=("not_found",),
    limit="api",
    rest=route("GET", f"{PLACE}/members"),
)
async def members(call: Call, values: Members) -> Page[Member]:
    """Who is in the organization."""
    row = await call.core.organizations.get(values.org)
    role = None if values.role == "all" else values.role
    found = await call.core.directory.members(row["id"], role, values.per_page, values.offset)
    items: list[Member] = [{**user_item(each), "role": each["member_role"]} for each in found.rows]
    return page_of(items, values, found.total)


@router.query(
    "repos",
    access=Public(),
    errors=("not_found",),
    limit="api",
    rest=route("GET", f"{PLACE}/repos"),
)
async def repos(call: Call, values: Repositories) -> Page[Repository]:
    """The organization's repositories: those that the caller may read, the latest first."""
    row = await call.core.organizations.get(values.org)
    found = await call.core.directory.of_owner(
        call.actor,
        row["id"],
        sort=values.sort,
        descending=True,
        limit=values.per_page,
        offset=values.offset,
    )
    url = call.core.config.public_url
    return page_of([repository(each, url) for each in found.rows], values, found.total)


@router.mutation(
    "setMembership",
    access=Org(OrgRole.ADMIN, by="org"),
    errors=("invalid", "not_found", "forbidden"),
    limit="api",
    rest=route("PUT", MEMBERSHIP),
)
async def set_membership(call: Call, values: NewRole) -> Membership:
    """Make somebody a member, or change a member's role."""
    core, org = call.core, call.org
    user = await core.users.by_username(values.username)
    found = await core.organizations.member(org["id"], user["id"])
    if found is None:
        await core.organizations.add_member(org["id"], user["id"], values.role, by=org["role"])
    else:
        await core.organizations.set_role(org["id"], user["id"], values.role, by=org["role"])
    account, item = org_account(org), user_item(user)
    return {
        "url": f"{V1}/orgs/{org['name']}/memberships/{item['login']}",
        "state": "active",
        "role": values.role,
        "organization_url": account["url"],
        "organization": account,
        "user": item,
    }


@router.mutation(
    "removeMembership",
    access=SignedIn("org:write"),
    errors=("invalid", "not_found", "forbidden"),
    limit="api",
    rest=route("DELETE", MEMBERSHIP, 204),
)
async def remove_membership(call: Call, values: OfMember) -> None:
    """Take somebody out of the organization: oneself, or as its admin."""
    leaving = values.username.lower() == call.actor.username.lower()
    needed = None if leaving else OrgRole.ADMIN
    org = await call.core.org_gate.by_name(call.actor, values.org, needed)
    user = await call.core.users.by_username(values.username)
    by = OrgRole.OWNER if leaving else org["role"]
    await call.core.organizations.remove_member(org["id"], user["id"], by=by)


async def _is_member(call: Call, org: Row) -> bool:
    """A token must be good for reading organizations."""
    user_id = call.actor.user_id
    if user_id is None or not call.actor.has_scope("org:read"):
        return False
    return await call.core.organizations.member(org["id"], user_id) is not None


async def _shown(call: Call, row: Row, inside: bool) -> Organization:
    public, private = await call.core.directory.owned(row["id"])
    shown = organization(row, public)
    if inside:
        shown["billing_email"] = None
        shown["private_repos"] = private if call.actor.has_scope("repo:read") else 0
    return shown
