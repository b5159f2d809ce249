"""What is enqueued is done: once a key, at its time, with its transaction; on both engines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from sqlalchemy import func, select

from tests.jobs.support import MakeQueue, Run, outcomes, until, until_states
from wit.db.port import Database
from wit.db.tables import jobs, organizations
from wit.metrics import Metrics
from wit.runtime import Runtime


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


def test_a_kind_has_one_worker(make_queue: MakeQueue) -> None:
    async def worker(payload: Any) -> None:
        raise AssertionError

    queue = make_queue()
    queue.register("k", worker)
    with pytest.raises(ValueError, match="already"):
        queue.register("k", worker)


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
