"""Work that outlives a request: a durable queue whose workers may live in any daemon.

A job runs at least once. It is retried with growing delays until it succeeds or has been tried
``max_attempts`` times; if its daemon dies, another one takes it over when the lease ends. Jobs
with the same kind and key never run at the same time, and at most one of them waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from wit.db.port import Connection, Database, DatabaseError, Row
from wit.jobs import store
from wit.jobs.store import Job
from wit.latch import Latch
from wit.metrics import Metrics
from wit.runtime import Runtime

CHANNEL = "jobs"
"""Notified with the id of a job that was cancelled, or with nothing when there is work."""

MAX_RETRY_SECONDS = 3600.0
PRUNE_SECONDS = 3600.0
KEPT = {"done": timedelta(days=7), "failed": timedelta(days=30)}
"""How long ended jobs can be looked at."""

Worker = Callable[[Any], Awaitable[None]]


@attrs.frozen
class _Kind:
    worker: Worker
    concurrency: int


@attrs.define(eq=False)
class _Running:
    """A job at work. ``gone`` says that its row is not ours any more."""

    job: Job
    work: Deferred[None]
    ended: Latch = attrs.field(factory=Latch)
    gone: bool = False
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True
        self.work.cancel()


class JobQueue:
    """Queues jobs, and between ``start`` and ``stop`` works them off. Times are in seconds."""

    log = Logger()

    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        metrics: Metrics,
        *,
        lease_seconds: float = 60.0,
        poll_seconds: float = 5.0,
        retry_seconds: float = 10.0,
        grace_seconds: float = 10.0,
    ) -> None:
        self._db = db
        self._runtime = runtime
        self._metrics = metrics
        self._lease = timedelta(seconds=lease_seconds)
        self._poll_seconds = poll_seconds
        self._retry_seconds = retry_seconds
        self._grace_seconds = grace_seconds
        self._kinds: dict[str, _Kind] = {}
        self._running: set[_Running] = set()
        self._wake = Latch()
        self._serving: Deferred[None] | None = None
        self._stopping = False
        self._deaf: Callable[[], None] = lambda: None
        self._next_prune = 0.0

    # For everybody

    async def enqueue(
        self,
        kind: str,
        payload: Any,
        key: str | None = None,
        run_at: datetime | None = None,
        tx: Connection | None = None,
        *,
        max_attempts: int = 5,
    ) -> str:
        """Queue a job, within ``tx`` if given; returns its id.

        If a job of the same kind and key waits already, that one stays, with the new payload and
        the earlier of the two times. ``payload`` is JSON data, not null, and can be read in the
        database.
        """
        now = self._runtime.now()
        connection: Connection = tx if tx is not None else self._db
        id = await store.enqueue(
            connection,
            id=self._runtime.new_id(),
            kind=kind,
            key=key,
            payload=payload,
            run_at=run_at or now,
            now=now,
            max_attempts=max_attempts,
        )
        await connection.notify(CHANNEL)
        return id

    async def list(self, state: str | None = None, page: int = 1, per_page: int = 50) -> list[Row]:
        """Jobs, newest first, without their payloads. ``page`` counts from 1."""
        return await store.page(self._db, state, per_page, (page - 1) * per_page)

    async def cancel(self, id: str) -> bool:
        """End a queued or running job as failed; false if there is none.

        A worker in another process that cannot be told is cancelled at its next renewal.
        """
        cancelled = await store.cancel(self._db, id, self._runtime.now())
        if cancelled:
            await self._db.notify(CHANNEL, id)
        return cancelled

    # For the daemon

    def register(self, kind: str, worker: Worker, concurrency: int = 1) -> None:
        """Have ``worker(payload)`` do the jobs of ``kind``, so many at once in this process.

        A worker may be cancelled at any await, and may be run again after it did its work.
        """
        if kind in self._kinds:
            raise ValueError(f"there is a worker for {kind!r} already")
        self._kinds[kind] = _Kind(worker, concurrency)
        self._wake.open()

    async def start(self) -> None:
        self._stopping = False
        self._deaf = self._db.listen(CHANNEL, self._heard)
        self._serving = Deferred.fromCoroutine(self._serve())

    async def stop(self) -> None:
        """Take no more jobs; what still runs after the grace is cancelled and queued again."""
        self._stopping = True
        self._deaf()
        self._wake.open()
        serving, self._serving = self._serving, None
        if serving is not None:
            await serving
        reactor = self._runtime.reactor
        deadline = reactor.seconds() + self._grace_seconds
        for running in tuple(self._running):
            left = max(0.0, deadline - reactor.seconds())
            await running.ended.wait_at_most(left, reactor)
        for running in tuple(self._running):
            running.cancel()
        for running in tuple(self._running):
            await running.ended.wait_at_most(self._grace_seconds, reactor)

    def _heard(self, payload: str) -> None:
        for running in tuple(self._running):
            if running.job.id == payload:
                running.gone = True
                running.cancel()
        self._wake.open()

    async def _serve(self) -> None:
        while not self._stopping:
            self._wake = Latch()
            try:
                await self._claim_all()
                await self._prune()
            except DatabaseError as error:
                self.log.warn("jobs wait for the database: {error}", error=error.message)
            await self._wake.wait_at_most(
                0.0 if self._stopping else self._poll_seconds, self._runtime.reactor
            )

    async def _claim_all(self) -> None:
        await store.fail_lost(self._db, self._runtime.now())
        while not self._stopping and (kinds := self._free_kinds()):
            token = self._runtime.new_id()
            now = self._runtime.now()
            job = await store.claim(self._db, kinds, token, now, self._lease)
            if job is None:
                return
            self._begin(job)

    def _free_kinds(self) -> tuple[str, ...]:
        busy = Counter(running.job.kind for running in self._running)
        free = (name for name, kind in self._kinds.items() if busy[name] < kind.concurrency)
        return tuple(free)

    def _begin(self, job: Job) -> None:
        worker = self._kinds[job.kind].worker

        async def work() -> None:
            await worker(job.payload)

        running = _Running(job, Deferred.fromCoroutine(work()))
        self._running.add(running)
        Deferred.fromCoroutine(self._see_through(running))

    async def _see_through(self, running: _Running) -> None:
        """Keep the lease while the worker works, then write down what became of it."""
        renewing = Deferred.fromCoroutine(self._keep_lease(running))
        try:
            outcome = await self._outcome(running)
            self._metrics.jobs_done.labels(kind=running.job.kind, outcome=outcome).inc()
        except DatabaseError as error:
            # The lease runs out and the job is run again.
            self.log.error(
                "the end of job {job} could not be written: {error}",
                job=running.job.id,
                error=error.message,
            )
        finally:
            renewing.cancel()
            self._running.discard(running)
            running.ended.open()
            self._wake.open()

    async def _outcome(self, running: _Running) -> str:
        job = running.job
        try:
            await running.work
        except CancelledError as error:
            if running.gone:
                return "cancelled"
            if running.cancelled:
                await store.give_back(self._db, job, self._runtime.now())
                return "stopped"
            return await self._failed(job, error)
        except Exception as error:
            return "cancelled" if running.gone else await self._failed(job, error)
        await store.end(self._db, job, "done", None, self._runtime.now())
        return "done"

    async def _failed(self, job: Job, error: Exception) -> str:
        self.log.failure(
            "attempt {attempt} of job {job} ({kind}) failed",
            attempt=job.attempt,
            job=job.id,
            kind=job.kind,
        )
        now = self._runtime.now()
        text = f"{type(error).__name__}: {error}"
        if job.attempt >= job.max_attempts:
            await store.end(self._db, job, "failed", text, now)
            return "failed"
        run_at = now + timedelta(seconds=self._retry_delay(job.attempt))
        return "retry" if await store.retry(self._db, job, text, run_at, now) else "failed"

    def _retry_delay(self, attempt: int) -> float:
        """Doubles with each attempt; a quarter more or less, so that jobs do not come in waves."""
        delay = min(self._retry_seconds * 2.0 ** (attempt - 1), MAX_RETRY_SECONDS)
        return delay * (0.75 + 0.5 * self._runtime.random_bytes(1)[0] / 255)

    async def _keep_lease(self, running: _Running) -> None:
        """Renew three times per lease; cancel the worker when the lease is, or must be, lost."""
        clock = self._runtime.reactor.seconds
        lease = self._lease.total_seconds()
        good_until = clock() + lease
        try:
            while True:
                await self._runtime.sleep(lease / 3)
                asked = clock()
                try:
                    until = self._runtime.now() + self._lease
                    if await store.renew(self._db, running.job, until):
                        good_until = asked + lease
                        continue
                except DatabaseError:
                    if clock() + lease / 3 < good_until:
                        continue
                if running.work.called:
                    return
                self.log.warn("job {job} is not ours any more", job=running.job.id)
                running.gone = True
                running.cancel()
                return
        except CancelledError:
            pass

    async def _prune(self) -> None:
        clock = self._runtime.reactor.seconds()
        if clock >= self._next_prune:
            self._next_prune = clock + PRUNE_SECONDS
            for state, age in KEPT.items():
                await store.prune(self._db, state, self._runtime.now() - age)
