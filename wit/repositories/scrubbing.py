"""Every pack is read again now and then; one that has changed on disk makes a repository suspect.

One job walks over all repositories and verifies the packs that are due, one after the other and no
faster than configured. It has one key, so there is one such job for the whole site, however many
daemons there are. It can be cut off at any moment: what was verified is noted, and the next one
goes on with what is still due. No request waits for it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from wit.db.port import DatabaseError, Row
from wit.errors import WitError
from wit.git.damage import Suspect
from wit.git.repository import BareRepository
from wit.git.scrub import Pack, look, overdue, verify
from wit.metrics import Metrics
from wit.runtime import Runtime

KIND = "scrub"
KEY = "site"
"""The kind of job and its only key; its payload is empty."""

DAY = 86400.0

PAGE = 100
"""Repositories read from the database at once."""

Worker = Callable[[Any], Awaitable[None]]
Report = Callable[[int, int, int, int], object]
"""Which pack of how many is being read; of how many bytes in all how many are."""


class Jobs(Protocol):
    """What is asked of the job queue."""

    async def enqueue(self, kind: str, payload: Any, key: str | None = None) -> str: ...

    def register(self, kind: str, worker: Worker) -> None: ...


class Repositories(Protocol):
    """What is asked of the repository manager."""

    async def list(self, after: str = "", limit: int = 100) -> list[Row]: ...

    def bare(self, repo: Row) -> BareRepository: ...


class Scrubbing:
    """A part of the service tree. ``every`` is the time between two looks, in seconds, and
    ``days`` the age at which a pack is due; if one is 0, nothing is verified by itself."""

    log = Logger()

    def __init__(
        self,
        jobs: Jobs,
        runtime: Runtime,
        repos: Repositories,
        metrics: Metrics,
        *,
        every: float,
        days: int,
        bytes_per_second: int,
        suspect: Suspect,
    ) -> None:
        self._jobs = jobs
        self._runtime = runtime
        self._repos = repos
        self._verified = metrics.packs_verified
        self._every = every
        self._days = days
        self._rate = bytes_per_second
        self._suspect = suspect
        self._stopping = False
        self._looking: Deferred[None] | None = None
        self._at_work: Deferred[None] | None = None
        jobs.register(KIND, self.work)

    async def start(self) -> None:
        self._stopping = False
        if self._every > 0 and self._days > 0:
            self._looking = Deferred.fromCoroutine(self._look_forever())
            self._looking.addErrback(lambda failure: failure.trap(CancelledError) and None)

    async def stop(self) -> None:
        """Let go at once: a daemon that stops does not wait for this."""
        self._stopping = True
        if self._looking is not None:
            self._looking.cancel()
        if self._at_work is not None:
            self._at_work.cancel()

    async def _look_forever(self) -> None:
        while True:
            await self._runtime.sleep(self._every)
            try:
                await self._jobs.enqueue(KIND, {}, key=KEY)
            except DatabaseError as error:
                self.log.warn("scrubbing waits for the database: {error}", error=error.message)

    async def work(self, payload: Mapping[str, str]) -> None:
        """The worker of the jobs."""
        self._at_work = Deferred.fromCoroutine(self._scrub_all())
        try:
            await self._at_work
        except CancelledError:
            if not self._stopping:
                raise
        finally:
            self._at_work = None

    async def _scrub_all(self) -> None:
        after = ""
        while rows := await self._repos.list(after, PAGE):
            for row in rows:
                try:
                    await self._scrub(row)
                except WitError as error:
                    self.log.warn("{repo}: {error}", repo=row["full_name"], error=error.message)
            after = rows[-1]["full_name"]

    async def _scrub(self, row: Row) -> None:
        if (row["read_only_reason"] or "").startswith("damaged:"):
            return
        repo = self._repos.bare(row)
        now = self._runtime.now().timestamp()
        for pack in overdue(await look(self._runtime, repo), now, self._days * DAY):
            if (found := await self._verify(repo, pack, self._rate)) is not None:
                self._suspect(row["id"], found)
                return

    async def verify_all(self, row: Row, report: Report) -> list[str]:
        """Verify all packs of a repository now, at full speed; what is wrong with them."""
        repo = self._repos.bare(row)
        packs = await look(self._runtime, repo)
        size = sum(pack.size for pack in packs)
        found = []
        before = 0
        for number, pack in enumerate(packs, 1):
            so_far = partial(report, number, len(packs), size)
            counted = partial(_count, so_far, before, pack.size)
            if (wrong := await self._verify(repo, pack, 0, counted)) is not None:
                found.append(wrong)
            before += pack.size
        return found

    async def _verify(
        self,
        repo: BareRepository,
        pack: Pack,
        rate: int,
        progress: Callable[[int], object] | None = None,
    ) -> str | None:
        found = await verify(self._runtime, repo, pack, bytes_per_second=rate, progress=progress)
        self._verified.labels("sound" if found is None else "damaged").inc()
        return found


def _count(so_far: Callable[[int], object], before: int, size: int, read: int) -> None:
    """Tell of bytes read in a pack; those of its index, which come last, do not count."""
    so_far(before + min(read, size))
