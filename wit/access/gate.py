"""The one gate: who may do what with which repository, asked by every protocol.

The rules are the contract's "intended rule set" (auth.md): a public repository is readable by
everybody; its owner owns it; a collaborator the level of its row; of the repositories of an
organization, owners own, admins write and members read; a team gives its members the level of its
grant. A token additionally needs the scope of the level, but to read what is public. The table of
all this is in docs/security.md.

Private means invisible: whoever may not read a repository gets the answer that a missing one
gives. Both answers come out of one statement and one function, so they cannot drift apart.
"""

from __future__ import annotations

from typing import Any

import attrs
from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    false,
    func,
    or_,
    select,
    tuple_,
)

from wit.access.actor import Actor, Level, Origin
from wit.db.port import Database, Row
from wit.db.tables import (
    collaborators,
    namespaces,
    org_members,
    organizations,
    repositories,
    team_members,
    team_repositories,
    teams,
    users,
)
from wit.errors import Forbidden, Invalid, NotFound, Unauthorized
from wit.git.names import RepoName, check_owner, check_repo

MAX_PAGE = 100

SIGN_IN = "sign in with a user name and a personal access token"
"""What an anonymous caller reads about everything that is not public, existing or not."""

_NOBODY = ""
"""Stands for the user id of whoever has none; no row has it."""

_LEVELS = {
    "read": Level.READ,
    "write": Level.WRITE,
    "admin": Level.ADMIN,
}
_ORG_LEVELS = {
    "member": Level.READ,
    "admin": Level.WRITE,
    "owner": Level.OWNER,
}

_by_team = team_repositories.c.permission
_team_level = (
    select(func.max(case((_by_team == "admin", 3), (_by_team == "write", 2), else_=1)))
    .join_from(
        team_repositories, team_members, team_members.c.team_id == team_repositories.c.team_id
    )
    .join(teams, teams.c.id == team_repositories.c.team_id)
    .where(team_repositories.c.repo_id == repositories.c.id)
    .where(teams.c.org_id == repositories.c.owner_id)
    .where(team_members.c.user_id == bindparam("user"))
    .correlate(repositories)
    .scalar_subquery()
)
"""The highest Level that a team gives the user, or null; teams of whoever owns it, not of owners
before."""

_owner_key = namespaces.c.name_key.label("owner_key")
OWNER_COLUMNS = (
    namespaces.c.name.label("owner_name"),
    func.coalesce(users.c.name, organizations.c.display_name).label("owner_display_name"),
    users.c.username.label("owner_username"),
    users.c.image.label("owner_image"),
    func.coalesce(users.c.avatar_url, organizations.c.avatar_url).label("owner_avatar_url"),
)
"""What answers say of a repository's owner: of a user or an organization, outer joined."""

_WITH_RIGHTS = (
    select(
        repositories,
        *OWNER_COLUMNS,
        _owner_key,
        collaborators.c.permission.label("_permission"),
        org_members.c.role.label("_org_role"),
        _team_level.label("_team_level"),
    )
    .join_from(repositories, namespaces, namespaces.c.owner_id == repositories.c.owner_id)
    .join(users, users.c.id == repositories.c.owner_id, isouter=True)
    .join(organizations, organizations.c.id == repositories.c.owner_id, isouter=True)
    .join(
        collaborators,
        and_(
            collaborators.c.repo_id == repositories.c.id,
            collaborators.c.user_id == bindparam("user"),
        ),
        isouter=True,
    )
    .join(
        org_members,
        and_(
            org_members.c.org_id == repositories.c.owner_id,
            org_members.c.user_id == bindparam("user"),
        ),
        isouter=True,
    )
)
_BY_NAME = _WITH_RIGHTS.where(
    namespaces.c.name_key == bindparam("owner"), repositories.c.name_key == bindparam("name")
).execution_options(quick=True)
_BY_ID = _WITH_RIGHTS.where(repositories.c.id == bindparam("id")).execution_options(quick=True)

_PUBLIC = repositories.c.is_private == false()
_MINE = or_(
    repositories.c.owner_id == bindparam("user"),
    collaborators.c.user_id.is_not(None),
    org_members.c.user_id.is_not(None),
    _team_level.is_not(None),
)


def _page(*conditions: ColumnElement[bool]) -> Select[Any]:
    return (
        _WITH_RIGHTS.where(*conditions)
        .where(
            tuple_(namespaces.c.name_key, repositories.c.name_key)
            > tuple_(bindparam("after_owner"), bindparam("after_name"))
        )
        .order_by(namespaces.c.name_key, repositories.c.name_key)
        .limit(bindparam("limit"))
    )


_OF_OWNER = namespaces.c.name_key == bindparam("owner")
_PAGES = {
    # (what may be seen, whether of one owner): the statement
    ("public", False): _page(_PUBLIC),
    ("public", True): _page(_PUBLIC, _OF_OWNER),
    ("mine", False): _page(or_(_PUBLIC, _MINE)),
    ("mine", True): _page(or_(_PUBLIC, _MINE), _OF_OWNER),
    ("all", False): _page(),
    ("all", True): _page(_OF_OWNER),
}


@attrs.frozen
class Page:
    """Repositories in the order of their full names, and the cursor of the next page, if any."""

    rows: list[Row]
    next_cursor: str | None


class Gate:
    """Finds repositories and authorises in one step."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def repository(
        self, actor: Actor, name: RepoName, needed: Level, scope: str | None = None
    ) -> Row:
        """The repository, if ``actor`` may use it at the level ``needed``; a token needs ``scope``,
        or None: that of the level.

        The row has the columns of ``repositories``, of its owner ``owner_name``,
        ``owner_display_name`` and so on (OWNER_COLUMNS), ``full_name``, and ``level``, the
        highest level that the actor has. Raises Unauthorized (an anonymous actor should sign
        in), NotFound (missing or invisible) and Forbidden (visible, but not for this).
        """
        found = await self._db.fetch_one(
            _BY_NAME,
            owner=name.owner.lower(),
            name=name.name.lower(),
            user=actor.user_id or _NOBODY,
        )
        return _judge(actor, found, needed, scope)

    async def repository_by_id(
        self, actor: Actor, repo_id: str, needed: Level, scope: str | None = None
    ) -> Row:
        """As :meth:`repository`, for callers who know the id."""
        found = await self._db.fetch_one(_BY_ID, id=repo_id, user=actor.user_id or _NOBODY)
        return _judge(actor, found, needed, scope)

    async def level(self, actor: Actor, repo: Row) -> Level:
        """The highest level that ``actor`` has with a repository; NONE if it is gone."""
        found = await self._db.fetch_one(_BY_ID, id=repo["id"], user=actor.user_id or _NOBODY)
        return Level.NONE if found is None else _effective(actor, found, _granted(actor, found))

    async def visible_repositories(
        self, actor: Actor, owner: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page:
        """What ``actor`` may read, page by page, perhaps of one owner only. Raises Invalid."""
        if not 1 <= limit <= MAX_PAGE:
            raise Invalid(f"a page has 1 to {MAX_PAGE} repositories")
        after_owner, after_name = _parse_cursor(cursor)
        if actor.only_repo_id is not None:
            return Page([], None)
        if actor.origin is Origin.CLI:
            sight = "all"
        else:
            sight = "public" if actor.anonymous or not actor.has_scope("repo:read") else "mine"
        parameters: dict[str, Any] = {} if owner is None else {"owner": owner.lower()}
        found = await self._db.fetch_all(
            _PAGES[sight, owner is not None],
            user=actor.user_id or _NOBODY,
            after_owner=after_owner,
            after_name=after_name,
            limit=limit + 1,
            **parameters,
        )
        rows = [_shown(actor, row) for row in found[:limit]]
        if len(found) <= limit:
            return Page(rows, None)
        last = found[limit - 1]
        return Page(rows, f"{last['owner_key']}/{last['name_key']}")


def _granted(actor: Actor, found: Row) -> Level:
    """What the person has, whatever the credential; with one for another repository, nothing."""
    if actor.only_repo_id not in (None, found["id"]):
        return Level.NONE
    level = Level.NONE if found["is_private"] else Level.READ
    if actor.origin is Origin.CLI or (
        actor.user_id is not None and found["owner_id"] == actor.user_id
    ):
        level = Level.OWNER
    level = max(level, _LEVELS.get(found["_permission"], Level.NONE))
    level = max(level, Level(found["_team_level"] or Level.NONE))
    return max(level, _ORG_LEVELS.get(found["_org_role"], Level.NONE))


def _in_scope(actor: Actor, found: Row, level: Level, scope: str | None = None) -> bool:
    """Whether the credential is good for an act of ``level``."""
    public = level is Level.READ and not found["is_private"]
    return public or actor.has_scope(scope or level.scope)


def _effective(actor: Actor, found: Row, granted: Level) -> Level:
    usable = (
        level
        for level in (Level.OWNER, Level.ADMIN, Level.WRITE, Level.READ)
        if level <= granted and _in_scope(actor, found, level)
    )
    return next(usable, Level.NONE)


def _judge(actor: Actor, found: Row | None, needed: Level, scope: str | None) -> Row:
    granted = Level.NONE if found is None else _granted(actor, found)
    if found is not None and granted >= needed and _in_scope(actor, found, needed, scope):
        return _shown(actor, found)
    if actor.anonymous:
        raise Unauthorized(SIGN_IN)
    if found is None or granted < Level.READ or not _in_scope(actor, found, Level.READ):
        raise NotFound("repository not found")
    if granted < needed:
        raise Forbidden(
            f"you have {granted.name.lower()} access to {_full_name(found)}; "
            f"this needs {needed.name.lower()} access"
        )
    raise Forbidden(f"this token lacks the scope {scope or needed.scope}")


def _full_name(found: Row) -> str:
    return f"{found['owner_name']}/{found['name']}"


def _shown(actor: Actor, found: Row) -> Row:
    row = dict(found)
    for own in ("_permission", "_org_role", "_team_level"):
        del row[own]
    row["full_name"] = _full_name(found)
    row["level"] = _effective(actor, found, _granted(actor, found))
    return row


def _parse_cursor(cursor: str | None) -> tuple[str, str]:
    if not cursor:
        return "", ""
    owner, _, name = cursor.partition("/")
    try:
        return check_owner(owner).lower(), check_repo(name).lower()
    except Invalid:
        raise Invalid("the cursor is not one that a page before has given") from None
