"""What the greeting says, and the address in it."""

from pathlib import Path

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress

from wit.access.actor import ANONYMOUS, Actor, Origin
from wit.config import Config, Server, Ssh
from wit.ssh.greeting import clone_address, greeting

LOCAL = IPv4Address("TCP", "127.0.0.1", 2222)


@pytest.mark.parametrize(
    ("public_host", "public_url", "address", "expected"),
    [
        ("", "", LOCAL, "ssh://git@localhost:2222/a/r.git"),
        ("", "https://git.example.org/", LOCAL, "ssh://git@git.example.org:2222/a/r.git"),
        ("ssh.example.org", "https://x.org", LOCAL, "ssh://git@ssh.example.org:2222/a/r.git"),
        ("ssh.example.org:22", "", LOCAL, "git@ssh.example.org:a/r.git"),
        ("[2001:db8::1]:2200", "", LOCAL, "ssh://git@[2001:db8::1]:2200/a/r.git"),
        ("", "", UNIXAddress(b"/run/ssh"), "git@localhost:a/r.git"),
    ],
)
def test_addresses(public_host: str, public_url: str, address: object, expected: str) -> None:
    config = Config(
        Path("/x"), server=Server(public_url=public_url), ssh=Ssh(public_host=public_host)
    )
    assert clone_address(config, address, "a/r.git") == expected


def test_names() -> None:
    config = Config(Path("/x"))
    known = greeting(Actor("1", "alice", Origin.SSH_KEY), config, LOCAL)
    assert known.startswith("Hi alice!")
    assert "/alice/REPO.git" in known
    assert "does not know your SSH key" in greeting(ANONYMOUS, config, LOCAL)
