"""Codes go to addresses that the app has registered, letter for letter."""

from __future__ import annotations

import json

import pytest

from tests.oauth.conftest import CALLBACK
from tests.support.site import Site
from tests.web.routes.oauth.support import authorize, exchange, make_app, sign_in

pytestmark = pytest.mark.attack(46)

LOOPBACK = "http://127.0.0.1/cb"

FOREIGN = [
    f"{CALLBACK}/", f"{CALLBACK}/../evil", f"{CALLBACK}?x=1", f"{CALLBACK}#x", f"{CALLBACK}%00",
    f"{CALLBACK}\\@evil.example", CALLBACK.upper(), CALLBACK.replace("callback", "Callback"),
    "https://app.example", "https://app.example:443/callback", "https://app.example./callback",
    "https://app.example@evil.example/callback", "https://user@app.example/callback",
    "https://evil.example/callback", "https://app.example.evil.example/callback",
    "//app.example/callback", "http://app.example/callback", f" {CALLBACK}", f"{CALLBACK} ",
    f"{CALLBACK}\r\nX-Evil: 1", "javascript:alert(1)", "https://evilapp.example/callback",
    "http://localhost:80@evil.example/cb", "http://127.0.0.1:80@evil.example/cb",
    "http://127.0.0.1:80\\@evil.example/cb", "http://127.0.0.1.evil.example/cb",
    "http://127.0.0.1:99999/cb", "http://127.0.0.1:80/cb/", "http://127.0.0.1:80/other",
    "http://[::1]:80/cb", "http://localhost/cb", "http://2130706433/cb", "https://127.0.0.1/cb",
    "http://127.1/cb", "http://0.0.0.0/cb",
]  # fmt: skip


def test_no_other_address_is_ever_redirected_to(site: Site) -> None:
    browser = sign_in(site)
    app = make_app(site, additional_callback_urls=[LOOPBACK])
    for uri in FOREIGN:
        for more in ({}, {"approved": "false"}, {"scope": "nonsense"}, {"prompt": "none"}):
            answer = browser.get(authorize(app, redirect_uri=uri, **more))
            assert answer.status == 400 and "location" not in answer.headers, uri
            assert "csrf_token" not in answer.text


def test_the_ports_of_loopback_are_free(site: Site) -> None:
    browser = sign_in(site)
    app = make_app(site, additional_callback_urls=[LOOPBACK, "http://[::1]/cb"])
    for uri in (
        LOOPBACK,
        "http://127.0.0.1:1/cb",
        "http://127.0.0.1:65535/cb",
        "http://[::1]:9/cb",
    ):
        code = browser.approve(app, redirect_uri=uri)["code"]
        assert exchange(site, app, code, redirect_uri="http://127.0.0.1:2/cb").status == 400
        assert exchange(site, app, code, redirect_uri=uri).status == 200


def test_an_app_cannot_register_what_a_browser_runs(site: Site) -> None:
    for uri in ("javascript:alert(1)", "data:text/html,x", "http://evil.example/", "https://a@b/",
                "https://app.example/#x", "https://*.example/", "file:///tmp/x"):  # fmt: skip
        with pytest.raises(Exception, match="callback URL"):
            make_app(site, callback_url=uri)


def test_a_state_cannot_break_out_of_the_address(site: Site) -> None:
    app, state = make_app(site), "x\r\nSet-Cookie: a=b\r\n\r\n<script>&code=evil&iss=evil#"
    sent = sign_in(site).approve(app, state=state)
    assert (
        sent["state"] == state and sent["code"] != "evil" and "a=b" not in json.dumps(sent["iss"])
    )
