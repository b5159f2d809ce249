from __future__ import annotations

import pytest

from wit.errors import Invalid
from wit.oauth.redirects import check_registered, check_web_address, matches, with_answer


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example/cb", "https://app.example", "https://app.example:8443/cb?x=1",
        "http://127.0.0.1/cb", "http://127.0.0.1:8000/cb", "http://[::1]:1/", "http://localhost:3/",
        "com.example.app:/oauth", "com.example.app://oauth", "https://[2001:db8::1]/cb",
    ],
)  # fmt: skip
def test_what_can_be_registered(uri: str) -> None:
    assert check_registered(uri) == uri


@pytest.mark.parametrize(
    "uri",
    [
        "", "app.example/cb", "/cb", "//app.example/cb", "http://app.example/cb", "https:///cb",
        "https://app.example/cb#top", "https://user@app.example/", "https://u:p@app.example/",
        "http://localhost:80@evil.example/", "https://app.example\\@evil.example/",
        "https://app.example/ cb", "https://app.example/\n", "https://app.example:port/",
        "https://app.example:99999/", "https://app.example%2f.evil/", "javascript:alert(1)",
        "data:text/html,x", "file:///etc/passwd", "vbscript:x", "urn:ietf:wg:oauth:2.0:oob",
        "http://127.0.0.1.evil.example/", "http://localhost.evil.example/", "https://ex ample/",
        "https://müller.example/", "https://app.example/" + "x" * 2000, "JAVASCRIPT:alert(1)",
        "http://2130706433/", "https://a..b/", "https://[::1/",
    ],
)  # fmt: skip
def test_what_cannot_be_registered(uri: str) -> None:
    with pytest.raises(Invalid):
        check_registered(uri)


REGISTERED = ["https://app.example/cb", "http://127.0.0.1/cb", "http://[::1]:7000/cb?x=1"]


@pytest.mark.parametrize(
    "uri",
    [*REGISTERED, "http://127.0.0.1:51234/cb", "http://[::1]:1/cb?x=1", "http://[::1]/cb?x=1"],
)
def test_the_same_address_matches_and_any_port_of_loopback(uri: str) -> None:
    assert matches(uri, REGISTERED)


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example/cb/", "https://app.example/cb?x=1", "https://app.example/CB",
        "https://app.example/cb#x", "HTTPS://app.example/cb", "https://app.example:443/cb",
        "https://app.example/c%62", "https://app.example/x/../cb", "https://app.example",
        "https://evil.example/cb", "https://app.example/cb/../../x", "https://app.example@evil/cb",
        "https://127.0.0.1/cb", "http://127.0.0.1:0/cb", "http://127.0.0.1:65536/cb",
        "http://127.0.0.1:80@evil.example/cb", "http://127.0.0.1:/cb", "http://127.0.0.1:80/cb/",
        "http://127.0.0.1:80\\@evil.example/cb", "http://127.0.0.2:80/cb", "http://localhost/cb",
        "http://127.0.0.1:1/cb?x=1", "http://[::1]:1/cb", "http://[::1]:7000/cb?x=2", "",
        "http://127.0.0.1:1:2/cb", "http://127.0.0.1:+1/cb", "http://127.0.0.1:\u0661/cb",
        "http://127.0.0.1:1/cb\r\nSet-Cookie: x=1",
    ],
)  # fmt: skip
@pytest.mark.attack(46)
def test_everything_else_does_not_match(uri: str) -> None:
    assert not matches(uri, REGISTERED)


def test_a_port_is_free_for_registered_loopback_addresses_only() -> None:
    assert not matches("http://localhost:81/cb", ["http://localhost:80/cb"])
    assert not matches("https://app.example:81/cb", ["https://app.example:80/cb"])


def test_answers_go_into_the_query() -> None:
    values = {"code": "a b&c", "state": "ü"}
    assert with_answer("https://a.example/x", values) == (
        "https://a.example/x?code=a+b%26c&state=%C3%BC"
    )
    assert with_answer("https://a.example/x?y=1", {"code": "z"}) == (
        "https://a.example/x?y=1&code=z"
    )


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "//x", "https://", "x", "https://a b", "https://a\n", "data:,x"]
)
def test_links_are_web_addresses(url: str) -> None:
    assert check_web_address("http://intranet/logo.png", "the logo")
    with pytest.raises(Invalid):
        check_web_address(url, "the logo")
