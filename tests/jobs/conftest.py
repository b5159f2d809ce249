"""Queues over the test's database, stopped when the test has ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.jobs.support import MakeQueue, Run
from wit.db.port import Database
from wit.jobs.queue import JobQueue
from wit.metrics import Metrics
from wit.runtime import Runtime


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
