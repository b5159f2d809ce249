"""WebSockets that a page of another site opens, with the cookies of somebody who is signed in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.browser import Browser
from tests.support.daemon import PASSWORD
from tests.support.site import Site
from tests.support.terminals import Desk, desk_of
from tests.support.websocket import Refused

pytestmark = pytest.mark.attack(55)

FOREIGN = ("https://evil.example", "null", "http://127.0.0.1", "http://localhost.evil.example", "*")


@pytest.fixture(scope="module")
def desk(sandbox_site: Site) -> Iterator[Desk]:
    desk = desk_of(sandbox_site)
    yield desk
    desk.close()


@pytest.fixture(scope="module")
def cookies(desk: Desk) -> dict[str, str]:
    """Those of alice's browser, after she has signed in."""
    url = f"http://127.0.0.1:{desk.site.daemon.http_port}"
    browser = Browser(url, url)
    answer = browser.post(
        "/api/auth/sign-in/email", {"email": "alice@example.org", "password": PASSWORD}
    )
    assert answer.status == 200
    return {"Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())}


@pytest.mark.parametrize("form", ("wit.term.v1", ""))
def test_no_page_elsewhere_opens_one(desk: Desk, cookies: dict[str, str], form: str) -> None:
    for origin in FOREIGN:
        for credential in ({**cookies, "Authorization": "Basic eDp5"}, {}):
            with pytest.raises(Refused, match="403"):
                desk.open(form=form, headers={**credential, "Origin": origin})


def test_a_browser_that_tells_no_origin(desk: Desk, cookies: dict[str, str]) -> None:
    headers = {**cookies, "Authorization": "Basic eDp5", "Sec-Fetch-Site": "cross-site"}
    client = desk.open(headers=headers)
    assert client.until_message(t="error")["code"] == "forbidden"
    assert client.until_closed()[0] == 4403


def test_our_own_page_does(desk: Desk, cookies: dict[str, str]) -> None:
    """The same request from where it may come from: so it was the origin above."""
    desk.terminal()
    origin = f"http://127.0.0.1:{desk.site.daemon.http_port}"
    client = desk.open(headers={**cookies, "Authorization": "Basic eDp5", "Origin": origin})
    client.until_message(t="hello")


def test_a_token_in_the_address_is_none(desk: Desk) -> None:
    for name in ("token", "access_token", "authorization", "session"):
        client = desk.open(f"{name}={desk.session}", headers={"Authorization": "Basic eDp5"})
        assert client.until_message(t="error")["code"] == "unauthorized"
        assert client.until_closed()[0] == 4401
