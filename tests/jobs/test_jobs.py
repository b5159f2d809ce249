"""The durable queue, on both engines."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from sqlalchemy import func, select, update
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from wit.config import Database as Settings
from wit.db.open import make_database
from wit.db.port import Database
from wit.db.tables import jobs, organizations
from wit.jobs.queue import JobQueue
from wit.metrics import Metrics
from wit.runtime import Runtime

Run = Callable[[Coroutine[Any, Any, Any]], Any]
MakeQueue = Callable[..., JobQueue]

STATES = select(jobs.c.state).order_by(jobs.c.created_at)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def make_queue(
    run: Run, runtime: Runtime, database: Database, metrics: Metrics
) -> Iterator[MakeQueue]:
    made: list[JobQueue] = []

    def make(runtime: Runtime = runtime, **options: Any) -> JobQueue:
        options = {"poll_seconds": 0.05, "retry_seconds": 0.0, "grace_seconds": 5.0, **options}
        queue = JobQueue(database, runtime, metrics, **options)
        made.append(queue)
        return queue

    yield make
    for queue in made:
        run(queue.stop())


async def until(runtime: Runtime, true: Callable[[], Awaitable[bool]]) -> None:
    while not await true():
        await runtime.sleep(0.01)


async def until_states(runtime: Runtime, database: Database, *states: str) -> None:
    async def reached() -> bool:
        return [row["state"] for row in await database.fetch_all(STATES)] == list(states)

    await until(runtime, reached)


def outcomes(metrics: Metrics, kind: str, outcome: str) -> float:
    labels = {"kind": kind, "outcome": outcome}
    return metrics.registry.get_sample_value("wit_jobs_total", labels) or 0.0


def test_a_job_is_done_with_its_payload(
    run: Run, runtime: Runtime, database: Database, metrics: Metrics, make_queue: MakeQueue
) -> None:
    queue = make_queue()
    seen: list[Any] = []

    async def worker(payload: Any) -> None:
        seen.append(payload)

    async def scenario() -> None:
        queue.register("greet", worker)
        before = await queue.enqueue("greet", {"to": ["a", 1]})
        await queue.start()
        await until_states(runtime, database, "done")
        after = await queue.enqueue("greet", {"to": []})
        await until_states(runtime, database, "done", "done")
        assert seen == [{"to": ["a", 1]}, {"to": []}]
        rows = await queue.list()
        assert [row["id"] for row in rows] == [after, before]
        assert rows[0]["attempts"] == 1
        assert rows[0]["finished_at"].tzinfo is UTC
        assert rows[0]["locked_by"] is None
        assert "payload" not in rows[0]
        assert await queue.list("failed") == []
        assert [row["id"] for row in await queue.list("done", page=2, per_page=1)] == [before]

    run(scenario())
    assert outcomes(metrics, "greet", "done") == 2


def test_the_same_key_is_queued_once_with_the_newest_payload(
    run: Run, runtime: Runtime, database: Database, make_queue: MakeQueue
) -> None:
    queue = make_queue()
    seen: list[Any] = []

    async def worker(payload: Any) -> None:
        seen.append(payload)

    async def scenario() -> None:
        later = runtime.now() + timedelta(hours=1)
        first = await queue.enqueue("pack", {"n": 1}, key="r1", run_at=later)
        assert await queue.enqueue("pack", {"n": 2}, key="r1") == first
        assert await queue.enqueue("pack", {"n": 3}, key="r1", run_at=later) == first
        assert await queue.enqueue("pack", {"n": 4}, key="r2") != first
        assert await queue.enqueue("else", {"n": 5}, key="r1") != first
        assert await queue.enqueue("pack", {}) != await queue.enqueue("pack", {})
        assert len(await queue.list("queued")) == 5
        row = await database.fetch_one(select(jobs).where(jobs.c.id == first))
        assert row is not None
        assert row["run_at"] < later
        queue.register("pack", worker)
        await queue.start()
        await until_states(runtime, database, "done", "done", "queued", "done", "done")
        assert sorted(map(str, seen)) == ["{'n': 3}", "{'n': 4}", "{}", "{}"]

    run(scenario())


def test_a_job_waits_for_its_time(
    run: Run, runtime: Runtime, database: Database, make_queue: MakeQueue
) -> None:
    clock = [datetime(2030, 1, 1, tzinfo=UTC)]
    queue = make_queue(attrs.evolve(runtime, now=lambda: clock[0]))
    seen: list[Any] = []

    async def worker(payload: Any) -> None:
        seen.append(payload)

    async def scenario() -> None:
        queue.register("late", worker)
        await queue.start()
        await queue.enqueue("late", "two", run_at=clock[0] + timedelta(minutes=2))
        await queue.enqueue("late", "one", run_at=clock[0] + timedelta(minutes=1))
        await queue.enqueue("late", "now")
        await until_states(runtime, database, "queued", "queued", "done")
        assert seen == ["now"]
        clock[0] += timedelta(minutes=3)
        await until_states(runtime, database, "done", "done", "done")
        assert seen == ["now", "one", "two"]

    run(scenario())


def test_enqueued_within_a_transaction_or_not_at_all(
    run: Run, runtime: Runtime, database: Database, make_queue: MakeQueue
) -> None:
    queue = make_queue(poll_seconds=600.0)

    async def worker(payload: Any) -> None:
        count = select(func.count()).select_from(organizations)
        assert await database.fetch_value(count) == 0

    async def scenario() -> None:
        queue.register("k", worker)
        await queue.start()
        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as tx:
                await queue.enqueue("k", {}, tx=tx)
                raise ZeroDivisionError
        assert await queue.list() == []
        # Only the notification can wake the queue: it polls every ten minutes.
        async with database.transaction() as tx:
            await queue.enqueue("k", {}, tx=tx)
        await until_states(runtime, database, "done")

    run(scenario())


def test_failures_are_retried_and_then_given_up(
    run: Run, runtime: Runtime, database: Database, metrics: Metrics, make_queue: MakeQueue
) -> None:
    queue = make_queue()
    tries: list[Any] = []

    async def worker(payload: Any) -> None:
        tries.append(payload)
        if payload == "never" or tries.count(payload) < 3:
            raise ValueError("x" * 5000)

    async def scenario() -> None:
        queue.register("k", worker)
        await queue.start()
        await queue.enqueue("k", "third")
        await until_states(runtime, database, "done")
        await queue.enqueue("k", "never", max_attempts=2)
        await until_states(runtime, database, "done", "failed")
        failed = (await queue.list("failed"))[0]
        assert failed["attempts"] == 2
        assert failed["last_error"].startswith("ValueError: xxx")
        assert len(failed["last_error"]) == 2000

    run(scenario())
    assert tries.count("third") == 3
    assert tries.count("never") == 2
    assert outcomes(metrics, "k", "retry") == 3
    assert outcomes(metrics, "k", "failed") == 1


def test_delays_grow(run: Run, runtime: Runtime, make_queue: MakeQueue) -> None:
    steady = attrs.evolve(runtime, random_bytes=lambda n: b"\x80" * n)
    queue = make_queue(steady, retry_seconds=10.0)
    delays = [queue._retry_delay(attempt) for attempt in (1, 2, 3, 20)]
    assert delays == pytest.approx([10, 20, 40, 3600], rel=0.01)
    spread = {make_queue(retry_seconds=100.0)._retry_delay(1) for _ in range(50)}
    assert 75 <= min(spread) < max(spread) <= 125


def test_a_retry_makes_way_for_a_newer_job_of_its_key(
    run: Run, runtime: Runtime, database: Database, make_queue: MakeQueue
) -> None:
    queue = make_queue()
    tries: list[Any] = []

    async def worker(payload: Any) -> None:
        tries.append(payload)
        if payload == "old":
            await queue.enqueue("k", "new", key="same")
            raise ValueError("try again")

    async def scenario() -> None:
        queue.register("k", worker)
        await queue.start()
        await queue.enqueue("k", "old", key="same")
        await until_states(runtime, database, "failed", "done")
        failed = (await queue.list("failed"))[0]
        assert "newer job" in failed["last_error"]

    run(scenario())
    assert tries == ["old", "new"]


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


def test_a_kind_has_one_worker(make_queue: MakeQueue) -> None:
    async def worker(payload: Any) -> None:
        raise AssertionError

    queue = make_queue()
    queue.register("k", worker)
    with pytest.raises(ValueError, match="already"):
        queue.register("k", worker)


def test_the_queue_outlives_a_database_that_fails(
    run: Run, runtime: Runtime, database_url: str, metrics: Metrics
) -> None:
    database = make_database(Settings(pool_min=1), database_url, runtime, Metrics())
    queue = JobQueue(database, runtime, metrics, poll_seconds=0.02)

    async def worker(payload: Any) -> None:
        assert payload == {}

    async def scenario() -> None:
        queue.register("k", worker)
        await database.open()
        await queue.enqueue("k", {})
        await database.close()
        await queue.start()
        await runtime.sleep(0.1)
        await database.open()
        await until_states(runtime, database, "done")
        await queue.stop()
        await database.close()

    run(scenario())


def test_a_job_enqueued_for_a_key_being_claimed_is_not_lost(
    run: Run, runtime: Runtime, database: Database, make_queue: MakeQueue
) -> None:
    """What a transaction writes beside an enqueue, the job that runs afterwards has seen."""
    queue = make_queue(poll_seconds=0.005)
    count = select(func.count()).select_from(organizations)
    seen = 0

    async def worker(payload: Any) -> None:
        nonlocal seen
        seen = await database.fetch_value(count)

    async def write(number: int) -> None:
        async with database.transaction() as tx:
            await queue.enqueue("k", {}, key="same", tx=tx)
            await runtime.sleep(0.003)
            await tx.execute(
                organizations.insert(),
                id=str(number),
                name=str(number),
                display_name="",
                created_at=runtime.now(),
                updated_at=runtime.now(),
            )

    async def scenario() -> None:
        queue.register("k", worker)
        await queue.start()
        for number in range(30):
            await write(number)

        async def settled() -> bool:
            pending = select(func.count()).where(jobs.c.state.in_(["queued", "running"]))
            return bool(await database.fetch_value(pending) == 0)

        await until(runtime, settled)
        assert seen == 30

    run(scenario())
