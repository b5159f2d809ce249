"""Housekeeping when it is due: after pushes, and by a look at every repository now and then.

A push only leaves a note in memory. Some seconds later the repositories with a note are looked at,
and for each that needs something one job is queued, under the repository's id: a hundred pushes
make one job, and no push waits for anything. Should a daemon die with its notes, the look at all
repositories finds the same.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from wit.db.port import Connection, DatabaseError, Row
from wit.errors import NotFound, Unavailable, WitError
from wit.events.bus import EventBus
from wit.events.types import Event
from wit.git.command import Git
from wit.git.damage import Suspect, nobody, sign
from wit.git.maintenance import maintain, needs
from wit.git.repository import BareRepository
from wit.runtime import Runtime

KIND = "maintenance"
"""The kind of job; its payload is ``{"repo_id": ...}``, its key the same id."""

EVENTS = ("push", "repo.created", "repo.forked")
"""Events after which a repository may need something."""

SETTLE_SECONDS = 10.0
"""How long after the first push the noted repositories are looked at."""

MAX_NOTED = 10_000
"""Repositories noted at once; beyond that the look at all of them has to do."""

PAGE = 100
"""Repositories read from the database at once."""

Worker = Callable[[Any], Awaitable[None]]


class Jobs(Protocol):
    """What housekeeping asks of the job queue."""

    async def enqueue(self, kind: str, payload: Any, key: str | None = None) -> str: ...

    def register(self, kind: str, worker: Worker) -> None: ...


class Repositories(Protocol):
    """What housekeeping asks of the repository manager."""

    async def by_id(self, repo_id: str) -> Row: ...

    async def list(self, after: str = "", limit: int = 100) -> list[Row]: ...

    def bare(self, repo: Row) -> BareRepository: ...


class Housekeeping:
    """A part of the service tree. ``every`` is the time between two looks at all repositories, in
    seconds; 0 means that there are none.
    """

    log = Logger()

    def __init__(
        self,
        jobs: Jobs,
        git: Git,
        runtime: Runtime,
        repos: Repositories,
        *,
        every: float,
        suspect: Suspect = nobody,
    ) -> None:
        """``suspect`` is told of repositories that look damaged."""
        self._jobs = jobs
        self._git = git
        self._runtime = runtime
        self._repos = repos
        self._every = every
        self._suspect = suspect
        self._noted: set[str] = set()
        self._looking_soon: Deferred[None] | None = None
        self._looking_often: Deferred[None] | None = None
        jobs.register(KIND, self.work)

    async def start(self) -> None:
        if self._every > 0:
            self._looking_often = self._run(self._look_at_all_forever())

    async def stop(self) -> None:
        """Forget the notes: whoever looks next finds what they were about."""
        self._noted.clear()
        for running in (self._looking_soon, self._looking_often):
            if running is not None:
                running.cancel()
                await running

    def register(self, bus: EventBus) -> None:
        """Hear of pushes. Called once, before the bus starts."""
        bus.register("housekeeping", EVENTS, self._heard)

    async def _heard(self, event: Event, tx: Connection) -> None:
        if event.repo_id is not None:
            self.note(event.repo_id)

    def note(self, repo_id: str) -> None:
        """Something changed in the repository: look at it soon."""
        if len(self._noted) < MAX_NOTED:
            self._noted.add(repo_id)
        if self._looking_soon is None:
            self._looking_soon = self._run(self._look_soon())

    async def look_at_all(self) -> None:
        """Queue a job for every repository that needs something."""
        after = ""
        while rows := await self._repos.list(after, PAGE):
            for row in rows:
                await self._look(row)
            after = rows[-1]["full_name"]

    async def work(self, payload: Mapping[str, str]) -> None:
        """The worker of the jobs. Raises what :func:`wit.git.maintenance.maintain` raises."""
        try:
            row = await self._repos.by_id(payload["repo_id"])
        except NotFound:
            return
        repo = self._repos.bare(row)
        try:
            found = await needs(self._runtime, repo)
            done = bool(found) and await maintain(self._git, self._runtime, repo, found)
        except Unavailable as error:
            if line := sign(error.message):
                self._suspect(row["id"], line)
            raise
        if done:
            self.log.info("{repo}: did {found}", repo=row["full_name"], found=found)

    async def _look_soon(self) -> None:
        try:
            await self._runtime.sleep(SETTLE_SECONDS)
            while self._noted:
                try:
                    await self._look(await self._repos.by_id(self._noted.pop()))
                except NotFound:
                    continue
                except DatabaseError as error:
                    self.log.warn("notes of housekeeping are lost: {error}", error=error.message)
                    self._noted.clear()
        finally:
            self._looking_soon = None

    async def _look_at_all_forever(self) -> None:
        while True:
            await self._runtime.sleep(self._every)
            try:
                await self.look_at_all()
            except DatabaseError as error:
                self.log.warn("housekeeping waits for the database: {error}", error=error.message)

    async def _look(self, row: Row) -> None:
        """Queue a job if the repository needs one; a damaged one stops nobody else."""
        try:
            found = await needs(self._runtime, self._repos.bare(row))
        except WitError as error:
            self.log.warn("{repo}: {error}", repo=row["full_name"], error=error.message)
            return
        if found:
            await self._jobs.enqueue(KIND, {"repo_id": row["id"]}, key=row["id"])

    def _run(self, work: Any) -> Deferred[None]:
        """Run in the background; what goes wrong is logged, being cancelled is no wrong."""
        running: Deferred[None] = Deferred.fromCoroutine(work)
        running.addErrback(lambda failure: failure.trap(CancelledError) and None)
        return running.addErrback(lambda failure: self.log.failure("housekeeping failed", failure))
