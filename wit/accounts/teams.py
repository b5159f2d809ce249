"""Teams of an organization: their members, and what they may do with its repositories.

A team holds members of its organization only, and is granted repositories of it only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, delete, exists, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from wit.access.actor import Actor, Level, OrgRole
from wit.access.visibility import Seen
from wit.accounts.texts import check_texts
from wit.db.port import Connection, Database, ForeignKeyViolation, Row, UniqueViolation
from wit.db.tables import (
    namespaces,
    org_members,
    organizations,
    repositories,
    team_members,
    team_repositories,
    teams,
    users,
)
from wit.errors import Conflict, Forbidden, Invalid, NotFound
from wit.runtime import Runtime

PERMISSIONS: Mapping[str, Level] = {
    "read": Level.READ,
    "write": Level.WRITE,
    "admin": Level.ADMIN,
}
MAX_PAGE = 1000
LIMITS: Mapping[str, int] = {"name": 100, "description": 500}

_OF_ORG = (
    select(teams)
    .where(teams.c.org_id == bindparam("org"))
    .order_by(teams.c.name)
    .limit(bindparam("count"))
    .offset(bindparam("skip"))
)
_TEAM = select(teams).where(teams.c.id == bindparam("team"))
_DELETE = delete(teams).where(teams.c.id == bindparam("team"))
_LOCK_ORG = (
    select(organizations.c.id)
    .join_from(organizations, teams)
    .where(teams.c.id == bindparam("team"))
    .with_for_update()
)
_MEMBERS = (
    select(
        users.c.id,
        users.c.username,
        users.c.name,
        users.c.avatar_url,
        team_members.c.created_at.label("joined_at"),
    )
    .join_from(team_members, users)
    .where(team_members.c.team_id == bindparam("team"))
    .order_by(users.c.username)
    .limit(bindparam("count"))
    .offset(bindparam("skip"))
)
_in_org = (
    select(org_members.c.user_id)
    .join_from(org_members, teams, teams.c.org_id == org_members.c.org_id)
    .where(teams.c.id == bindparam("team"), org_members.c.user_id == bindparam("user"))
)
_LEAVE = delete(team_members).where(
    team_members.c.team_id == bindparam("team"), team_members.c.user_id == bindparam("user")
)
_ADMINISTERS = select(
    exists().where(
        team_repositories.c.team_id == bindparam("team"),
        team_repositories.c.permission == "admin",
    )
)
_REPOSITORIES = Seen(
    select(
        repositories,
        namespaces.c.name.label("owner_name"),
        team_repositories.c.permission,
        team_repositories.c.created_at.label("granted_at"),
    )
    .join_from(team_repositories, repositories)
    .join(namespaces, namespaces.c.owner_id == repositories.c.owner_id)
    .join(teams, teams.c.id == team_repositories.c.team_id)
    .where(team_repositories.c.team_id == bindparam("team"))
    .where(teams.c.org_id == repositories.c.owner_id)
    .order_by(repositories.c.name_key)
    .limit(bindparam("count"))
    .offset(bindparam("skip"))
    .where
)
_grant = upsert(team_repositories)
_GRANT = _grant.on_conflict_do_update(
    index_elements=[team_repositories.c.team_id, team_repositories.c.repo_id],
    set_={"permission": _grant.excluded.permission},
)
_REVOKE = delete(team_repositories).where(
    team_repositories.c.team_id == bindparam("team"),
    team_repositories.c.repo_id == bindparam("repo"),
)


class Teams:
    """The gate has found the team, and the role ``by`` of whoever acts in its organization."""

    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime

    async def of_organization(
        self, org_id: str, limit: int = MAX_PAGE, offset: int = 0
    ) -> list[Row]:
        """By name."""
        return await self._db.fetch_all(_OF_ORG, org=org_id, count=limit, skip=offset)

    async def get(self, team_id: str) -> Row:
        """Raises NotFound."""
        row = await self._db.fetch_one(_TEAM, team=team_id)
        if row is None:
            raise NotFound("team not found")
        return row

    async def create(self, org_id: str, name: str, description: str | None = None) -> Row:
        """Raises Invalid, Conflict, NotFound."""
        values = _check({"name": name, "description": description})
        team_id = self._runtime.new_id()
        try:
            await self._db.execute(
                insert(teams),
                id=team_id,
                org_id=org_id,
                created_at=self._runtime.now(),
                **values,
            )
        except UniqueViolation:
            raise _taken(name) from None
        except ForeignKeyViolation:
            raise NotFound("organization not found") from None
        return await self.get(team_id)

    async def update(self, team_id: str, changes: Mapping[str, str | None]) -> Row:
        """Change columns of LIMITS; "" clears one. Raises Invalid, Conflict, NotFound."""
        values = _check(changes)
        if values:
            statement = update(teams).where(teams.c.id == team_id).values(**values)
            try:
                await self._db.execute(statement)
            except UniqueViolation:
                raise _taken(str(values["name"])) from None
        return await self.get(team_id)

    async def delete(self, team_id: str) -> None:
        """Raises NotFound."""
        if not await self._db.execute(_DELETE, team=team_id):
            raise NotFound("team not found")

    # Members

    async def members(self, team_id: str, limit: int = MAX_PAGE, offset: int = 0) -> list[Row]:
        """Rows of id, username, name, avatar_url and joined_at, by user name."""
        return await self._db.fetch_all(_MEMBERS, team=team_id, count=limit, skip=offset)

    async def add_member(self, team_id: str, user_id: str, *, by: OrgRole = OrgRole.OWNER) -> Row:
        """The new row of ``team_members``.

        Raises NotFound; Invalid if not a member of the organization; Conflict if in the team
        already; Forbidden if the team administers a repository and ``by`` is not OWNER: an admin
        writes to the organization's repositories, and must not get above that by way of a team.
        """
        row = {"team_id": team_id, "user_id": user_id, "created_at": self._runtime.now()}
        try:
            async with self._db.transaction() as tx:
                await self._lock(tx, team_id)
                if await tx.fetch_value(_in_org, team=team_id, user=user_id) is None:
                    raise Invalid("only members of the organization can be in its teams")
                if by < OrgRole.OWNER and await tx.fetch_value(_ADMINISTERS, team=team_id):
                    raise Forbidden(
                        "this team administers repositories: only an owner of the organization "
                        "can add somebody to it"
                    )
                await tx.execute(insert(team_members), **row)
        except UniqueViolation:
            raise Conflict("this user is in the team already") from None
        return row

    async def remove_member(self, team_id: str, user_id: str) -> None:
        """Raises NotFound."""
        if not await self._db.execute(_LEAVE, team=team_id, user=user_id):
            raise NotFound("this user is not in the team")

    async def _lock(self, tx: Connection, team_id: str) -> None:
        """The team's organization, so that nobody leaves it, and no grant comes, meanwhile."""
        if await tx.fetch_value(_LOCK_ORG, team=team_id) is None:
            raise NotFound("team not found")

    # Grants

    async def repositories(
        self, actor: Actor, team_id: str, limit: int = MAX_PAGE, offset: int = 0
    ) -> list[Row]:
        """What the team was granted and ``actor`` may read, by name.

        Rows of repositories with owner_name, ``permission`` and ``granted_at``.
        """
        statement, reader = _REPOSITORIES.by(actor)
        return await self._db.fetch_all(statement, team=team_id, count=limit, skip=offset, **reader)

    async def grant(self, team: Row, repo: Row, permission: str) -> None:
        """Let the team do that with a repository, instead of what it could do before.

        ``repo`` is the gate's answer: whoever acts has at least that level there. Raises Invalid,
        also for a repository of another owner; NotFound.
        """
        if permission not in PERMISSIONS:
            raise Invalid(f"{permission[:40]!r} is not a level; use {', '.join(PERMISSIONS)}")
        if repo["level"] < PERMISSIONS[permission]:
            raise Forbidden(f"you cannot give {permission} access, which you do not have yourself")
        if repo["owner_id"] != team["org_id"]:
            raise Invalid("a team can work with repositories of its own organization only")
        try:
            async with self._db.transaction() as tx:
                await self._lock(tx, team["id"])
                await tx.execute(
                    _GRANT,
                    team_id=team["id"],
                    repo_id=repo["id"],
                    permission=permission,
                    created_at=self._runtime.now(),
                )
        except ForeignKeyViolation:
            raise NotFound("repository not found") from None

    async def revoke(self, team_id: str, repo_id: str) -> None:
        """Raises NotFound."""
        if not await self._db.execute(_REVOKE, team=team_id, repo=repo_id):
            raise NotFound("this repository is not one of the team's")


def _check(changes: Mapping[str, str | None]) -> dict[str, Any]:
    return dict(check_texts(changes, LIMITS, lines={"name"}))


def _taken(name: str) -> Conflict:
    return Conflict(f"the organization has a team {name!r} already")
