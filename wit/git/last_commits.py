"""The last commit of each entry of a directory, by git's walk and from memory.

Answers for a commit never change, so they are remembered; and for a commit that comes after one
whose answers are known, the walk only goes back to that one. The first walk is bounded by time:
what was found by then is remembered too, and the next request takes the walk up where it was
broken off.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack, suppress

import attrs
from twisted.internet.defer import DeferredLock

from wit.errors import Unavailable
from wit.git.command import MEMORY_CONFIG, Git, Invocation
from wit.git.governor import Governor
from wit.git.last_commit_walk import Answers, Walk
from wit.git.process import DEVNULL, spawn, within
from wit.git.repository import BareRepository
from wit.runtime import Runtime

WALK_SECONDS = 15.0
"""Time limit of one walk. 20 000 commits, each to a directory of 1 000 files, take two seconds."""

REMEMBERED = 300_000
"""Entries of all directories that are remembered, at about 200 bytes each."""

COMMITS = 4
"""Commits of which a directory's answers are remembered."""


@attrs.frozen
class LastCommits:
    """``commits`` by the name of the entry; ``complete``: nothing is missing."""

    commits: Mapping[bytes, str]
    complete: bool


@attrs.frozen
class Folder:
    """A directory as it is at one commit: ``path`` (b"": the root) and all names in it."""

    repo: BareRepository
    commit: str
    path: bytes
    names: Iterable[bytes] = attrs.field(eq=False)

    @property
    def key(self) -> tuple[str, bytes]:
        return self.repo.key, self.path


@attrs.frozen(eq=False)
class _Found:
    answers: Answers
    waiting: Mapping[str, frozenset[bytes]]
    """Where to go on, if the walk did not come to its end."""

    @property
    def weight(self) -> int:
        return len(self.answers) + sum(map(len, self.waiting.values()))


class LastCommitFinder:
    """One per daemon."""

    def __init__(self, git: Git, runtime: Runtime, governor: Governor) -> None:
        self._git = git
        self._runtime = runtime
        self._governor = governor
        self._folders: OrderedDict[tuple[str, bytes], OrderedDict[str, _Found]] = OrderedDict()
        self._weight = 0
        self._locks: dict[tuple[str, bytes], DeferredLock] = {}

    async def of(self, folder: Folder, user_key: str | None) -> LastCommits:
        """The last commit of each entry of ``folder``.

        One walk at a time for one directory: who comes meanwhile finds its answers. Raises
        Unavailable.
        """
        found = self._recall(folder)
        if found is None or found.waiting:
            lock = self._locks.setdefault(folder.key, DeferredLock())
            await lock.acquire()
            try:
                found = self._recall(folder)
                if found is None or found.waiting:
                    found = await self._walk(folder, found, user_key)
            finally:
                lock.release()
                if not lock.locked and self._locks.get(folder.key) is lock:
                    del self._locks[folder.key]
        return LastCommits(found.answers, not found.waiting)

    async def _walk(self, folder: Folder, begun: _Found | None, user_key: str | None) -> _Found:
        known = {
            at: found.answers
            for at, found in self._folders.get(folder.key, {}).items()
            if not found.waiting
        }
        if begun is None:
            walk = Walk(folder.path, {folder.commit: frozenset(folder.names)}, known)
        else:
            walk = Walk(folder.path, begun.waiting, known, begun.answers)
        async with self._governor.slot(folder.repo.key, user_key):
            with suppress(TimeoutError):  # what was found by then is worth keeping
                await self._run(folder, walk)
        waiting = {at: frozenset(group) for at, group in walk.waiting.items()}
        found = _Found(walk.answers, waiting)
        self._remember(folder.key, folder.commit, found)
        return found

    async def _run(self, folder: Folder, walk: Walk) -> None:
        """Until all is found. A history whose commits come in an odd order (clocks that went
        wrong) can need more than one look; each finds something, or there is nothing to find.

        Raises TimeoutError.
        """
        deadline = self._runtime.reactor.seconds() + WALK_SECONDS
        while not walk.done:
            before = {at: len(group) for at, group in walk.waiting.items()}
            await self._look(folder, walk, deadline)
            if not walk.done and before == {at: len(g) for at, g in walk.waiting.items()}:
                raise Unavailable("the history of this directory cannot be read")

    async def _look(self, folder: Folder, walk: Walk, deadline: float) -> None:
        """``git rev-list | git diff-tree``, as far as it is needed.

        Only waiting for git is cut off by the deadline, never a thread that works on ``walk``.
        """
        revisions, changes = self._commands(folder, list(walk.waiting))
        async with AsyncExitStack() as stack:
            reading, writing = os.pipe2(os.O_CLOEXEC)
            try:
                lister = spawn(self._runtime, revisions, stdin=DEVNULL, stdout=writing)
                await stack.enter_async_context(lister)
                differ = spawn(self._runtime, changes, stdin=reading)
                await stack.enter_async_context(differ)
            finally:
                os.close(reading)
                os.close(writing)
            while not walk.done:
                left = max(0.0, deadline - self._runtime.reactor.seconds())
                data = await within(self._runtime, left, differ.stdout.read())
                if not data:
                    break
                await self._runtime.in_thread(walk.feed, data)
            if not walk.done:
                walk.end()
                if await lister.wait() != 0 or await differ.wait() != 0:
                    raise Unavailable("the history of this directory cannot be read")

    def _commands(self, folder: Folder, tips: list[str]) -> tuple[Invocation, Invocation]:
        paths = [os.fsdecode(folder.path)] if folder.path else []
        path = folder.repo.path
        revisions = self._git.command("rev-list", git_dir=path, operands=tips, config=MEMORY_CONFIG)
        changes = self._git.command(
            "diff-tree", "--stdin", "-m", "--root", "--always", "--raw", "-z", "--parents",
            "--no-renames", ("--pretty", "short"), *(["-r"] if paths else []),
            git_dir=path, paths=paths, config=MEMORY_CONFIG,
        )  # fmt: skip
        return revisions, changes

    def _recall(self, folder: Folder) -> _Found | None:
        commits = self._folders.get(folder.key)
        if commits is None:
            return None
        self._folders.move_to_end(folder.key)
        return commits.get(folder.commit)

    def _remember(self, key: tuple[str, bytes], commit: str, found: _Found) -> None:
        commits = self._folders.setdefault(key, OrderedDict())
        self._folders.move_to_end(key)
        old = commits.pop(commit, None)
        self._weight -= 0 if old is None else old.weight
        commits[commit] = found
        self._weight += found.weight
        while len(commits) > COMMITS:
            self._weight -= commits.popitem(last=False)[1].weight
        while self._weight > REMEMBERED:
            _, dropped = self._folders.popitem(last=False)
            self._weight -= sum(entry.weight for entry in dropped.values())
