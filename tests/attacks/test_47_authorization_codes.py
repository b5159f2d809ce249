"""A code is good once, for a minute, for whoever asked for it."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from tests.oauth.conftest import CHALLENGE, VERIFIER
from tests.support.site import Site
from tests.support.wire import ask
from tests.web.routes.oauth.support import (
    answer_in,
    authorize,
    exchange,
    make_app,
    post,
    sign_in,
    tokens,
)
from wit.db.tables import oauth_authorization_codes

pytestmark = pytest.mark.attack(47)


def works(site: Site, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"}
    return ask(site.daemon, "GET", "/oauth/userinfo", headers).status == 200


def test_a_code_that_comes_again_ends_all_it_gave(each_site: Site) -> None:
    site, browser = each_site, sign_in(each_site)
    app = make_app(site)
    untouched = tokens(site, app, browser, scope="openid")
    code = browser.approve(app, scope="openid repo:read")["code"]
    first = json.loads(exchange(site, app, code).body)
    refresh = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = json.loads(post(site, "/oauth/token", refresh, **app.basic).body)
    assert works(site, second["access_token"])
    again = exchange(site, app, code)
    assert again.status == 400 and json.loads(again.body)["error"] == "invalid_grant"
    assert not works(site, second["access_token"])
    refresh["refresh_token"] = second["refresh_token"]
    assert post(site, "/oauth/token", refresh, **app.basic).status == 400
    assert works(site, untouched["access_token"])


def test_pkce_cannot_be_left_out_or_weakened(each_site: Site) -> None:
    site, browser = each_site, sign_in(each_site)
    public, app = make_app(site, confidential=False), make_app(site)
    for who, changes in (
        (public, {"code_challenge": None, "code_challenge_method": None}),
        (public, {"code_challenge_method": "plain", "code_challenge": VERIFIER}),
        (public, {"code_challenge_method": None}),
        (app, {"code_challenge_method": "plain", "code_challenge": VERIFIER}),
        (app, {"code_challenge_method": None}),
        (app, {"code_challenge": None}),
        (app, {"code_challenge": "x"}),
    ):
        answer = browser.get(authorize(who, **changes))
        assert answer.status == 302 and answer_in(answer)["error"] == "invalid_request"
    code = browser.approve(app)["code"]
    for verifier in ("", CHALLENGE, "w" * 43, VERIFIER + "v", VERIFIER[:42]):
        assert exchange(site, app, code, code_verifier=verifier).status == 400
    without = authorize(app, code_challenge=None, code_challenge_method=None)
    assert browser.get(without).status == 200, "a confidential app may do without ..."
    assert exchange(site, app, code).status == 200


def test_a_code_is_bound_to_its_app(each_site: Site) -> None:
    site, browser = each_site, sign_in(each_site)
    app, other = make_app(site), make_app(site)
    code = browser.approve(app)["code"]
    assert exchange(site, other, code).status == 400
    assert exchange(site, app, code, redirect_uri="https://app.example/").status == 400
    assert exchange(site, app, code).status == 200


def test_codes_are_random_and_kept_as_hashes(each_site: Site) -> None:
    site, browser, app = each_site, sign_in(each_site), make_app(each_site)
    codes = {browser.approve(app)["code"] for _ in range(5)}
    assert len(codes) == 5 and all(len(code) == 32 for code in codes)
    rows = site.do(lambda core: core.db.fetch_all(select(oauth_authorization_codes)))
    assert not any(code in str(rows) for code in codes)
