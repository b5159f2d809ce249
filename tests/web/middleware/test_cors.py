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


@pytest.mark.attack(55)
def test_an_origin_that_is_a_star_gets_no_credentials() -> None:
    said = Cors(("*",)).headers(from_origin("*"))
    assert b"Access-Control-Allow-Origin: *\r\n" in said
    assert b"Credentials" not in said


@pytest.mark.attack(55)
@pytest.mark.parametrize("origins", [(), ("https://a.example",), ("*",)])
@pytest.mark.parametrize("path", [b"/api/v1", b"/api/v1/user"])
def test_the_public_api_is_open_without_credentials(origins: tuple[str, ...], path: bytes) -> None:
    cors = Cors(origins)
    for origin in (None, "null", "https://a.example", "https://b.example"):
        said = cors.headers(from_origin(origin), path)
        assert b"Access-Control-Allow-Origin: *\r\n" in said
        assert b"PATCH" in said
        assert b"X-RateLimit-Remaining" in said and b"Link" in said
        assert b"Credentials" not in said
        assert cors.preflight(from_origin(origin), path) == [(b"Access-Control-Max-Age", b"600")]


@pytest.mark.parametrize("path", [b"/api/v10", b"/api", b"/x/api/v1", b"/trpc/users.me"])
def test_what_is_not_the_public_api_is_not_open(path: bytes) -> None:
    assert Cors(()).headers(from_origin("https://a.example"), path) == b""
    assert Cors(()).preflight(from_origin("https://a.example"), path) == []


def test_a_preflight_of_the_public_api(run: Callable[[Any], Any], runtime: Runtime) -> None:
    with online(run, runtime, route_to(say_hello)) as site:
        answer = site.exchange(
            b"OPTIONS /api/v1/user HTTP/1.1\r\nHost: h\r\nOrigin: https://any.example\r\n"
            b"Access-Control-Request-Method: PATCH\r\nConnection: close\r\n\r\n"
        )
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert answer.count(b"Access-Control-Allow-Origin: *\r\n") == 1
    assert answer.count(b"Access-Control-Allow-Methods: ") == 1
    assert b"Authorization" in answer
    assert b"Credentials" not in answer
