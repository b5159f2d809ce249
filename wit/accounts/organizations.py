"""Organizations with their members. Their names and those of users are one space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, exists, func, insert, select, update

from wit.access.actor import OrgRole
from wit.accounts.texts import check_texts
from wit.db.port import Connection, Database, ForeignKeyViolation, Row, UniqueViolation
from wit.db.search import contains, pattern
from wit.db.tables import (
    namespaces,
    org_members,
    organizations,
    repositories,
    team_members,
    teams,
    users,
)
from wit.errors import Conflict, Forbidden, Invalid, NotFound
from wit.git.names import check_new_owner
from wit.runtime import Runtime

ROLES = ("member", "admin", "owner")
MAX_PAGE = 1000

LIMITS: Mapping[str, int] = {
    "display_name": 100,
    "description": 500,
    "avatar_url": 500,
    "website": 255,
    "location": 100,
}
"""Characters of what an organization says about itself."""

_BY_NAME = (
    select(organizations)
    .join_from(namespaces, organizations, namespaces.c.owner_id == organizations.c.id)
    .where(namespaces.c.name_key == bindparam("key"))
)
_BY_ID = select(organizations).where(organizations.c.id == bindparam("org"))
_LOCK = select(organizations.c.id).where(organizations.c.id == bindparam("org")).with_for_update()
_SEARCH = (
    select(organizations)
    .where(contains("pattern", organizations.c.name, organizations.c.display_name))
    .order_by(func.lower(organizations.c.name))
    .limit(bindparam("count"))
)
_OF_USER = (
    select(organizations, org_members.c.role, org_members.c.created_at.label("joined_at"))
    .join_from(org_members, organizations)
    .where(org_members.c.user_id == bindparam("user"))
    .order_by(func.lower(organizations.c.name))
    .limit(bindparam("count"))
    .offset(bindparam("skip"))
)
_MEMBERS = (
    select(
        users.c.id,
        users.c.username,
        users.c.name,
        users.c.avatar_url,
        org_members.c.role,
        org_members.c.created_at.label("joined_at"),
    )
    .join_from(org_members, users)
    .where(org_members.c.org_id == bindparam("org"))
    .order_by(users.c.username)
    .limit(bindparam("count"))
    .offset(bindparam("skip"))
)
_of_member = (org_members.c.org_id == bindparam("org")) & (
    org_members.c.user_id == bindparam("user")
)
_MEMBER = select(org_members).where(_of_member)
_OWNERS = (
    select(func.count())
    .select_from(org_members)
    .where(org_members.c.org_id == bindparam("org"), org_members.c.role == "owner")
)
_SET_ROLE = update(org_members).where(_of_member).values(role=bindparam("new_role"))
_REMOVE = delete(org_members).where(_of_member)
_org_teams = select(teams.c.id).where(teams.c.org_id == bindparam("org"))
_LEAVE_TEAMS = delete(team_members).where(
    team_members.c.user_id == bindparam("user"), team_members.c.team_id.in_(_org_teams)
)
_OWNS_REPOSITORY = select(exists().where(repositories.c.owner_id == bindparam("org")))
_LOCK_NAMESPACE = (
    select(namespaces.c.name_key).where(namespaces.c.owner_id == bindparam("org")).with_for_update()
)
_DELETE_NAMESPACE = delete(namespaces).where(namespaces.c.owner_id == bindparam("org"))
_DELETE = delete(organizations).where(organizations.c.id == bindparam("org"))


def _check_role(role: str) -> OrgRole:
    if role not in ROLES:
        raise Invalid(f"{role[:40]!r} is not a role in an organization; use {', '.join(ROLES)}")
    return OrgRole[role.upper()]


def check_about(changes: Mapping[str, str | None]) -> dict[str, str | None]:
    """Columns of :data:`LIMITS` as they are stored. Raises Invalid."""
    return check_texts(changes, LIMITS, lines={"display_name"}, addresses={"avatar_url", "website"})


class Organizations:
    """Rules: an organization always has an owner; nobody gives or takes more than they have.

    ``by`` is the role of whoever acts, as the gate has found it.
    """

    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime

    async def create(
        self,
        name: str,
        owner_id: str,
        display_name: str | None = None,
        about: Mapping[str, str | None] = {},
    ) -> Row:
        """A new organization with ``owner_id`` as its owner; ``about``: columns of LIMITS.

        Raises Invalid, Conflict, NotFound.
        """
        check_new_owner(name)
        values = check_about({**about, "display_name": display_name or name})
        org_id = self._runtime.new_id()
        now = self._runtime.now()
        try:
            async with self._db.transaction() as tx:
                await tx.execute(
                    insert(namespaces),
                    name_key=name.lower(),
                    name=name,
                    owner_type="organization",
                    owner_id=org_id,
                )
                await tx.execute(
                    insert(organizations),
                    id=org_id,
                    name=name,
                    created_at=now,
                    updated_at=now,
                    **values,
                )
                await self._insert_member(tx, org_id, owner_id, "owner")
        except UniqueViolation:
            raise Conflict(f"the name {name!r} is taken") from None
        except ForeignKeyViolation:
            raise NotFound("user not found") from None
        return await self.get(name)

    async def get(self, name: str) -> Row:
        """The organization of that name, in any case. Raises NotFound."""
        row = await self._db.fetch_one(_BY_NAME, key=name.lower())
        if row is None:
            raise NotFound(f"there is no organization {name[:40]!r}")
        return row

    async def by_id(self, org_id: str) -> Row:
        """Raises NotFound."""
        row = await self._db.fetch_one(_BY_ID, org=org_id)
        if row is None:
            raise NotFound("organization not found")
        return row

    async def search(self, text: str, limit: int = 20) -> list[Row]:
        """Those with ``text`` in a name, in any case, by name."""
        return await self._db.fetch_all(_SEARCH, pattern=pattern(text), count=limit)

    async def of_user(self, user_id: str, limit: int = MAX_PAGE, offset: int = 0) -> list[Row]:
        """By name; rows of organizations with the user's ``role`` and ``joined_at``."""
        return await self._db.fetch_all(_OF_USER, user=user_id, count=limit, skip=offset)

    async def update(self, org_id: str, changes: Mapping[str, str | None]) -> Row:
        """Change columns of LIMITS; nothing, or "", clears one. Raises Invalid, NotFound."""
        values: dict[str, Any] = {**check_about(changes), "updated_at": self._runtime.now()}
        statement = update(organizations).where(organizations.c.id == org_id).values(**values)
        await self._db.execute(statement)
        return await self.by_id(org_id)

    async def delete(self, org_id: str) -> None:
        """Remove it with its members and teams.

        Raises NotFound; Conflict while it owns repositories, which would belong to nobody.
        """
        async with self._db.transaction() as tx:
            if await tx.fetch_value(_LOCK_NAMESPACE, org=org_id) is None:
                raise NotFound("organization not found")
            if await tx.fetch_value(_OWNS_REPOSITORY, org=org_id):
                raise Conflict(
                    "this organization still owns repositories: transfer or delete them first"
                )
            await tx.execute(_DELETE_NAMESPACE, org=org_id)
            await tx.execute(_DELETE, org=org_id)

    # Members

    async def members(self, org_id: str, limit: int = MAX_PAGE, offset: int = 0) -> list[Row]:
        """Rows of id, username, name, avatar_url, role and joined_at, by user name."""
        return await self._db.fetch_all(_MEMBERS, org=org_id, count=limit, skip=offset)

    async def member(self, org_id: str, user_id: str) -> Row | None:
        """The row of a membership."""
        return await self._db.fetch_one(_MEMBER, org=org_id, user=user_id)

    async def add_member(
        self, org_id: str, user_id: str, role: str = "member", *, by: OrgRole = OrgRole.OWNER
    ) -> Row:
        """The new membership.

        Raises Invalid, NotFound; Conflict if the user is a member already; Forbidden for a role
        above ``by``.
        """
        if _check_role(role) > by:
            raise _owners_only()
        try:
            async with self._db.transaction() as tx:
                await self._insert_member(tx, org_id, user_id, role)
                return await self._member(tx, org_id, user_id)
        except UniqueViolation:
            raise Conflict("this user is a member already") from None
        except ForeignKeyViolation:
            raise NotFound("user or organization not found") from None

    async def set_role(
        self, org_id: str, user_id: str, role: str, *, by: OrgRole = OrgRole.OWNER
    ) -> Row:
        """The changed membership.

        Raises Invalid, also for the last owner; NotFound; Forbidden for a role above ``by``, and
        for changing that of somebody who is above ``by``.
        """
        if _check_role(role) > by:
            raise _owners_only()
        async with self._db.transaction() as tx:
            await self._may_lose_role(tx, org_id, user_id, by, keeps_owner=role == "owner")
            await tx.execute(_SET_ROLE, org=org_id, user=user_id, new_role=role)
            return await self._member(tx, org_id, user_id)

    async def remove_member(
        self, org_id: str, user_id: str, *, by: OrgRole = OrgRole.OWNER
    ) -> None:
        """Out of the organization and its teams.

        Raises NotFound if no member; Invalid for the last owner; Forbidden for one above ``by``.
        """
        async with self._db.transaction() as tx:
            await self._may_lose_role(tx, org_id, user_id, by, keeps_owner=False)
            await tx.execute(_LEAVE_TEAMS, org=org_id, user=user_id)
            await tx.execute(_REMOVE, org=org_id, user=user_id)

    async def _insert_member(self, tx: Connection, org_id: str, user_id: str, role: str) -> None:
        await tx.execute(
            insert(org_members),
            org_id=org_id,
            user_id=user_id,
            role=role,
            created_at=self._runtime.now(),
        )

    async def _member(self, tx: Connection, org_id: str, user_id: str) -> Row:
        row = await tx.fetch_one(_MEMBER, org=org_id, user=user_id)
        if row is None:
            raise NotFound("this user is not a member of the organization")
        return row

    async def _may_lose_role(
        self, tx: Connection, org_id: str, user_id: str, by: OrgRole, *, keeps_owner: bool
    ) -> None:
        """Raises NotFound, Forbidden, Invalid.

        Under a lock on the organization, so that two owners cannot demote each other at once.
        """
        await tx.fetch_value(_LOCK, org=org_id)
        role = OrgRole[(await self._member(tx, org_id, user_id))["role"].upper()]
        if role > by:
            raise _owners_only()
        last = role is OrgRole.OWNER and await tx.fetch_value(_OWNERS, org=org_id) == 1
        if last and not keeps_owner:
            raise Invalid("this is the organization's last owner: make another one first")


def _owners_only() -> Forbidden:
    return Forbidden("only an owner of the organization can make, change or remove an owner")
