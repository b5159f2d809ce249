from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from wit.access import rate_limits as limits_
from wit.access import shared_limits
from wit.access.rate_limits import HOUR, RateLimits
from wit.access.shared_limits import SharedLimits
from wit.config import Limits
from wit.db.port import Database, DatabaseUnavailable
from wit.db.tables import rate_limits
from wit.runtime import Runtime

Run = Callable[[Any], Any]
BEGIN = datetime(2030, 1, 1, tzinfo=UTC)


@attrs.define
class WallClock:
    """What ``Runtime.now`` is in these tests."""

    seconds: float = 0.0

    def __call__(self) -> datetime:
        return BEGIN + timedelta(seconds=self.seconds)


@pytest.fixture
def clock() -> WallClock:
    return WallClock()


def make(clock: WallClock, **settings: int) -> RateLimits:
    return RateLimits(Limits(**settings), Runtime(None, now=clock))


def use(limits: RateLimits, count: int, preset: str = "standard", key: str = "user:a") -> int:
    """How many of ``count`` calls were allowed."""
    return sum(limits.check(preset, key).allowed for _ in range(count))


def test_the_limit_and_what_the_verdict_says(clock: WallClock) -> None:
    limits = make(clock, standard=3)
    clock.seconds = 10
    first = limits.check("standard", "user:a")
    end = int((BEGIN + timedelta(seconds=60)).timestamp())
    assert (first.limit, first.remaining, first.reset, first.reset_after) == (3, 2, end, 50)
    assert (first.allowed, first.retry_after, first.window) == (True, 0, 60)
    assert use(limits, 5) == 2
    refused = limits.check("standard", "user:a")
    assert (refused.allowed, refused.remaining) == (False, 0)


def test_callers_and_presets_are_counted_apart(clock: WallClock) -> None:
    limits = make(clock, standard=1, strict=1)
    assert use(limits, 2) == use(limits, 2, key="user:b") == use(limits, 2, "strict") == 1


def test_addresses_have_their_own_limit(clock: WallClock) -> None:
    limits = make(clock, api=4, api_anonymous=2)
    assert use(limits, 9, "api") == 4
    assert use(limits, 9, "api", "address:192.0.2.1") == 2


def test_zero_is_no_limit(clock: WallClock) -> None:
    limits = make(clock, standard=0)
    assert use(limits, 500) == 500
    assert limits.check("standard", "user:a").limit == 0


def test_contract_presets(clock: WallClock) -> None:
    found = make(clock).presets
    assert {name: (rule.window, rule.signed_in) for name, rule in found.items()} == {
        "strict": (60, 5),
        "standard": (60, 1200),
        "relaxed": (60, 3000),
        "auth": (900, 3),
        "upload": (60, 30),
        "webhook": (60, 60),
        "search": (60, 20),
        "api": (3600, 5000),
    }
    assert found["api"].anonymous == 60


def test_an_unknown_preset_is_a_programmers_error(clock: WallClock) -> None:
    with pytest.raises(KeyError):
        make(clock).check("nonsense", "user:a")


def test_the_window_slides(clock: WallClock) -> None:
    limits = make(clock, standard=100)
    assert use(limits, 200) == 100
    clock.seconds = 60  # the whole bucket before still counts
    assert use(limits, 200) == 0
    clock.seconds = 90
    assert use(limits, 200) == 50
    clock.seconds = 240
    assert use(limits, 200) == 100


def test_peeking_counts_nothing(clock: WallClock) -> None:
    limits = make(clock, standard=2)
    assert [limits.peek("standard", "user:a").remaining for _ in range(3)] == [2, 2, 2]
    use(limits, 2)
    assert not limits.peek("standard", "user:a").allowed


def test_other_settings_are_taken_over(clock: WallClock) -> None:
    limits = make(clock, standard=2)
    use(limits, 2)
    limits.reload(Limits(standard=3))
    assert use(limits, 5) == 1


def test_a_wall_clock_that_goes_back(clock: WallClock) -> None:
    limits = make(clock, standard=2)
    clock.seconds = 7200
    use(limits, 2)
    clock.seconds = 0
    assert use(limits, 5) == 2


@given(
    limit=st.integers(1, 50),
    steps=st.lists(st.tuples(st.floats(0, 100), st.integers(1, 60)), max_size=8),
)
def test_whoever_waits_as_told_gets_through(limit: int, steps: list[tuple[float, int]]) -> None:
    clock = WallClock()
    limits = make(clock, standard=limit)
    for pause, calls in steps:
        clock.seconds += pause
        use(limits, calls)
        verdict = limits.peek("standard", "user:a")
        if not verdict.allowed:
            assert 1 <= verdict.retry_after <= 120
            clock.seconds += verdict.retry_after
            assert limits.check("standard", "user:a").allowed


def test_memory_is_bounded(clock: WallClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_, "MAX_KEYS", 10)
    limits = make(clock, standard=1)
    use(limits, 1, key="user:busy")
    for number in range(30):
        use(limits, 1, key=f"user:{number}")
        assert use(limits, 1, key="user:busy") == 0
    assert len(limits._windows) == 10
    assert {key for _, key, _ in limits.take_pending()} <= {key for _, key in limits._windows}


# Several daemons


class Daemons:
    """Two daemons on one database."""

    def __init__(self, db: Database, clock: WallClock, runtime: Runtime, **settings: int) -> None:
        runtime = attrs.evolve(runtime, now=clock)
        self.limits = [RateLimits(Limits(**settings), runtime) for _ in range(2)]
        self.shared = [SharedLimits(limits, db, runtime) for limits in self.limits]

    async def merge(self) -> None:
        for shared in (*self.shared, self.shared[0]):
            await shared.merge()


ON_POSTGRES = pytest.mark.parametrize(
    "database_url", [pytest.param("postgresql", marks=pytest.mark.postgres)], indirect=True
)


@ON_POSTGRES
def test_counts_come_together(
    run: Run, database: Database, runtime: Runtime, clock: WallClock
) -> None:
    daemons = Daemons(database, clock, runtime, standard=10, api=10)
    first, second = daemons.limits

    async def scenario() -> None:
        assert use(first, 4) + use(second, 3) == 7
        assert use(first, 2, "api", "user:b") == 2
        await daemons.merge()
        use(first, 1)
        await daemons.merge()
        await daemons.merge()  # nothing new: nothing is counted twice
        use(second, 1)
        await daemons.merge()
        assert second.peek("standard", "user:a").remaining == 1
        assert use(first, 1) == 1
        await daemons.merge()
        assert use(first, 5) == 0
        clock.seconds = 60 + 30
        use(second, 1)
        await daemons.merge()
        row = await database.fetch_one(
            select(rate_limits).where(rate_limits.c.key == "standard:user:a")
        )
        assert row is not None
        assert (row["count"], row["previous"]) == (1, 10)
        assert row["window_start"] == BEGIN + timedelta(seconds=60)

    run(scenario())


@ON_POSTGRES
def test_silent_callers_are_swept(
    run: Run,
    database: Database,
    runtime: Runtime,
    clock: WallClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_limits, "SWEEP_SECONDS", 0.0)
    daemons = Daemons(database, clock, runtime)

    async def scenario() -> list[str]:
        use(daemons.limits[0], 1)
        await daemons.merge()
        clock.seconds = 4 * HOUR
        use(daemons.limits[0], 1, key="user:b")
        await daemons.shared[0].start()
        await daemons.shared[0].stop()
        return [row["key"] for row in await database.fetch_all(select(rate_limits.c.key))]

    assert run(scenario()) == ["standard:user:b"]


@ON_POSTGRES
def test_a_database_that_is_gone_loses_no_count(
    run: Run, database: Database, runtime: Runtime, clock: WallClock
) -> None:
    daemons = Daemons(database, clock, runtime, standard=10)

    class Gone:
        dialect = "postgresql"

        async def fetch_all(self, *_: Any, **__: Any) -> None:
            raise DatabaseUnavailable("down")

    broken = SharedLimits(daemons.limits[0], Gone(), runtime)  # type: ignore[arg-type]

    async def scenario() -> None:
        use(daemons.limits[0], 4)
        with pytest.raises(DatabaseUnavailable):
            await broken.merge()
        use(daemons.limits[0], 1)
        await daemons.merge()
        use(daemons.limits[1], 1)
        await daemons.merge()
        assert daemons.limits[1].peek("standard", "user:a").remaining == 4

    run(scenario())


def test_the_loop_merges_at_its_end(
    run: Run, database: Database, runtime: Runtime, clock: WallClock
) -> None:
    daemons = Daemons(database, clock, runtime)

    async def scenario() -> Any:
        await daemons.shared[0].start()
        use(daemons.limits[0], 4)
        await daemons.shared[0].stop()
        return await database.fetch_value(select(rate_limits.c.count))

    assert run(scenario()) == (4 if database.dialect == "postgresql" else None)
