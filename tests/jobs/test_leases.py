"""Several workers and several daemons over one queue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import func, select, update
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from tests.jobs.support import MakeQueue, Run, outcomes, until, until_states
from wit.db.port import Database
from wit.db.tables import jobs
from wit.metrics import Metrics
from wit.runtime import Runtime


def test_concurrency_is_bounded_and_one_key_never_runs_twice(
    run: Run, runtime: Runtime, database: Database, metrics: Metrics, make_queue: MakeQueue
) -> None:
    running: list[Any] = []
    most = 0

    async def worker(payload: Any) -> None:
        nonlocal most
        assert payload not in running
        running.append(payload)
        most = max(most, len(running))
        if payload in ("k0", "k1") and len(running) < 12:
            await queues[0].enqueue("k", payload, key=payload, run_at=runtime.now())
        await runtime.sleep(0.02)
        running.remove(payload)

    queues = [make_queue(), make_queue()]

    async def scenario() -> None:
        for number in range(10):
            await queues[0].enqueue("k", f"k{number}", key=f"k{number}")
        for queue in queues:
            queue.register("k", worker, concurrency=2)
            await queue.start()
        done = select(func.count()).where(jobs.c.state == "done")

        async def enough() -> bool:
            return bool(await database.fetch_value(done) >= 30)

        await until(runtime, enough)

    run(scenario())
    assert outcomes(metrics, "k", "retry") == 0
    assert 2 <= most <= 4


def test_two_daemons_share_the_work_and_do_each_job_once(
    run: Run, runtime: Runtime, database: Database, make_queue: MakeQueue
) -> None:
    done: list[tuple[int, int]] = []

    def worker_of(number: int) -> Callable[[Any], Awaitable[None]]:
        async def worker(payload: int) -> None:
            await runtime.sleep(0.005)
            done.append((payload, number))

        return worker

    async def scenario() -> None:
        for number in (0, 1):
            queue = make_queue()
            queue.register("k", worker_of(number), concurrency=4)
            await queue.start()
        await gatherResults([Deferred.fromCoroutine(queue.enqueue("k", i)) for i in range(40)])
        await until_states(runtime, database, *["done"] * 40)

    run(scenario())
    assert sorted(payload for payload, _ in done) == list(range(40))
    assert {number for _, number in done} == {0, 1}


def test_the_job_of_a_dead_daemon_is_taken_over(
    run: Run, runtime: Runtime, database: Database, make_queue: MakeQueue
) -> None:
    queue = make_queue()
    seen: list[Any] = []

    async def worker(payload: Any) -> None:
        seen.append(payload)

    async def scenario() -> None:
        now = runtime.now()
        lost = await queue.enqueue("k", "lost")
        held = await queue.enqueue("k", "held")
        poison = await queue.enqueue("k", "poison", max_attempts=1)
        behind = await queue.enqueue("k", "behind", key="x")
        await database.execute(
            update(jobs).values(
                state="running", attempts=1, locked_by="dead", locked_until=now - timedelta(1)
            )
        )
        alive = now + timedelta(minutes=1)
        await database.execute(update(jobs).where(jobs.c.id == held).values(locked_until=alive))
        next_one = await queue.enqueue("k", "next", key="x")
        queue.register("k", worker)
        await queue.start()

        async def states() -> dict[str, str]:
            return {row["id"]: row["state"] for row in await queue.list()}

        expected = {
            lost: "done",
            held: "running",
            poison: "failed",
            behind: "done",
            next_one: "done",
        }

        async def reached() -> bool:
            return await states() == expected

        await until(runtime, reached)
        assert "died" in (await queue.list("failed"))[0]["last_error"]

    run(scenario())
    assert sorted(seen) == ["behind", "lost", "next"]
    assert seen.index("behind") < seen.index("next")


def test_the_lease_is_renewed_while_the_worker_works(
    run: Run, runtime: Runtime, database: Database, make_queue: MakeQueue
) -> None:
    first, second = make_queue(lease_seconds=0.6), make_queue(lease_seconds=0.6)
    starts: list[str] = []
    go_on: Deferred[None] = Deferred()

    async def worker(payload: Any) -> None:
        starts.append(payload)
        await go_on

    async def scenario() -> None:
        first.register("k", worker)
        second.register("k", worker)
        await first.enqueue("k", "only")
        await first.start()
        await second.start()
        lease = select(jobs.c.locked_until)

        async def renewed() -> bool:
            until = await database.fetch_value(lease)
            if until is not None:
                seen.add(until)
            return len(seen) >= 5

        seen: set[datetime] = set()
        await until(runtime, renewed)
        assert starts == ["only"]
        go_on.callback(None)
        await until_states(runtime, database, "done")

    run(scenario())
    assert starts == ["only"]


def test_a_worker_whose_lease_was_taken_is_cancelled(
    run: Run, runtime: Runtime, database: Database, metrics: Metrics, make_queue: MakeQueue
) -> None:
    queue = make_queue(lease_seconds=0.3)
    started: Deferred[None] = Deferred()
    cancelled: Deferred[None] = Deferred()

    async def worker(payload: Any) -> None:
        runtime.reactor.callLater(0, started.callback, None)
        try:
            await Deferred()
        except CancelledError:
            cancelled.callback(None)
            raise

    async def scenario() -> None:
        queue.register("k", worker)
        await queue.start()
        await queue.enqueue("k", {})
        await started
        later = runtime.now() + timedelta(hours=1)
        await database.execute(update(jobs).values(locked_by="other", locked_until=later))
        await cancelled
        row = await database.fetch_one(select(jobs))
        assert row is not None
        assert (row["state"], row["locked_by"]) == ("running", "other")

    run(scenario())
