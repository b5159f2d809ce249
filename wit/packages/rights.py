"""Who may see, publish, manage and own a package: the one place that knows.

The gate judges the person, by the package's repository; maintainers may publish and manage, too.
What a token is good for here its packages scopes say, not those of the repository. A package that
the caller may not see is answered as one that does not exist. The table is in docs/packages.md.
"""

from __future__ import annotations

import enum
from typing import Any

import attrs
from sqlalchemy import Column, and_, bindparam, select

from wit.access.actor import Actor, Level
from wit.access.gate import SIGN_IN, Gate
from wit.db.port import Database, Row
from wit.db.tables import namespaces, package_maintainers, packages, repositories
from wit.errors import Conflict, Forbidden, NotFound, Unauthorized
from wit.packages.names import PackageName, check_new_name
from wit.packages.served import Upstream

READ_SCOPE = "packages:read"
WRITE_SCOPE = "packages:write"


class Act(enum.IntEnum):
    """What one may do with a package; each contains those below it."""

    NONE = 0
    SEE = 1
    PUBLISH = 2
    """Whoever may write to the repository."""
    MANAGE = 3
    """Maintainers: tags, deprecation, texts."""
    OWN = 4
    """Owners of the repository: maintainers, deletion."""


LIGHT_COLUMNS: tuple[Column[Any], ...] = tuple(
    column for column in packages.c if column.name not in ("readme", "description")
)
"""Of the table, without the long texts, for lists."""

_JUDGED = tuple(
    packages.c[name]
    for name in (
        "id",
        "name",
        "scope",
        "full_name",
        "repo_id",
        "visibility",
        "deprecated",
        "revision",
        "created_at",
        "updated_at",
    )
)
"""What is asked of a package with every request about it."""

_WITH_RIGHTS = (
    select(
        *_JUDGED,
        repositories.c.is_private.label("repo_private"),
        repositories.c.owner_id.label("repo_owner_id"),
        (namespaces.c.name + "/" + repositories.c.name).label("repo_full_name"),
        package_maintainers.c.user_id.is_not(None).label("maintains"),
    )
    .join_from(packages, repositories, repositories.c.id == packages.c.repo_id)
    .join(namespaces, namespaces.c.owner_id == repositories.c.owner_id)
    .join(
        package_maintainers,
        and_(
            package_maintainers.c.package_id == packages.c.id,
            package_maintainers.c.user_id == bindparam("user"),
        ),
        isouter=True,
    )
    .execution_options(quick=True)
)
_BY_NAME = _WITH_RIGHTS.where(packages.c.full_name == bindparam("full_name"))
_BY_ID = _WITH_RIGHTS.where(packages.c.id == bindparam("id"))
_IS_TAKEN = (
    select(packages.c.id)
    .where(packages.c.full_name == bindparam("full_name"))
    .execution_options(quick=True)
)


class Rights:
    """Rows have of ``packages`` ids, names, ``visibility``, ``deprecated``, ``revision`` and times,
    ``repo_private``, ``repo_owner_id``, ``repo_full_name``, and ``maintains``: whether the caller
    is a maintainer."""

    def __init__(self, db: Database, gate: Gate, upstream: Upstream) -> None:
        self._db = db
        self._gate = gate
        self._upstream = upstream

    async def see(self, actor: Actor, name: PackageName, needed: Act = Act.SEE) -> Row:
        """The package, if ``actor`` may do what is ``needed`` with it.

        Raises NotFound (missing or invisible), Unauthorized and Forbidden.
        """
        found = await self._db.fetch_one(_BY_NAME, full_name=name.full, user=actor.user_id or "")
        return await self._judge(actor, found, needed, f"there is no package {name.full} here")

    async def by_id(self, actor: Actor, package_id: str, needed: Act = Act.SEE) -> Row:
        """As :meth:`see`, for callers who know the id."""
        found = await self._db.fetch_one(_BY_ID, id=package_id, user=actor.user_id or "")
        return await self._judge(actor, found, needed, "package not found")

    async def publish(self, actor: Actor, name: PackageName) -> Row:
        return await self.see(actor, name, Act.PUBLISH)

    async def manage(self, actor: Actor, name: PackageName) -> Row:
        return await self.see(actor, name, Act.MANAGE)

    async def own(self, actor: Actor, name: PackageName) -> Row:
        return await self.see(actor, name, Act.OWN)

    async def is_taken(self, name: PackageName) -> bool:
        """Whether there is a package of the name here, whoever may see it."""
        return await self._db.fetch_value(_IS_TAKEN, full_name=name.full) is not None

    async def act(self, actor: Actor, row: Row) -> Act:
        """The most that ``actor`` may do with a package, given its row for that actor."""
        return await self._most(actor, row, to_change=False)

    async def claim(self, actor: Actor, name: PackageName, repo: Row) -> None:
        """Whether a new package of ``repo`` (the gate's row, found for writing) may have the name.

        Raises Invalid; Conflict if it is taken; Forbidden for the scope of another owner, and for
        a name that people here get from an uplink; Unavailable if the uplink cannot be asked.
        """
        check_new_name(name)
        owner = repo["owner_name"]
        if name.scope not in (None, owner.lower()) and not actor.is_admin:
            raise Forbidden(
                f"the scope @{name.scope} is for repositories of {name.scope}, and this one "
                f"belongs to {owner}: call the package @{owner.lower()}/{name.name}"
            )
        if await self.is_taken(name):
            raise Conflict(f"the name {name.full} is taken")
        if actor.is_admin or not self._upstream.serves(name):
            return
        if await self._upstream.exists(name):
            raise Forbidden(
                f"{name.full} is a package of another registry that this site serves; choose "
                "another name, or have an administrator publish the first version"
            )

    async def _judge(self, actor: Actor, found: Row | None, needed: Act, missing: str) -> Row:
        if found is not None and needed is Act.SEE and is_public(found):
            return found
        most = Act.NONE
        if found is not None:
            most = await self._most(actor, found, to_change=needed > Act.SEE)
            if most >= needed:
                return found
        if needed > Act.SEE and actor.anonymous:
            raise Unauthorized(SIGN_IN)
        if found is None or most is Act.NONE:
            raise NotFound(missing)
        if not actor.has_scope(WRITE_SCOPE):
            raise Forbidden(f"this token lacks the scope {WRITE_SCOPE}")
        raise Forbidden(_refusal(found, needed))

    async def _most(self, actor: Actor, row: Row, *, to_change: bool) -> Act:
        """``to_change``: a token may be one for writing only."""
        person = attrs.evolve(actor, scopes=None)
        level = await self._gate.level(person, {"id": row["repo_id"]})
        if actor.has_scope(READ_SCOPE) or (to_change and actor.has_scope(WRITE_SCOPE)):
            by_reading = row["repo_private"] or row["visibility"] == "public"
            needed = Level.READ if by_reading else Level.WRITE
            visible = row["maintains"] or level >= needed
        else:
            visible = is_public(row)
        if not visible:
            return Act.NONE
        if actor.anonymous or not actor.has_scope(WRITE_SCOPE):
            return Act.SEE
        if level >= Level.OWNER:
            return Act.OWN
        if row["maintains"]:
            return Act.MANAGE
        return Act.PUBLISH if level >= Level.WRITE else Act.SEE


def is_public(row: Row) -> bool:
    """Whether everybody may see the package of a row that :class:`Rights` gave."""
    return row["visibility"] == "public" and not row["repo_private"]


def _refusal(row: Row, needed: Act) -> str:
    who = {
        Act.PUBLISH: f"its maintainers and who may write to {row['repo_full_name']}",
        Act.MANAGE: f"its maintainers and the owners of {row['repo_full_name']}",
        Act.OWN: f"the owners of {row['repo_full_name']}",
    }[needed]
    return f"{row['full_name']} is not yours to change: this is for {who}"
