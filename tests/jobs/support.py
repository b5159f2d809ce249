"""What the tests of the queue share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from sqlalchemy import select

from wit.db.port import Database
from wit.db.tables import jobs
from wit.jobs.queue import JobQueue
from wit.metrics import Metrics
from wit.runtime import Runtime

Run = Callable[[Coroutine[Any, Any, Any]], Any]
MakeQueue = Callable[..., JobQueue]
STATES = select(jobs.c.state).order_by(jobs.c.created_at)


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
