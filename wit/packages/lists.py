"""Lists of packages and people: whose packages there are, who may do what, who starred what.

npm's answers to these have no pages; they end after MAX_LISTED entries.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, case, func, literal, or_, select, union_all

from wit.access.actor import Actor
from wit.db.port import Database
from wit.db.tables import (
    collaborators,
    namespaces,
    org_members,
    organizations,
    package_maintainers,
    package_stars,
    packages,
    repositories,
    team_members,
    team_repositories,
    teams,
    users,
)
from wit.errors import NotFound
from wit.packages.names import PackageName
from wit.packages.rights import Rights, is_public
from wit.packages.visibility import SeenPackages

MAX_LISTED = 1000

READ, WRITE = 1, 2
_WORDS = {READ: "read", WRITE: "write"}
"""What npm calls the levels."""


def _packages(level: Any, visible: ColumnElement[bool]) -> Select[Any]:
    return (
        select(packages.c.full_name, level.label("level"))
        .join_from(packages, repositories, repositories.c.id == packages.c.repo_id)
        .where(visible)
        .order_by(packages.c.full_name)
        .limit(MAX_LISTED)
    )


_maintained = select(package_maintainers.c.package_id).where(
    package_maintainers.c.user_id == bindparam("whose")
)
_starred = select(package_stars.c.package_id).where(package_stars.c.user_id == bindparam("whose"))
_team_level = case((team_repositories.c.permission == "read", READ), else_=WRITE)

_OF_USER = SeenPackages(
    lambda visible: _packages(literal(WRITE), visible).where(
        or_(repositories.c.owner_id == bindparam("whose"), packages.c.id.in_(_maintained))
    )
)
_OF_OWNER = SeenPackages(
    lambda visible: _packages(literal(WRITE), visible).where(
        repositories.c.owner_id == bindparam("whose")
    )
)
_OF_TEAM = SeenPackages(
    lambda visible: (
        _packages(_team_level, visible)
        .join(team_repositories, team_repositories.c.repo_id == repositories.c.id)
        .where(team_repositories.c.team_id == bindparam("whose"))
    )
)
_STARRED = SeenPackages(
    lambda visible: _packages(literal(READ), visible).where(packages.c.id.in_(_starred))
)

_USER = select(users.c.id).where(users.c.username == bindparam("name"))
_ORGANIZATION = (
    select(organizations.c.id)
    .join_from(organizations, namespaces, namespaces.c.owner_id == organizations.c.id)
    .where(namespaces.c.name_key == bindparam("name"))
)
_TEAM = select(teams.c.id).where(
    teams.c.org_id == bindparam("org"), func.lower(teams.c.name) == bindparam("name")
)

_of_repo = repositories.c.id == bindparam("repo")
_grants = union_all(
    select(package_maintainers.c.user_id, literal(WRITE).label("level")).where(
        package_maintainers.c.package_id == bindparam("package")
    ),
    select(repositories.c.owner_id, literal(WRITE)).where(_of_repo),
    select(
        collaborators.c.user_id,
        case((collaborators.c.permission == "read", READ), else_=WRITE),
    ).where(collaborators.c.repo_id == bindparam("repo")),
    select(org_members.c.user_id, case((org_members.c.role == "member", READ), else_=WRITE))
    .join_from(org_members, repositories, repositories.c.owner_id == org_members.c.org_id)
    .where(_of_repo),
    select(team_members.c.user_id, _team_level)
    .join_from(
        team_members, team_repositories, team_repositories.c.team_id == team_members.c.team_id
    )
    .join(teams, teams.c.id == team_members.c.team_id)
    .join(
        repositories,
        (repositories.c.id == team_repositories.c.repo_id)
        & (repositories.c.owner_id == teams.c.org_id),
    )
    .where(_of_repo),
).subquery("grants")
_COLLABORATORS = (
    select(users.c.username, func.max(_grants.c.level).label("level"))
    .join_from(_grants, users, users.c.id == _grants.c.user_id)
    .group_by(users.c.username)
    .order_by(users.c.username)
    .limit(MAX_LISTED)
)


class Lists:
    """Of packages only those are told that the caller may see: full name to ``read`` or
    ``write``, which is what whoever was asked about may do with it."""

    def __init__(self, db: Database, rights: Rights) -> None:
        self._db = db
        self._rights = rights

    async def is_public(self, actor: Actor, name: PackageName) -> bool:
        """Whether everybody may see a package. Raises NotFound."""
        return is_public(await self._rights.see(actor, name))

    async def collaborators(self, actor: Actor, name: PackageName) -> dict[str, str]:
        """What people may do with a package, for who may publish it; others do not learn who
        works on a repository. Raises NotFound, Unauthorized, Forbidden."""
        row = await self._rights.publish(actor, name)
        lowest = READ if row["repo_private"] or row["visibility"] == "public" else WRITE
        people = await self._db.fetch_all(_COLLABORATORS, package=row["id"], repo=row["repo_id"])
        return {
            person["username"]: _WORDS[person["level"]]
            for person in people
            if person["level"] >= lowest
        }

    async def of_user(self, actor: Actor, username: str) -> dict[str, str]:
        """Packages of a user's repositories, and those that the user maintains. Raises NotFound."""
        return await self._seen(_OF_USER, actor, await self._user(username))

    async def of_organization(self, actor: Actor, name: str) -> dict[str, str]:
        """Raises NotFound."""
        return await self._seen(_OF_OWNER, actor, await self._organization(name))

    async def of_team(self, actor: Actor, organization: str, team: str) -> dict[str, str]:
        """Packages of the repositories that a team has been given. Raises NotFound."""
        org_id = await self._organization(organization)
        found = await self._db.fetch_value(_TEAM, org=org_id, name=team.lower())
        if found is None:
            raise NotFound(f"{organization[:80]} has no team {team[:80]!r}")
        return await self._seen(_OF_TEAM, actor, found)

    async def starred(self, actor: Actor, username: str) -> list[str]:
        """Packages that a user has starred. Raises NotFound."""
        return list(await self._seen(_STARRED, actor, await self._user(username)))

    async def _seen(self, statement: SeenPackages, actor: Actor, whose: str) -> dict[str, str]:
        query, reader = statement.by(actor)
        rows = await self._db.fetch_all(query, whose=whose, **reader)
        return {row["full_name"]: _WORDS[row["level"]] for row in rows}

    async def _user(self, username: str) -> str:
        found = await self._db.fetch_value(_USER, name=username.lower())
        if found is None:
            raise NotFound(f"there is no user {username[:80]!r}")
        return str(found)

    async def _organization(self, name: str) -> str:
        found = await self._db.fetch_value(_ORGANIZATION, name=name.lower())
        if found is None:
            raise NotFound(f"there is no organization {name[:80]!r}")
        return str(found)
