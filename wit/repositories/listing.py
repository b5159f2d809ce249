"""Lists of repositories for those who look at them, each filtered in SQL by what the caller may
read; names for forks; and the counters of one repository counted anew."""

from __future__ import annotations

from sqlalchemy import bindparam, func, select, update

from wit.access.actor import Actor
from wit.access.visibility import Seen
from wit.db.port import Database, Row
from wit.db.tables import namespaces, repositories, stars, watches
from wit.errors import Invalid
from wit.git.names import RepoName, check_repo
from wit.repositories.manager import taken
from wit.repositories.rows import lock_repository

MAX_SUGGESTIONS = 50

_of_owner = (
    select(repositories, namespaces.c.name.label("owner_name"))
    .join_from(repositories, namespaces, namespaces.c.owner_id == repositories.c.owner_id)
    .where(namespaces.c.name_key == bindparam("owner"))
    .order_by(repositories.c.updated_at.desc(), repositories.c.id)
    .limit(bindparam("count"))
    .offset(bindparam("skip"))
)
_OF_OWNER = Seen(_of_owner.where)
_FORKS = Seen(
    select(repositories)
    .where(repositories.c.forked_from_id == bindparam("repo"))
    .order_by(repositories.c.created_at.desc(), repositories.c.id)
    .limit(bindparam("count"))
    .offset(bindparam("skip"))
    .where
)
_TAKEN_NAMES = select(repositories.c.name_key).where(
    repositories.c.owner_id == bindparam("owner"),
    repositories.c.name_key.in_(bindparam("names", expanding=True)),
)
_forks = repositories.alias("forks")
_RECOUNT = (
    update(repositories)
    .where(repositories.c.id == bindparam("repo"))
    .values(
        stars_count=select(func.count())
        .select_from(stars)
        .where(stars.c.repo_id == repositories.c.id)
        .scalar_subquery(),
        watchers_count=select(func.count())
        .select_from(watches)
        .where(watches.c.repo_id == repositories.c.id)
        .scalar_subquery(),
        forks_count=select(func.count())
        .select_from(_forks)
        .where(_forks.c.forked_from_id == repositories.c.id)
        .scalar_subquery(),
    )
)


class Listing:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def of_owner(self, actor: Actor, owner: str, limit: int, offset: int = 0) -> list[Row]:
        """What ``actor`` may read of an owner, the latest change first; [] for an unknown one."""
        statement, reader = _OF_OWNER.by(actor)
        return await self._db.fetch_all(
            statement, owner=owner.lower(), count=limit, skip=offset, **reader
        )

    async def forks(self, actor: Actor, repo_id: str, limit: int, offset: int = 0) -> list[Row]:
        """The forks that ``actor`` may read, the latest first."""
        statement, reader = _FORKS.by(actor)
        return await self._db.fetch_all(statement, repo=repo_id, count=limit, skip=offset, **reader)

    async def fork_name(self, owner_id: str, owner_name: str, name: str) -> tuple[str | None, str]:
        """(None, "") if the owner can have a fork of that name; else another name that is free, if
        one is found, and a sentence that says why."""
        try:
            check_repo(name)
        except Invalid as error:
            return None, error.message
        stem = name[:90]
        others = [f"{stem}-{number}" for number in range(1, MAX_SUGGESTIONS + 1)]
        rows = await self._db.fetch_all(
            _TAKEN_NAMES, owner=owner_id, names=[key.lower() for key in (name, *others)]
        )
        in_use = {row["name_key"] for row in rows}
        if name.lower() not in in_use:
            return None, ""
        free = next((other for other in others if other.lower() not in in_use), None)
        return free, taken(RepoName(owner_name, name)).message

    async def recount(self, repo_id: str) -> Row:
        """Count stars, watches and forks anew; the row as it is then. Raises NotFound."""
        async with self._db.transaction() as tx:
            await lock_repository(tx, repo_id)
            await tx.execute(_RECOUNT, repo=repo_id)
            return await lock_repository(tx, repo_id)
