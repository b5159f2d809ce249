from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.config import Accounts, Config, Server
from wit.web.origins import TrustedOrigins, origin_of

TRUSTED = TrustedOrigins(
    Config(
        Path("/x"),
        server=Server(public_url="https://git.example.org/wit"),
        accounts=Accounts(trusted_origins=("http://localhost:5173",)),
    )
)


@pytest.mark.parametrize(
    ("address", "origin"),
    [
        ("https://a.example", "https://a.example"),
        ("https://A.example:443/x?y", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:8080/", "http://a.example:8080"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("", ""),
        ("/path", ""),
        ("ftp://a.example", ""),
        ("https://", ""),
        ("https://a.example:x", ""),
        ("http://[::1", ""),
    ],
)
def test_origin_of(address: str, origin: str) -> None:
    assert origin_of(address) == origin


@pytest.mark.parametrize(
    "address",
    ["/", "/home", "/a/b-c_d.e+f@g", "/a?b=c&d=%20#e", "https://git.example.org",
     "https://git.example.org/x?y#z", "http://localhost:5173/a%2Fb", "HTTPS://GIT.example.org/"],
)  # fmt: skip
def test_pages_of_ours(address: str) -> None:
    assert TRUSTED.may_return_to(address)


@pytest.mark.attack(56)
@pytest.mark.parametrize(
    "address",
    ["", "home", "//evil.example", "/\\evil.example", "/\n/evil.example", "/%2f", "/a%2fb",
     "https://evil.example", "https://git.example.org.evil.example",
     "https://git.example.org@evil.example/", "https://git.example.org:444/",
     "http://git.example.org/", "https:/\\git.example.org", "https:///git.example.org",
     "https://git.example.org\\@evil.example", "https://git.example.org\t/",
     "javascript://git.example.org/%0aalert(1)", "/a" * 1001, "https://git.example.org/ä"],
)  # fmt: skip
def test_pages_of_others(address: str) -> None:
    assert not TRUSTED.may_return_to(address)


@pytest.mark.attack(56)
@given(st.text(max_size=40))
def test_a_path_cannot_become_a_host(rest: str) -> None:
    """Whatever a browser does with slashes, backslashes and control characters."""
    address = "/" + rest
    if TRUSTED.may_return_to(address):
        assert not address.startswith(("//", "/\\"))
        assert address.isascii() and address.isprintable() and "\\" not in address


@pytest.mark.attack(55)
@pytest.mark.parametrize(
    ("origin", "host", "ours"),
    [
        ("https://git.example.org", "x", True),
        ("http://localhost:5173", "x", True),
        ("https://other.example:8443", "other.example:8443", True),
        ("https://other.example", "other.example:443", True),
        ("http://other.example", "other.example", False),  # people come by https
        ("https://other.example:8443", "other.example", False),
        ("https://other.example@evil.example", "other.example", False),
        ("http://git.example.org", "x", False),
        ("https://git.example.org.evil.example", "x", False),
        ("null", "null", False),
        ("", "", False),
        ("*", "*", False),
    ],
)
def test_whose_pages_are_ours(origin: str, host: str, ours: bool) -> None:
    request: Any = SimpleNamespace(header=lambda name: host if name == b"Host" else None)
    assert TRUSTED.ours(origin, request) is ours
