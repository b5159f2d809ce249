from __future__ import annotations

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from wit.web.middleware.peers import Peers

PROXY = IPv4Address("TCP", "10.0.0.1", 1)
STRANGER = IPv4Address("TCP", "198.51.100.9", 1)


@pytest.mark.attack(50)
@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "address"),
    [
        ((), PROXY, [b"192.0.2.1"], "10.0.0.1"),
        (("10.0.0.0/8",), PROXY, None, "10.0.0.1"),
        (("10.0.0.0/8",), PROXY, [b"192.0.2.1"], "192.0.2.1"),
        (("10.0.0.0/8",), STRANGER, [b"192.0.2.1"], "198.51.100.9"),
        (("10.0.0.0/8",), PROXY, [b"1.1.1.1, 192.0.2.1, 10.9.9.9"], "192.0.2.1"),
        (("10.0.0.0/8",), PROXY, [b"1.1.1.1", b"192.0.2.1"], "192.0.2.1"),
        (("10.0.0.0/8",), PROXY, [b"192.0.2.1, nonsense"], "10.0.0.1"),
        (("10.0.0.0/8",), PROXY, [b"2001:db8::1"], "2001:db8::1"),
        (("10.0.0.1",), PROXY, [b"192.0.2.1"], "192.0.2.1"),
        (("::1",), IPv6Address("TCP", "::1", 1), [b"192.0.2.1"], "192.0.2.1"),
        (("10.0.0.0/8",), IPv6Address("TCP", "::ffff:10.0.0.1", 1), [b"192.0.2.1"], "192.0.2.1"),
        (("10.0.0.0/8",), UNIXAddress(b"/s"), [b"192.0.2.1"], "unix"),
        (("unix",), UNIXAddress(b"/s"), [b"192.0.2.1"], "192.0.2.1"),
    ],
)
def test_forwarded_addresses(
    trusted: tuple[str, ...], peer: object, forwarded: list[bytes] | None, address: str
) -> None:
    assert Peers(trusted).address(peer, forwarded) == address  # type: ignore[arg-type]
