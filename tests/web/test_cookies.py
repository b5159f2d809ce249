from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.web.http_headers import Headers

from wit.accounts.signing import Signer
from wit.config import Accounts, Config, Server
from wit.web.cookies import MAX_HEADER, SESSION, make_cookies, read


class Request:
    def __init__(self, *cookies: bytes) -> None:
        self.requestHeaders = Headers({b"Cookie": list(cookies)} if cookies else {})
        self.responseHeaders = Headers()

    @property
    def set(self) -> list[str]:
        return [line.decode() for line in self.responseHeaders.getRawHeaders(b"Set-Cookie") or []]


def config(url: str, domain: str = "") -> Config:
    return Config(
        Path("/x"), server=Server(public_url=url), accounts=Accounts(cookie_domain=domain)
    )


SIGNER = Signer("s" * 32)


@pytest.mark.parametrize(
    ("url", "domain", "expected"),
    [
        ("http://localhost", "", "better-auth.session_token={}; Max-Age=9; Path=/; HttpOnly"),
        (
            "https://git.example.org",
            "",
            "__Secure-better-auth.session_token={}; Max-Age=9; Path=/; HttpOnly; Secure",
        ),
        (
            "https://git.example.org",
            "example.org",
            "__Secure-better-auth.session_token={}; Max-Age=9; Domain=example.org; Path=/; "
            "HttpOnly; Secure",
        ),
    ],
)
def test_names_and_attributes(url: str, domain: str, expected: str) -> None:
    cookies = make_cookies(config(url, domain), SIGNER)
    request: Any = Request()
    cookies.set(request, SESSION, "value", 9)
    (line,) = request.set
    value = line.partition("=")[2].partition(";")[0]
    assert line == expected.format(value) + "; SameSite=Lax"
    back: Any = Request(line.partition(";")[0].encode())
    assert cookies.signed(back, SESSION) == "value"
    assert cookies.session(back) == SIGNER.sign("value")


def test_pages_of_other_sites() -> None:
    settings = attrs.evolve(
        config("https://git.example.org"), accounts=Accounts(cookie_same_site="none")
    )
    request: Any = Request()
    make_cookies(settings, SIGNER).set(request, SESSION, "value", None)
    (line,) = request.set
    assert line.endswith("; Path=/; HttpOnly; Secure; SameSite=None")


def test_reading() -> None:
    request: Any = Request(b'a=1; b="2"; a=3;c; d=%20x%3D; =5', b"e=6; b=7")
    assert read(request) == {"a": "1", "b": "2", "d": " x=", "": "5", "e": "6"}
    assert read(Request()) == {}  # type: ignore[arg-type]
    long: Any = Request(b"a=" + b"x" * 10 * MAX_HEADER + b"; b=1")
    assert "b" not in read(long)


def test_what_nobody_signed_is_nothing() -> None:
    cookies = make_cookies(config("http://localhost"), SIGNER)
    for value in (b"", b"x", b"x.y", b"%00.%00", b"\xff\xfe.\xff"):
        request: Any = Request(b"better-auth.session_token=" + value)
        assert cookies.signed(request, SESSION) is None
