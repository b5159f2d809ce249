"""Public repositories for those who look around: by words, and by how much happens in them."""

from __future__ import annotations

from collections import OrderedDict
from datetime import timedelta

import attrs
from sqlalchemy import bindparam, func, or_, select
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from wit.access.visibility import PUBLIC
from wit.db.port import Database, Row
from wit.db.search import contains, pattern
from wit.db.tables import namespaces, repositories
from wit.errors import WitError
from wit.git.history import History
from wit.git.refs import RefReader
from wit.git.revisions import head
from wit.repositories.manager import RepoManager
from wit.runtime import Runtime

LEADERBOARD_DAYS = 7

MAX_CANDIDATES = 200
"""Repositories whose commits are counted, those with the latest changes."""

COUNT_SECONDS = 10.0
"""How long counting may hold a request up; what is not counted by then is next time."""

FRESH_SECONDS = 600.0
"""For how long a count is good."""

REMEMBERED = 1000

log = Logger()

_SEARCH = (
    select(repositories)
    .where(PUBLIC, contains("pattern", repositories.c.name, repositories.c.description))
    .order_by(repositories.c.stars_count.desc(), repositories.c.name_key, repositories.c.id)
    .limit(bindparam("count"))
)
_changed = func.coalesce(repositories.c.pushed_at, repositories.c.created_at)
_CANDIDATES = (
    select(repositories, namespaces.c.name.label("owner_name"))
    .join_from(repositories, namespaces, namespaces.c.owner_id == repositories.c.owner_id)
    .where(PUBLIC)
    .where(
        or_(
            repositories.c.pushed_at > bindparam("since"),
            repositories.c.created_at > bindparam("since"),
        )
    )
    .order_by(_changed.desc(), repositories.c.id)
    .limit(MAX_CANDIDATES)
)


@attrs.frozen
class Busy:
    """A repository (with ``owner_name``) and its commits of the last days."""

    repo: Row
    commits: int


class Discovery:
    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        manager: RepoManager,
        refs: RefReader,
        history: History,
    ) -> None:
        self._db = db
        self._runtime = runtime
        self._manager = manager
        self._refs = refs
        self._history = history
        self._counts: OrderedDict[str, tuple[str | None, float, int]] = OrderedDict()
        self._counting = DeferredLock()

    async def search(self, text: str, limit: int) -> list[Row]:
        """Public repositories with ``text`` in their name or description, most stars first."""
        return await self._db.fetch_all(_SEARCH, pattern=pattern(text), count=limit)

    async def leaderboard(self, limit: int) -> list[Busy]:
        """Public repositories with commits on HEAD in the last LEADERBOARD_DAYS, most first.

        Who is shown is asked anew each time, so a repository that has become private is gone at
        once; only the counts are remembered. One caller counts, the others wait for that.
        """
        since = self._runtime.now() - timedelta(days=LEADERBOARD_DAYS)
        candidates = await self._db.fetch_all(_CANDIDATES, since=since)
        await self._counting.acquire()
        try:
            busy = await self._count_all(candidates, int(since.timestamp()))
        finally:
            self._counting.release()
        busy.sort(key=lambda found: (-found.commits, -found.repo["stars_count"], found.repo["id"]))
        return busy[:limit]

    async def _count_all(self, candidates: list[Row], since: int) -> list[Busy]:
        busy = []
        deadline = self._runtime.reactor.seconds() + COUNT_SECONDS
        for repo in candidates:
            if self._runtime.reactor.seconds() > deadline:
                break
            try:
                commits = await self._count(repo, since)
            except WitError as error:
                log.warn("{repo}: not counted: {error}", repo=repo["id"], error=error.message)
                continue
            if commits:
                busy.append(Busy(repo, commits))
        return busy

    async def _count(self, repo: Row, since: int) -> int:
        bare = self._manager.bare(repo)
        tip = head(await self._refs.snapshot(bare), repo["default_branch"])
        now = self._runtime.reactor.seconds()
        known_tip, counted, commits = self._counts.get(repo["id"], (None, 0.0, 0))
        if tip is not None and (known_tip != tip or now - counted > FRESH_SECONDS):
            commits = await self._history.count_newer(bare, tip, since)
            self._counts[repo["id"]] = (tip, now, commits)
            self._counts.move_to_end(repo["id"])
            if len(self._counts) > REMEMBERED:
                self._counts.popitem(last=False)
        return 0 if tip is None else commits
