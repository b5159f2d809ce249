from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from wit.accounts.throttle import MAX_KEYS, Throttle
from wit.addresses import address_group
from wit.errors import RateLimited
from wit.runtime import Runtime


def test_a_key_waits_for_the_end_of_its_minute() -> None:
    clock = Clock()
    throttle = Throttle(Runtime(clock), limit=3)
    for _ in range(3):
        throttle.check("a", "b")
        throttle.failed("a")
        clock.advance(10)
    with pytest.raises(RateLimited) as raised:
        throttle.check("b", "a")
    assert raised.value.retry_after == 30
    throttle.check("b")
    clock.advance(30)
    throttle.check("a")
    throttle.failed("a")
    throttle.check("a")


def test_memory_is_bounded() -> None:
    throttle = Throttle(Runtime(Clock()), limit=1)
    for number in range(MAX_KEYS + 10):
        throttle.failed(str(number))
    assert len(throttle._windows) == MAX_KEYS
    throttle.check("0")
    with pytest.raises(RateLimited):
        throttle.check(str(MAX_KEYS + 9))


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::"),
        ("unix", "unix"),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(address: str, group: str) -> None:
    assert address_group(address) == group
