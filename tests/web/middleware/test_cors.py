from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.web.http_headers import Headers

from tests.web.harness import online, route_to, say_hello
from wit.config import Server
from wit.runtime import Runtime
from wit.web.middleware.cors import Cors


def from_origin(origin: str | None) -> Headers:
    return Headers({"Origin": [origin]} if origin else {})


def test_nothing_configured_nothing_said() -> None:
    assert Cors(()).headers(from_origin("https://a.example")) == b""
    assert Cors(()).preflight(from_origin("https://a.example")) == []


@pytest.mark.attack(55)
@pytest.mark.parametrize("origin", [None, "null", "https://a.example.evil", "http://a.example"])
def test_other_origins_get_nothing(origin: str | None) -> None:
    cors = Cors(("https://a.example/",))
    assert cors.headers(from_origin(origin)) == b"Vary: Origin\r\n"
    assert cors.preflight(from_origin(origin)) == []


def test_configured_origins_get_credentials() -> None:
    said = Cors(("https://a.example/",)).headers(from_origin("https://a.example"))
    assert b"Access-Control-Allow-Origin: https://a.example\r\n" in said
    assert b"Access-Control-Allow-Credentials: true\r\n" in said


@pytest.mark.attack(55)
def test_everybody_never_gets_credentials() -> None:
    said = Cors(("*",)).headers(from_origin("https://a.example"))
    assert b"Access-Control-Allow-Origin: *\r\n" in said
    assert b"Credentials" not in said


def test_a_preflight_is_answered_on_every_path(run: Callable[[Any], Any], runtime: Runtime) -> None:
    limits = Server(cors_origins=("https://a.example",))
    with online(run, runtime, route_to(say_hello), limits) as site:
        answer = site.exchange(
            b"OPTIONS /any HTTP/1.1\r\nHost: h\r\nOrigin: https://a.example\r\n"
            b"Access-Control-Request-Method: DELETE\r\nConnection: close\r\n\r\n"
        )
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"Access-Control-Allow-Methods: GET, POST, PUT, PATCH, DELETE, OPTIONS\r\n" in answer
    assert b"Access-Control-Allow-Origin: https://a.example\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")
