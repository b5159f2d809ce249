"""A stolen refresh token is worth nothing for long: its second use ends the family."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from tests.support.site import Site
from tests.support.wire import ask
from tests.web.routes.oauth.support import App, make_app, post, sign_in, tokens
from wit.accounts.tokens import secret_hash
from wit.core import Core
from wit.db.tables import oauth_refresh_tokens

pytestmark = pytest.mark.attack(48)


def refresh(site: Site, app: App, token: str) -> dict[str, Any] | None:
    fields = {"grant_type": "refresh_token", "refresh_token": token}
    answer = post(site, "/oauth/token", fields, **app.basic)
    if answer.status == 200:
        pair: dict[str, Any] = json.loads(answer.body)
        return pair
    assert answer.status == 400 and json.loads(answer.body)["error"] == "invalid_grant"
    return None


def works(site: Site, token: str) -> bool:
    headers = {"Authorization": f"Bearer {token}"}
    return ask(site.daemon, "GET", "/oauth/userinfo", headers).status == 200


def long_ago(token: str) -> Callable[[Core], Any]:
    """The token was used a minute before it really was."""

    async def work(core: Core) -> None:
        used_at = core.runtime.now() - timedelta(minutes=1)
        of_token = oauth_refresh_tokens.c.token_hash == secret_hash(token)
        await core.db.execute(update(oauth_refresh_tokens).where(of_token).values(used_at=used_at))

    return work


def test_the_thief_and_the_owner(each_site: Site) -> None:
    site, app = each_site, make_app(each_site)
    first = tokens(site, app, sign_in(site), scope="openid")
    stolen = first["refresh_token"]
    thief = refresh(site, app, stolen)
    assert thief is not None
    site.do(long_ago(stolen))
    assert refresh(site, app, stolen) is None, "the owner comes, and it shows"
    assert not works(site, thief["access_token"])
    assert refresh(site, app, thief["refresh_token"]) is None


def test_a_retry_gets_one_fresh_pair_and_no_more(each_site: Site) -> None:
    site, app = each_site, make_app(each_site)
    first = tokens(site, app, sign_in(site), scope="openid")
    lost = refresh(site, app, first["refresh_token"])
    retried = refresh(site, app, first["refresh_token"])
    assert lost is not None and retried is not None
    assert retried["refresh_token"] != lost["refresh_token"]
    assert works(site, retried["access_token"])
    assert refresh(site, app, first["refresh_token"]) is None
    assert not works(site, retried["access_token"]) and not works(site, lost["access_token"])


def test_a_refresh_token_is_no_access_token_and_no_password(each_site: Site) -> None:
    site, app = each_site, make_app(each_site)
    pair = tokens(site, app, sign_in(site), scope="openid repo:admin")
    assert not works(site, pair["refresh_token"])
    assert refresh(site, app, pair["access_token"]) is None
    assert refresh(site, make_app(site), pair["refresh_token"]) is None
    assert refresh(site, app, pair["refresh_token"]) is not None, "none of these has ended it"


def test_taking_back_an_authorization_takes_refresh_tokens_with_it(each_site: Site) -> None:
    site, app, browser = each_site, make_app(each_site), sign_in(each_site, "bob")
    pair = tokens(site, app, browser, scope="openid")
    for granted in json.loads(browser.get("/oauth/authorizations").body)["authorizations"]:
        assert browser.delete(f"/oauth/authorizations/{granted['id']}").status == 200
    assert not works(site, pair["access_token"])
    assert refresh(site, app, pair["refresh_token"]) is None
