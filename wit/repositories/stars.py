"""Stars and watches: who marked a repository, and the counters on its row.

A counter is counted anew, under a lock on the repository's row, whenever somebody marks it or
takes the mark away: so two at once cannot lose one, and what went with a deleted user is made good.
"""

from __future__ import annotations

from sqlalchemy import Column, Table, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from wit.db.port import Database, Row
from wit.db.tables import repositories, stars, users, watches
from wit.events.journal import Journal
from wit.events.types import NewEvent
from wit.repositories.rows import lock_repository
from wit.runtime import Runtime


class Marks:
    """One kind of mark: rows of (repository, user), and a counter."""

    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        journal: Journal,
        *,
        table: Table,
        counter: Column[int],
        event: str | None = None,
    ) -> None:
        """``event`` is journaled for each new mark."""
        self._db = db
        self._runtime = runtime
        self._journal = journal
        self._event = event
        of_repo = table.c.repo_id == bindparam("repo")
        mine = of_repo & (table.c.user_id == bindparam("user"))
        self._add = insert(table).on_conflict_do_nothing()
        self._remove = delete(table).where(mine)
        self._mine = select(table.c.user_id).where(mine).execution_options(quick=True)
        counted = (
            select(func.count())
            .select_from(table)
            .where(table.c.repo_id == repositories.c.id)
            .scalar_subquery()
        )
        self._count = (
            update(repositories)
            .where(repositories.c.id == bindparam("repo"))
            .values({counter.name: counted})
        )
        self._people = (
            select(users)
            .join_from(table, users, users.c.id == table.c.user_id)
            .where(of_repo)
            .order_by(table.c.created_at.desc(), users.c.id)
            .limit(bindparam("count"))
            .offset(bindparam("skip"))
        )

    async def add(self, repo_id: str, user_id: str) -> bool:
        """Whether the mark is new. Raises NotFound."""
        async with self._db.transaction() as tx:
            repo = await lock_repository(tx, repo_id)
            now = self._runtime.now()
            new = await tx.execute(self._add, repo_id=repo_id, user_id=user_id, created_at=now) == 1
            await tx.execute(self._count, repo=repo_id)
            if new and self._event is not None:
                await self._journal.append(tx, _marked(self._event, repo, user_id))
        if new and self._event is not None:
            await self._journal.announce()
        return new

    async def remove(self, repo_id: str, user_id: str) -> None:
        """Raises NotFound without such a repository; without a mark nothing happens."""
        async with self._db.transaction() as tx:
            await lock_repository(tx, repo_id)
            await tx.execute(self._remove, repo=repo_id, user=user_id)
            await tx.execute(self._count, repo=repo_id)

    async def has(self, repo_id: str, user_id: str) -> bool:
        return await self._db.fetch_value(self._mine, repo=repo_id, user=user_id) is not None

    async def people(self, repo_id: str, limit: int, offset: int = 0) -> list[Row]:
        """Rows of ``user``, the latest mark first."""
        return await self._db.fetch_all(self._people, repo=repo_id, count=limit, skip=offset)


def make_stars(db: Database, runtime: Runtime, journal: Journal) -> Marks:
    counter = repositories.c.stars_count
    return Marks(db, runtime, journal, table=stars, counter=counter, event="repo.starred")


def make_watches(db: Database, runtime: Runtime, journal: Journal) -> Marks:
    return Marks(db, runtime, journal, table=watches, counter=repositories.c.watchers_count)


def _marked(event: str, repo: Row, user_id: str) -> NewEvent:
    payload = {
        "repoId": repo["id"],
        "repoFullName": repo["full_name"],
        "ownerId": repo["owner_id"],
    }
    return NewEvent(event, user_id, payload, repo["id"])
