"""What the public REST API lists: repositories, people and members, page by page, with totals.

Repositories are filtered in SQL by what the caller may read (:mod:`wit.access.visibility`), their
counts too, so that no number tells of what is hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from sqlalchemy import ColumnElement, Select, bindparam, case, false, func, or_, select, true
from sqlalchemy.sql import Executable

from wit.access.actor import Actor
from wit.access.gate import OWNER_COLUMNS
from wit.access.visibility import PUBLIC, Seen
from wit.db.port import Database, Row
from wit.db.search import contains, pattern
from wit.db.tables import collaborators, namespaces, org_members, organizations, repositories, users
from wit.errors import NotFound

SORTS = ("created", "updated", "pushed")

_REPOSITORIES = (
    select(repositories, *OWNER_COLUMNS)
    .join_from(repositories, namespaces, namespaces.c.owner_id == repositories.c.owner_id)
    .join(users, users.c.id == repositories.c.owner_id, isouter=True)
    .join(organizations, organizations.c.id == repositories.c.owner_id, isouter=True)
)
_COUNT_REPOSITORIES = (
    select(func.count())
    .select_from(repositories)
    .join(namespaces, namespaces.c.owner_id == repositories.c.owner_id)
)
_BY_ID = _REPOSITORIES.where(repositories.c.id == bindparam("id")).execution_options(quick=True)
_OF_OWNER = repositories.c.owner_id == bindparam("owner")
_OWNED = (
    select(
        func.sum(case((PUBLIC, 1), else_=0)).label("public"),
        func.sum(case((PUBLIC, 0), else_=1)).label("private"),
    )
    .select_from(repositories)
    .where(_OF_OWNER)
)


def _paged(statement: Select[Any]) -> Select[Any]:
    return statement.limit(bindparam("count")).offset(bindparam("skip"))


def _sorted(sort: str, descending: bool) -> Callable[[ColumnElement[bool]], Executable]:
    column = repositories.c[f"{sort}_at"]
    order = column.desc() if descending else column.asc()

    def make(visible: ColumnElement[bool]) -> Executable:
        found = _REPOSITORIES.where(_OF_OWNER, visible)
        return _paged(found.order_by(order.nulls_last(), repositories.c.id))

    return make


_OWNED_PAGES = {
    (sort, descending): Seen(_sorted(sort, descending))
    for sort in SORTS
    for descending in (False, True)
}
_COUNT_OWNED = Seen(_COUNT_REPOSITORIES.where(_OF_OWNER).where)

_full_name = namespaces.c.name + "/" + repositories.c.name
_MATCHING = or_(
    contains("pattern", repositories.c.name, repositories.c.description),
    _full_name.ilike(bindparam("pattern"), escape="\\"),
)
_SEARCH = Seen(
    _paged(
        _REPOSITORIES.where(_MATCHING).order_by(
            repositories.c.stars_count.desc(), repositories.c.updated_at.desc(), repositories.c.id
        )
    ).where
)
_COUNT_FOUND = Seen(_COUNT_REPOSITORIES.where(_MATCHING).where)

_ACTIVE = users.c.suspended == false()
_PERSON = contains("pattern", users.c.username, users.c.name)
_PEOPLE = _paged(select(users).where(_ACTIVE, _PERSON).order_by(users.c.username))
_COUNT_PEOPLE = select(func.count()).select_from(users).where(_ACTIVE, _PERSON)

_COLLABORATORS = _paged(
    select(users, collaborators.c.permission)
    .join_from(collaborators, users)
    .where(collaborators.c.repo_id == bindparam("repo"))
    .order_by(users.c.username)
)
_COUNT_COLLABORATORS = (
    select(func.count())
    .select_from(collaborators)
    .where(collaborators.c.repo_id == bindparam("repo"))
)

_IN_ORG = org_members.c.org_id == bindparam("org")
_HAS_ROLE = org_members.c.role == bindparam("role")


def _members(condition: ColumnElement[bool]) -> tuple[Executable, Executable]:
    """A page of members, and how many there are."""
    page = (
        select(users, org_members.c.role.label("member_role"))
        .join_from(org_members, users)
        .where(_IN_ORG, condition)
        .order_by(users.c.username)
    )
    total = select(func.count()).select_from(org_members).where(_IN_ORG, condition)
    return _paged(page), total


_MEMBERS = {False: _members(true()), True: _members(_HAS_ROLE)}


@attrs.frozen
class Found:
    """One page of rows, and how many there are in all."""

    rows: list[Row]
    total: int


class Directory:
    """Rows of repositories have :data:`wit.access.gate.OWNER_COLUMNS`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def repository(self, repo_id: str) -> Row:
        """One that the gate has let through. Raises NotFound."""
        row = await self._db.fetch_one(_BY_ID, id=repo_id)
        if row is None:
            raise NotFound("repository not found")
        return row

    async def owned(self, owner_id: str) -> tuple[int, int]:
        """How many public and private repositories an owner has."""
        row = await self._db.fetch_one(_OWNED, owner=owner_id)
        return (int(row["public"] or 0), int(row["private"] or 0)) if row else (0, 0)

    async def of_owner(
        self, actor: Actor, owner_id: str, *, sort: str, descending: bool, limit: int, offset: int
    ) -> Found:
        """What ``actor`` may read of one owner's; ``sort`` is one of SORTS."""
        page = _OWNED_PAGES[sort, descending]
        return await self._visible(actor, page, _COUNT_OWNED, limit, offset, owner=owner_id)

    async def search(self, actor: Actor, text: str, limit: int, offset: int) -> Found:
        """Repositories that ``actor`` may read, with ``text`` in OWNER/NAME or the description."""
        return await self._visible(
            actor, _SEARCH, _COUNT_FOUND, limit, offset, pattern=pattern(text)
        )

    async def people(self, text: str, limit: int, offset: int) -> Found:
        """Users with ``text`` in one of their names; never by e-mail address."""
        return await self._page(_PEOPLE, _COUNT_PEOPLE, limit, offset, pattern=pattern(text))

    async def collaborators(self, repo_id: str, limit: int, offset: int) -> Found:
        """Rows of ``user`` with ``permission``, by user name."""
        return await self._page(_COLLABORATORS, _COUNT_COLLABORATORS, limit, offset, repo=repo_id)

    async def members(self, org_id: str, role: str | None, limit: int, offset: int) -> Found:
        """Rows of ``user`` with ``member_role``, by user name; perhaps only those of one role."""
        page, total = _MEMBERS[role is not None]
        asked = {"org": org_id} if role is None else {"org": org_id, "role": role}
        return await self._page(page, total, limit, offset, **asked)

    async def _visible(
        self, actor: Actor, page: Seen, total: Seen, limit: int, offset: int, **asked: Any
    ) -> Found:
        rows, reader = page.by(actor)
        count, _ = total.by(actor)
        return await self._page(rows, count, limit, offset, **asked, **reader)

    async def _page(
        self, page: Executable, total: Executable, limit: int, offset: int, **asked: Any
    ) -> Found:
        rows = await self._db.fetch_all(page, count=limit, skip=offset, **asked)
        return Found(rows, int(await self._db.fetch_value(total, **asked)))
