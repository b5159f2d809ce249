from __future__ import annotations

import pytest

from wit.config import Server
from wit.web.pace import AVERAGE_SECONDS, LINGER_SECONDS, Meter, Pace

LIMITS = Server(header_seconds=15, idle_seconds=60, min_bytes_per_second=64)


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("phase", "seconds"), [("head", 15), ("idle", 60), ("closing", LINGER_SECONDS)]
)
def test_deadlines(phase: str, seconds: float) -> None:
    time = Time()
    pace = Pace(LIMITS, time)
    getattr(pace, phase)()
    time.now += seconds - 1
    assert not pace.overdue()
    time.now += 1
    assert pace.overdue()
    pace.working()
    time.now += 10_000
    assert not pace.overdue()


def run_meter(meter: Meter, seconds: int, per_second: int, start: float = 0) -> int | None:
    """Second by second; after how many the client was too slow."""
    for second in range(1, seconds + 1):
        meter.moved(per_second)
        if meter.overdue(start + second):
            return second
    return None


def test_standing_still_ends_after_idle_seconds() -> None:
    meter = Meter(idle_seconds=20, rate=64)
    meter.start(0)
    assert run_meter(meter, 1000, 0) == 20


def test_a_trickle_below_the_rate_ends_after_a_minute() -> None:
    meter = Meter(idle_seconds=20, rate=64)
    meter.start(0)
    assert run_meter(meter, 1000, 63) == AVERAGE_SECONDS


def test_a_trickle_at_the_rate_goes_on() -> None:
    meter = Meter(idle_seconds=20, rate=64)
    meter.start(0)
    assert run_meter(meter, 1000, 64) is None


def test_stopping_between_bytes_does_not_hide_a_trickle() -> None:
    """A byte a second, each of them read at once by the handler."""
    meter = Meter(idle_seconds=20, rate=64)
    overdue_at = None
    for second in range(1000):
        meter.start(second)
        if meter.overdue(second + 0.9):
            overdue_at = second
            break
        meter.moved(1)
        meter.stop(second + 1)
    assert overdue_at is not None
    assert overdue_at <= AVERAGE_SECONDS + 1


def test_only_waiting_time_counts() -> None:
    meter = Meter(idle_seconds=20, rate=64)
    meter.start(0)
    meter.stop(1)
    assert not meter.overdue(10_000)
    meter.start(10_000)
    assert not meter.overdue(10_019)
    assert meter.overdue(10_020)


def test_a_fast_minute_does_not_pay_for_a_slow_one() -> None:
    meter = Meter(idle_seconds=90, rate=64)
    meter.start(0)
    meter.moved(10_000_000)
    assert run_meter(meter, 60, 0) is None
    assert run_meter(meter, 100, 1, start=60) == AVERAGE_SECONDS
