"""Jobs that fail, and a database that does."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from tests.jobs.support import MakeQueue, Run, outcomes, until_states
from wit.config import Database as Settings
from wit.db.open import make_database
from wit.db.port import Database
from wit.jobs.queue import JobQueue
from wit.metrics import Metrics
from wit.runtime import Runtime


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
