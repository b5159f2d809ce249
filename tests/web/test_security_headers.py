"""What every answer says to browsers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.web.harness import online, route_to, say_hello
from wit.config import Server
from wit.runtime import Runtime
from wit.web.streaming import Request

Run = Callable[[Any], Any]
ASK = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
EVERYWHERE = (
    b"X-Content-Type-Options: nosniff\r\n",
    b"Referrer-Policy: no-referrer\r\n",
    b"Cross-Origin-Resource-Policy: same-origin\r\n",
)


async def show_page(request: Request) -> None:
    request.setHeader(b"Content-Security-Policy", b"default-src 'self'")
    request.answer(200, "text/html", b"<p>hello")


async def fail(request: Request) -> None:
    raise RuntimeError("out of order")


@pytest.mark.parametrize("handler", [say_hello, fail])
def test_answers_are_no_pages(run: Run, runtime: Runtime, handler: Any) -> None:
    with online(run, runtime, route_to(handler)) as site:
        answer = site.exchange(ASK)
    for line in EVERYWHERE:
        assert answer.count(line) == 1
    assert b"Content-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n" in answer
    assert b"Cross-Origin-Opener-Policy: same-origin\r\n" in answer
    assert b"Strict-Transport-Security" not in answer


def test_pages_have_their_own_policy(run: Run, runtime: Runtime) -> None:
    with online(run, runtime, route_to(show_page)) as site:
        answer = site.exchange(ASK)
    for line in EVERYWHERE:
        assert answer.count(line) == 1
    assert answer.count(b"Content-Security-Policy") == 1
    assert b"default-src 'self'" in answer


def test_https_is_kept_to(run: Run, runtime: Runtime) -> None:
    settings = Server(public_url="https://git.example.org")
    with online(run, runtime, route_to(say_hello), settings) as site:
        answer = site.exchange(ASK)
    assert b"Strict-Transport-Security: max-age=31536000\r\n" in answer
