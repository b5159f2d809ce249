"""Damaged repositories are found out and take no pushes any more, by themselves.

Whoever runs git or reads refs tells of what looks like damage. A job then examines the repository
(:mod:`wit.git.damage`). Only if two examinations in a row find it damaged, it is marked:
``read_only_reason`` says why, which ``wit repo list`` and ``wit doctor`` show and a pusher is told,
until an administrator has repaired it and says ``wit repo unlock``. Fetches go on, as far as they
can: what is left may be somebody's only copy.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from wit.db.port import Row
from wit.errors import NotFound
from wit.git.command import Git
from wit.git.damage import examine
from wit.git.governor import Governor
from wit.git.public_text import ServerPaths
from wit.git.repository import BareRepository
from wit.metrics import Metrics
from wit.runtime import Runtime

KIND = "damage"
"""The kind of job; its payload is ``{"repo_id": ..., "why": ...}``, its key the repository's id."""

QUIET_SECONDS = 30.0
"""How long a repository is not suspected again after it was."""

SOUND_SECONDS = 3600.0
"""The same after it was found sound: what looked like damage was something else, and may go on."""

AGAIN_SECONDS = 2.0
"""Between the two examinations."""

MAX_REMEMBERED = 10_000
"""Repositories whose last suspicion is remembered."""

Worker = Callable[[Any], Awaitable[None]]


class Jobs(Protocol):
    """What is asked of the job queue."""

    async def enqueue(self, kind: str, payload: Any, key: str | None = None) -> str: ...

    def register(self, kind: str, worker: Worker) -> None: ...


class Repositories(Protocol):
    """What is asked of the repository manager."""

    async def by_id(self, repo_id: str) -> Row: ...

    async def mark_damaged(self, repo_id: str, reason: str) -> bool: ...

    def bare(self, repo: Row) -> BareRepository: ...


class DamageWatch:
    """Hears suspicions, and has them looked into. Times are in seconds."""

    log = Logger()

    def __init__(
        self,
        jobs: Jobs,
        git: Git,
        runtime: Runtime,
        repos: Repositories,
        *,
        governor: Governor,
        paths: ServerPaths,
        metrics: Metrics,
    ) -> None:
        self._jobs = jobs
        self._git = git
        self._runtime = runtime
        self._repos = repos
        self._governor = governor
        self._paths = paths
        self._marked = metrics.repositories_damaged
        self._quiet_until: OrderedDict[str, float] = OrderedDict()
        jobs.register(KIND, self.work)

    def suspect(self, repo_id: str, why: str) -> None:
        """Have it examined, unless it just was; ``why`` is for the log. Returns at once."""
        now = self._runtime.reactor.seconds()
        if now < self._quiet_until.get(repo_id, now):
            return
        self._keep_quiet(repo_id, QUIET_SECONDS)
        self.log.warn("repository {repo_id} may be damaged: {why}", repo_id=repo_id, why=why)
        queued = Deferred.fromCoroutine(
            self._jobs.enqueue(KIND, {"repo_id": repo_id, "why": why}, key=repo_id)
        )
        queued.addErrback(
            lambda failure: self.log.failure("a suspicion is lost: {why}", failure, why=why)
        )

    async def work(self, payload: Mapping[str, str]) -> None:
        """The worker of the jobs. Raises Unavailable or TimedOut if there is no telling now."""
        try:
            row = await self._repos.by_id(payload["repo_id"])
            if row["read_only_reason"]:
                return
            found = await self._examine(row)
            if found is not None:
                await self._runtime.sleep(AGAIN_SECONDS)
                found = await self._examine(row)
        except NotFound:
            return  # without its folder it is refused in any case, and comes back with it
        if found is None:
            self._keep_quiet(row["id"], SOUND_SECONDS)
            self.log.info("repository {repo} was examined: it is sound", repo=row["full_name"])
        elif await self._repos.mark_damaged(row["id"], f"damaged: {self._paths.hide(found)}"):
            self._marked.inc()
            self.log.error(
                "repository {repo} is damaged and takes no pushes until it is unlocked: {found}",
                repo=row["full_name"],
                repo_id=row["id"],
                found=found,
                why=payload["why"],
            )

    async def _examine(self, row: Row) -> str | None:
        repo = self._repos.bare(row)
        async with self._governor.slot(repo.key, None):
            return await examine(self._git, self._runtime, repo)

    def _keep_quiet(self, repo_id: str, seconds: float) -> None:
        self._quiet_until[repo_id] = self._runtime.reactor.seconds() + seconds
        self._quiet_until.move_to_end(repo_id)
        while len(self._quiet_until) > MAX_REMEMBERED:
            self._quiet_until.popitem(last=False)
