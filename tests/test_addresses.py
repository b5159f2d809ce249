"""Addresses that a user may not send wit to (attack list, line 41)."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from wit.addresses import check_host, is_public, resolve_public
from wit.errors import Invalid

pytestmark = pytest.mark.attack(41, 42)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "140.82.121.4", "2606:4700::1111", "::ffff:8.8.8.8"]
)
def test_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "127.0.0.1",
        "127.8.9.1",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "168.63.129.16",
        "100.64.0.1",
        "192.0.0.8",
        "192.88.99.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "fe80::1%eth0",
        "2606:4700::1111%eth0",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "not an address",
        "",
    ],
)
def test_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "host",
    ["", "127.1", "0177.0.0.1", "0x7f.1", "0x7f000001", "2130706433", "a.0x1", "1.2.3.4.5", "a b",
     "-x", "a..b", "a.", "fe80::1%25eth0%", "exa_mple.org", "bücher.de", "a" * 300, "[::1]", "a/b",
     "a:b", "x\n"],
)  # fmt: skip
def test_strange_hosts_are_refused(host: str) -> None:
    with pytest.raises(Invalid):
        check_host(host)


def test_good_hosts() -> None:
    for host in ("example.org", "localhost", "1.2.3.4", "::1", "xn--bcher-kva.de", "a1.b2"):
        assert check_host(host) == host


def answers(*found: str) -> Any:
    return lambda *_, **__: [(0, 0, 0, "", (address, 443)) for address in found]


def test_every_address_must_be_public(
    run: Any, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answers("1.1.1.1", "2606:4700::1"))
    assert run(resolve_public(runtime, "example.org", 443)) == ["1.1.1.1", "2606:4700::1"]
    for bad in ("127.0.0.1", "::1", "169.254.169.254"):
        monkeypatch.setattr(socket, "getaddrinfo", answers("1.1.1.1", bad))
        with pytest.raises(Invalid, match="public internet"):
            run(resolve_public(runtime, "example.org", 443))
    monkeypatch.setattr(socket, "getaddrinfo", answers())
    with pytest.raises(Invalid):
        run(resolve_public(runtime, "example.org", 443))


def test_names_that_do_not_resolve(run: Any, runtime: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(Invalid, match="cannot be found"):
        run(resolve_public(runtime, "nowhere.example.org", 443))
    monkeypatch.undo()
    with pytest.raises(Invalid, match="public internet"):
        run(resolve_public(runtime, "localhost", 80))
