"""Which commits there are, by C git: walks that are long in Python and short with a commit-graph.

Only ids come out of here, as text; what is in the commits is read by
:mod:`wit.git.object_reader`. All ids that go in are of commits that the client may see.
"""

from __future__ import annotations

from collections import OrderedDict

from wit.errors import TimedOut, Unavailable
from wit.git.command import Git, Option
from wit.git.governor import Governor
from wit.git.process import run
from wit.git.repository import BareRepository
from wit.runtime import Runtime

WALK_SECONDS = 20.0
"""Time limit of one walk. A million commits take about two seconds with a commit-graph."""

MAX_COMMITS = 100_000
"""Ids that one walk gives at most."""

REMEMBERED_COUNTS = 10_000


class History:
    """Commits behind others; a count never changes, so it is remembered."""

    def __init__(self, git: Git, runtime: Runtime, governor: Governor) -> None:
        self._git = git
        self._runtime = runtime
        self._governor = governor
        self._counts: OrderedDict[tuple[str, ...], int] = OrderedDict()

    async def first_parents(
        self, repo: BareRepository, commit: str, limit: int, user_key: str | None
    ) -> list[str]:
        """``commit``, its first parent, and so on: ``limit`` ids at most."""
        options: list[Option] = ["--first-parent", ("--max-count", limit)]
        return (await self._walk(repo, options, [commit], user_key)).split()

    async def count_first_parents(
        self, repo: BareRepository, commit: str, user_key: str | None
    ) -> int:
        """How many commits the chain of first parents has."""
        return await self._count(repo, ["--first-parent"], [commit], user_key)

    async def between(
        self,
        repo: BareRepository,
        since: str | None,
        until: str,
        limit: int,
        user_key: str | None,
    ) -> list[str]:
        """What ``until`` leads to and ``since`` does not, newest first: ``limit`` ids at most."""
        tips = [until] if since is None else [until, f"^{since}"]
        return (await self._walk(repo, [("--max-count", limit)], tips, user_key)).split()

    async def count_between(
        self, repo: BareRepository, since: str | None, until: str, user_key: str | None
    ) -> int:
        """How many there are in all."""
        tips = [until] if since is None else [until, f"^{since}"]
        return await self._count(repo, [], tips, user_key)

    async def count_newer(self, repo: BareRepository, commit: str, since: int) -> int:
        """How many commits behind ``commit`` were committed after ``since``, as time_t. This is
        wit's own question and takes a share of nobody's."""
        options: list[Option] = ["--count", ("--max-age", since)]
        return int(await self._walk(repo, options, [commit], None))

    async def _count(
        self,
        repo: BareRepository,
        options: list[Option],
        tips: list[str],
        user_key: str | None,
    ) -> int:
        key = (repo.key, *map(str, options), *tips)
        known = self._counts.get(key)
        if known is not None:
            self._counts.move_to_end(key)
            return known
        counted = int(await self._walk(repo, ["--count", *options], tips, user_key))
        self._counts[key] = counted
        if len(self._counts) > REMEMBERED_COUNTS:
            self._counts.popitem(last=False)
        return counted

    async def _walk(
        self, repo: BareRepository, options: list[Option], tips: list[str], user_key: str | None
    ) -> str:
        """What rev-list says. Raises TimedOut, Unavailable."""
        command = self._git.command("rev-list", *options, git_dir=repo.path, operands=tips)
        async with self._governor.slot(repo.key, user_key):
            try:
                done = await run(
                    self._runtime, command, limit=65 * MAX_COMMITS, timeout=WALK_SECONDS
                )
            except TimedOut:
                raise TimedOut("walking the history took too long") from None
        if done.code != 0:
            raise Unavailable("the history of this repository cannot be read")
        return done.stdout.decode("ascii")
