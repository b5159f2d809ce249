"""Rate limits that several daemons on one PostgreSQL share.

Each daemon judges by itself, at once and without a round trip; every MERGE_SECONDS it adds what it
has counted to the table ``rate_limits`` and takes over the sums of these callers, with one
statement for each length of a window. So between two merges each daemon can let through what was
left at the last one: with N daemons a caller gets at most N times the limit within the first
MERGE_SECONDS, and is held to the limit of all together from then on. What was counted in the last
seconds of a bucket may be missing from the sums. A database that cannot be reached makes the limits
local.

With SQLite there is one daemon, and nothing to share.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    DateTime,
    Integer,
    Interval,
    String,
    bindparam,
    case,
    column,
    delete,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from wit.access.rate_limits import HOUR, RateLimits, Window
from wit.db.port import Database, DatabaseError
from wit.db.tables import rate_limits
from wit.runtime import Runtime

MERGE_SECONDS = 2.0
MAX_BATCH = 1000
"""Callers in one statement."""

SWEEP_SECONDS = 600.0
KEPT = timedelta(seconds=3 * HOUR)
"""How long a row is of use: the longest window and the one before."""

_given = (
    func.jsonb_to_recordset(bindparam("counts", type_=JSONB))
    .table_valued(
        column("key", String),
        column("start", DateTime(timezone=True)),
        column("n", Integer),
        column("previous", Integer),
        name="given",
    )
    .render_derived(with_types=True)
)
_insert = insert(rate_limits).from_select(
    ["key", "window_start", "count", "previous"],
    select(_given.c.key, _given.c.start, _given.c.n, _given.c.previous).order_by(_given.c.key),
)
_old, _new = rate_limits.c, _insert.excluded
_same = _old.window_start == _new.window_start
_older = _old.window_start < _new.window_start
_last = _old.window_start == _new.window_start - bindparam("length", type_=Interval)
_MERGE = _insert.on_conflict_do_update(
    index_elements=[rate_limits.c.key],
    set_={
        "window_start": func.greatest(_old.window_start, _new.window_start),
        "count": case((_same, _old.count + _new.count), (_older, _new.count), else_=_old.count),
        "previous": case((_last, _old.count), (_older, 0), else_=_old.previous),
    },
).returning(rate_limits)
_SWEEP = delete(rate_limits).where(rate_limits.c.window_start < bindparam("before"))


class SharedLimits:
    """Merges the counts of ``limits`` with the table; a part of the service tree."""

    log = Logger()

    def __init__(self, limits: RateLimits, db: Database, runtime: Runtime) -> None:
        self._limits = limits
        self._db = db
        self._runtime = runtime
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._merge_or_log()))
        self._loop.clock = runtime.reactor
        self._ended: Deferred[LoopingCall] | None = None
        self._swept = runtime.reactor.seconds()
        self._failing = False

    async def start(self) -> None:
        """Merge now and then, if the database is one that others may use, too."""
        if self._db.dialect == "postgresql":
            self._ended = self._loop.start(MERGE_SECONDS, now=False)

    async def stop(self) -> None:
        """Merge what is left, and end."""
        if self._ended is not None:
            self._loop.stop()
            await self._ended
            self._ended = None
            await self._merge_or_log()

    async def merge(self) -> None:
        """Add what was counted here, learn what was counted elsewhere. Raises DatabaseError; what
        could not be added is added the next time."""
        by_length: dict[int, list[tuple[str, str, Window]]] = {}
        for taken in self._limits.take_pending():
            by_length.setdefault(taken[2].seconds, []).append(taken)
        batches = [
            (seconds, everything[at : at + MAX_BATCH])
            for seconds, everything in by_length.items()
            for at in range(0, len(everything), MAX_BATCH)
        ]
        while batches:
            try:
                await self._merge_batch(*batches[0])
            except BaseException:
                for _, batch in batches:
                    self._limits.put_back(batch)
                raise
            del batches[0]

    async def _merge_batch(self, seconds: int, batch: list[tuple[str, str, Window]]) -> None:
        names = {f"{preset}:{key}": (preset, key) for preset, key, _ in batch}
        merged = await self._db.fetch_all(
            _MERGE, counts=[_count(*each) for each in batch], length=timedelta(seconds=seconds)
        )
        for row in merged:
            preset, key = names[row["key"]]
            start = int(row["window_start"].timestamp())
            self._limits.learn(preset, key, start, row["count"], row["previous"])

    async def _sweep(self) -> None:
        """Remove the rows of callers who have been silent for long."""
        seconds = self._runtime.reactor.seconds()
        if seconds - self._swept >= SWEEP_SECONDS:
            self._swept = seconds
            await self._db.execute(_SWEEP, before=self._runtime.now() - KEPT)

    async def _merge_or_log(self) -> None:
        try:
            await self.merge()
            await self._sweep()
            self._failing = False
        except DatabaseError as error:
            if not self._failing:
                self.log.warn("rate limits are not shared for now: {error}", error=error)
            self._failing = True


def _count(preset: str, key: str, window: Window) -> dict[str, Any]:
    return {
        "key": f"{preset}:{key}",
        "start": datetime.fromtimestamp(window.start, UTC).isoformat(),
        "n": window.pending,
        "previous": window.previous,
    }
