"""Commits of a repository, for those who look at it: the log, one commit, what lies between two,
and the last commit of each entry of a directory.

The caller has asked the gate for Level.READ. ``user_key`` is whose share of the git processes a
request takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from wit.accounts.authors import Authors
from wit.db.port import Row
from wit.errors import NotFound
from wit.git.diff_text import Diffs
from wit.git.history import History
from wit.git.last_commits import Folder, LastCommitFinder
from wit.git.object_reader import Object, ObjectReader
from wit.git.objects import Commit, Entry, parse_commit
from wit.git.repository import BareRepository
from wit.git.revisions import MAX_COMMIT, Revisions, read_commit
from wit.repositories.browsing import Browsing
from wit.repositories.manager import RepoManager
from wit.runtime import Runtime


@attrs.frozen
class Log:
    """The newest commits, and how many there are in all; ``accounts`` are the rows of their
    authors (``username``, ``avatar``) by the address that a commit has."""

    commits: Sequence[Commit]
    total: int
    accounts: Mapping[str, Row]

    def account(self, commit: Commit) -> Row | None:
        return self.accounts.get(commit.author.email)


@attrs.frozen
class Changes:
    commit: Commit
    diff: str
    """Towards the first parent, as :mod:`wit.git.diff_text` writes it."""


@attrs.frozen
class LastChange:
    entry: Entry
    commit: Commit | None
    """None: not found yet."""


@attrs.frozen
class LastChanges:
    """Of each entry of a directory; without ``complete`` asking again finds more."""

    path: bytes
    entries: Sequence[LastChange]
    complete: bool


class CommitLog:
    def __init__(
        self,
        authors: Authors,
        runtime: Runtime,
        manager: RepoManager,
        browsing: Browsing,
        *,
        revisions: Revisions,
        reader: ObjectReader,
        history: History,
        diffs: Diffs,
        last_commits: LastCommitFinder,
    ) -> None:
        self._authors = authors
        self._runtime = runtime
        self._manager = manager
        self._browsing = browsing
        self._revisions = revisions
        self._reader = reader
        self._history = history
        self._diffs = diffs
        self._last_commits = last_commits

    async def log(self, repo: Row, ref: str, limit: int, user_key: str | None) -> Log:
        """The chain of first parents from ``ref`` on. Raises UnknownRevision."""
        bare = self._manager.bare(repo)
        start = (await self._browsing.commit(repo, ref, user_key)).oid
        oids = await self._history.first_parents(bare, start, limit, user_key)
        total = await self._history.count_first_parents(bare, start, user_key)
        commits = await self._read(bare, oids, user_key)
        accounts = await self._authors.accounts(commit.author.email for commit in commits)
        return Log(commits, total, accounts)

    async def changes(self, repo: Row, oid: str, user_key: str | None) -> Changes:
        """The commit with the full id ``oid``. Raises NotFound if the caller cannot have it."""
        bare = self._manager.bare(repo)
        commit = None
        if await self._revisions.is_visible(bare, oid, user_key):
            async with self._reader.open(bare, user_key) as objects:
                commit = await read_commit(objects, oid)
        if commit is None or commit.oid != oid:
            raise NotFound(f"there is no commit {oid[:80]!r}")
        first = commit.parents[0] if commit.parents else None
        return Changes(commit, await self._diffs.text(bare, first, oid, user_key))

    async def between(
        self, repo: Row, since: str | None, until: str, limit: int, user_key: str | None
    ) -> Log:
        """What ``until`` leads to and ``since`` does not, newest first. Raises UnknownRevision."""
        bare = self._manager.bare(repo)
        end = (await self._browsing.commit(repo, until, user_key)).oid
        start = None
        if since is not None:
            start = (await self._browsing.commit(repo, since, user_key)).oid
        oids = await self._history.between(bare, start, end, limit, user_key)
        total = await self._history.count_between(bare, start, end, user_key)
        return Log(await self._read(bare, oids, user_key), total, {})

    async def last_changes(
        self, repo: Row, ref: str, path: str, user_key: str | None
    ) -> LastChanges:
        """The last commit of each entry of the directory ``path``. Raises UnknownRevision;
        NotFound if there is no such directory."""
        bare = self._manager.bare(repo)
        found = await self._browsing.directory(repo, ref, path, user_key, sizes=False)
        entries = [sized.entry for sized in found.entries]
        names = [entry.name for entry in entries]
        folder = Folder(bare, found.commit.oid, found.path, names)
        last = await self._last_commits.of(folder, user_key)
        oids = {last.commits[name] for name in names if name in last.commits}
        commits = {commit.oid: commit for commit in await self._read(bare, list(oids), user_key)}
        changes = [
            LastChange(entry, commits.get(last.commits.get(entry.name, ""))) for entry in entries
        ]
        return LastChanges(found.path, changes, last.complete)

    async def _read(
        self, bare: BareRepository, oids: Sequence[str], user_key: str | None
    ) -> list[Commit]:
        """Those of ``oids`` that are not larger than MAX_COMMIT, in their order."""
        if not oids:
            return []
        async with self._reader.open(bare, user_key) as objects:
            read = await objects.read_many(oids, MAX_COMMIT)
        return await self._runtime.in_thread(_parse, oids, read)


def _parse(oids: Sequence[str], read: Sequence[Object | None]) -> list[Commit]:
    return [
        parse_commit(oid, found.data)
        for oid, found in zip(oids, read, strict=True)
        if found is not None
    ]
