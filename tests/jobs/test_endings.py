"""How jobs end before they are done, and when they are forgotten."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from twisted.internet.defer import Deferred

from tests.jobs.support import STATES, MakeQueue, Run, outcomes, until, until_states
from wit.db.port import Database
from wit.db.tables import jobs
from wit.metrics import Metrics
from wit.runtime import Runtime


def test_cancelling_queued_and_running_jobs(
    run: Run, runtime: Runtime, database: Database, metrics: Metrics, make_queue: MakeQueue
) -> None:
    queue, other = make_queue(), make_queue()
    started: Deferred[None] = Deferred()
    cancelled: Deferred[None] = Deferred()

    async def worker(payload: Any) -> None:
        runtime.reactor.callLater(0, started.callback, None)
        try:
            await Deferred()
        finally:
            cancelled.callback(None)

    async def scenario() -> None:
        queue.register("k", worker)
        await queue.start()
        running = await queue.enqueue("k", {})
        await started
        waiting = await queue.enqueue("k", {})
        assert await other.cancel(waiting)
        assert await other.cancel(running)
        await cancelled
        assert not await other.cancel(running)
        assert not await other.cancel("no such job")
        assert {row["last_error"] for row in await queue.list("failed")} == {"cancelled"}
        await until_states(runtime, database, "failed", "failed")

        async def counted() -> bool:
            return outcomes(metrics, "k", "cancelled") == 1

        await until(runtime, counted)

    run(scenario())


def test_stop_waits_for_running_jobs(
    run: Run, runtime: Runtime, database: Database, make_queue: MakeQueue
) -> None:
    queue = make_queue(grace_seconds=30.0)
    started: Deferred[None] = Deferred()
    go_on: Deferred[None] = Deferred()

    async def worker(payload: Any) -> None:
        runtime.reactor.callLater(0, started.callback, None)
        await go_on

    async def scenario() -> None:
        queue.register("k", worker)
        await queue.start()
        await queue.enqueue("k", {})
        await started
        stopping = Deferred.fromCoroutine(queue.stop())
        await queue.enqueue("k", {})
        assert not stopping.called
        go_on.callback(None)
        await stopping
        rows = await database.fetch_all(STATES)
        assert [row["state"] for row in rows] == ["done", "queued"]

    run(scenario())


def test_what_outlasts_the_grace_is_queued_again(
    run: Run, runtime: Runtime, database: Database, metrics: Metrics, make_queue: MakeQueue
) -> None:
    queue = make_queue(grace_seconds=0.05)
    started: Deferred[None] = Deferred()
    ends: list[str] = []

    async def worker(payload: Any) -> None:
        runtime.reactor.callLater(0, started.callback, None)
        try:
            await Deferred()
        finally:
            ends.append("clean")

    async def scenario() -> None:
        queue.register("k", worker)
        await queue.start()
        await queue.enqueue("k", {})
        await started
        await queue.stop()
        row = await database.fetch_one(select(jobs))
        assert row is not None
        assert (row["state"], row["attempts"], row["locked_by"]) == ("queued", 0, None)

    run(scenario())
    assert ends == ["clean"]
    assert outcomes(metrics, "k", "stopped") == 1


def test_old_jobs_are_forgotten(
    run: Run, runtime: Runtime, database: Database, make_queue: MakeQueue
) -> None:
    queue = make_queue()

    async def scenario() -> None:
        now = runtime.now()
        ages = {("done", 8): None, ("done", 6): None, ("failed", 31): None, ("failed", 8): None}
        for state, days in ages:
            id = await queue.enqueue("k", {})
            await database.execute(
                update(jobs)
                .where(jobs.c.id == id)
                .values(state=state, finished_at=now - timedelta(days=days))
            )
        await queue.start()

        async def pruned() -> bool:
            return len(await queue.list()) == 2

        await until(runtime, pruned)
        left = {(row["state"], (now - row["finished_at"]).days) for row in await queue.list()}
        assert left == {("done", 6), ("failed", 8)}

    run(scenario())
