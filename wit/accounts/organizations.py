"""Organizations with their members and teams. Their names and those of users are one space."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, func, insert, select, update

from wit.db.port import Connection, Database, ForeignKeyViolation, Row, UniqueViolation
from wit.db.tables import (
    namespaces,
    org_members,
    organizations,
    team_members,
    teams,
    users,
)
from wit.errors import Conflict, Invalid, NotFound
from wit.git.names import check_new_owner
from wit.runtime import Runtime

ROLES = ("member", "admin", "owner")

_BY_NAME = (
    select(organizations)
    .join_from(namespaces, organizations, namespaces.c.owner_id == organizations.c.id)
    .where(namespaces.c.name_key == bindparam("key"))
)
_LOCK = select(organizations.c.id).where(organizations.c.id == bindparam("org")).with_for_update()
_MEMBERS = (
    select(users.c.id, users.c.username, users.c.name, org_members.c.role)
    .join_from(org_members, users)
    .where(org_members.c.org_id == bindparam("org"))
    .order_by(users.c.username)
)
_ROLE = select(org_members.c.role).where(
    org_members.c.org_id == bindparam("org"), org_members.c.user_id == bindparam("user")
)
_OWNERS = (
    select(func.count())
    .select_from(org_members)
    .where(org_members.c.org_id == bindparam("org"), org_members.c.role == "owner")
)
_SET_ROLE = (
    update(org_members)
    .where(org_members.c.org_id == bindparam("org"), org_members.c.user_id == bindparam("user"))
    .values(role=bindparam("new_role"))
)
_REMOVE = delete(org_members).where(
    org_members.c.org_id == bindparam("org"), org_members.c.user_id == bindparam("user")
)
_org_teams = select(teams.c.id).where(teams.c.org_id == bindparam("org"))
_LEAVE_TEAMS = delete(team_members).where(
    team_members.c.user_id == bindparam("user"), team_members.c.team_id.in_(_org_teams)
)
_TEAMS = select(teams).where(teams.c.org_id == bindparam("org")).order_by(teams.c.name)
_TEAM = select(teams).where(teams.c.org_id == bindparam("org"), teams.c.id == bindparam("team"))
_DELETE_TEAM = delete(teams).where(
    teams.c.org_id == bindparam("org"), teams.c.id == bindparam("team")
)
_TEAM_MEMBERS = (
    select(users.c.id, users.c.username, users.c.name)
    .join_from(team_members, users)
    .where(team_members.c.team_id == bindparam("team"))
    .order_by(users.c.username)
)
_LEAVE_TEAM = delete(team_members).where(
    team_members.c.team_id == bindparam("team"), team_members.c.user_id == bindparam("user")
)


def _check_role(role: str) -> str:
    if role not in ROLES:
        raise Invalid(f"{role[:40]!r} is not a role in an organization; use {', '.join(ROLES)}")
    return role


class Organizations:
    """Rules: an organization always has an owner; a team holds members of its organization."""

    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime

    async def create(self, name: str, owner_id: str, display_name: str | None = None) -> Row:
        """A new organization with ``owner_id`` as its owner. Raises Invalid, Conflict, NotFound."""
        check_new_owner(name)
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
                    display_name=display_name or name,
                    created_at=now,
                    updated_at=now,
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

    async def members(self, org_id: str) -> list[Row]:
        """Rows of id, username, name and role, by user name."""
        return await self._db.fetch_all(_MEMBERS, org=org_id)

    async def add_member(self, org_id: str, user_id: str, role: str = "member") -> None:
        """Raises Invalid, NotFound; Conflict if the user is a member already."""
        _check_role(role)
        try:
            async with self._db.transaction() as tx:
                await self._insert_member(tx, org_id, user_id, role)
        except UniqueViolation:
            raise Conflict("this user is a member already") from None
        except ForeignKeyViolation:
            raise NotFound("user or organization not found") from None

    async def set_role(self, org_id: str, user_id: str, role: str) -> None:
        """Raises Invalid; NotFound if not a member; Conflict for the last owner."""
        _check_role(role)
        async with self._db.transaction() as tx:
            await self._may_lose_role(tx, org_id, user_id, keeps_owner=role == "owner")
            await tx.execute(_SET_ROLE, org=org_id, user=user_id, new_role=role)

    async def remove_member(self, org_id: str, user_id: str) -> None:
        """Out of the organization and its teams. NotFound if no member; Conflict: last owner."""
        async with self._db.transaction() as tx:
            await self._may_lose_role(tx, org_id, user_id, keeps_owner=False)
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

    async def _may_lose_role(
        self, tx: Connection, org_id: str, user_id: str, keeps_owner: bool
    ) -> None:
        """Under a lock on the organization, so that two owners cannot demote each other at once."""
        await tx.fetch_value(_LOCK, org=org_id)
        role = await tx.fetch_value(_ROLE, org=org_id, user=user_id)
        if role is None:
            raise NotFound("this user is not a member of the organization")
        if role == "owner" and not keeps_owner and await tx.fetch_value(_OWNERS, org=org_id) == 1:
            raise Conflict("this is the organization's last owner: make another one first")

    async def teams(self, org_id: str) -> list[Row]:
        """By name."""
        return await self._db.fetch_all(_TEAMS, org=org_id)

    async def create_team(self, org_id: str, name: str, description: str | None = None) -> Row:
        """Raises Invalid, Conflict, NotFound."""
        name = name.strip()
        if not 1 <= len(name) <= 100 or not name.isprintable():
            raise Invalid("a team's name is one line of 1 to 100 characters")
        team_id = self._runtime.new_id()
        try:
            await self._db.execute(
                insert(teams),
                id=team_id,
                org_id=org_id,
                name=name,
                description=description,
                created_at=self._runtime.now(),
            )
        except UniqueViolation:
            raise Conflict(f"the organization has a team {name!r} already") from None
        except ForeignKeyViolation:
            raise NotFound("organization not found") from None
        return await self.team(org_id, team_id)

    async def team(self, org_id: str, team_id: str) -> Row:
        """Raises NotFound, also for another organization's team."""
        row = await self._db.fetch_one(_TEAM, org=org_id, team=team_id)
        if row is None:
            raise NotFound("team not found")
        return row

    async def delete_team(self, org_id: str, team_id: str) -> None:
        """Raises NotFound, also for another organization's team."""
        if not await self._db.execute(_DELETE_TEAM, org=org_id, team=team_id):
            raise NotFound("team not found")

    async def team_members(self, org_id: str, team_id: str) -> list[Row]:
        """Rows of id, username and name, by user name. Raises NotFound."""
        await self.team(org_id, team_id)
        return await self._db.fetch_all(_TEAM_MEMBERS, team=team_id)

    async def add_to_team(self, org_id: str, team_id: str, user_id: str) -> None:
        """Raises NotFound; Conflict if not a member of the organization, or in the team already."""
        try:
            async with self._db.transaction() as tx:
                await tx.fetch_value(_LOCK, org=org_id)
                if await tx.fetch_one(_TEAM, org=org_id, team=team_id) is None:
                    raise NotFound("team not found")
                if await tx.fetch_value(_ROLE, org=org_id, user=user_id) is None:
                    raise Conflict("only members of the organization can be in its teams")
                await tx.execute(
                    insert(team_members),
                    team_id=team_id,
                    user_id=user_id,
                    created_at=self._runtime.now(),
                )
        except UniqueViolation:
            raise Conflict("this user is in the team already") from None

    async def remove_from_team(self, org_id: str, team_id: str, user_id: str) -> None:
        """Raises NotFound if the team or the user in it is missing."""
        await self.team(org_id, team_id)
        if not await self._db.execute(_LEAVE_TEAM, team=team_id, user=user_id):
            raise NotFound("this user is not in the team")
