"""OAuth: nobody is made to agree, and no app passes for another."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from tests.oauth.conftest import CALLBACK, VERIFIER
from tests.support.site import Site
from tests.web.routes.oauth.support import (
    FORM,
    HTML,
    App,
    Browser,
    authorize,
    hidden_fields,
    make_app,
    new_user,
    post,
    sign_in,
    tokens,
)

pytestmark = pytest.mark.attack(45)


def granted(browser: Browser) -> list[dict]:
    found: list[dict] = json.loads(browser.get("/oauth/authorizations").body)["authorizations"]
    return found


def someone(site: Site) -> Browser:
    """Signed in, and nothing granted to anybody yet."""
    return sign_in(site, new_user(site))


@pytest.mark.parametrize("accept", ["text/html", "application/json", "*/*"])
def test_a_link_does_not_approve(each_site: Site, accept: str) -> None:
    browser, app = someone(each_site), make_app(each_site)
    for more in ({"approved": "true"}, {"approved": "1", "decision": "approve"},
                 {"decision": "approve", "csrf_token": "x"}):  # fmt: skip
        answer = browser.get(authorize(app, **more), {"Accept": accept})
        assert answer.status == 200 and "location" not in answer.headers
    body = urlencode({"decision": "approve"}).encode()
    by_query = browser._ask("POST", authorize(app, approved="true"), HTML | FORM, body)
    assert by_query.status == 400
    assert granted(browser) == []


def test_a_form_of_another_site_does_not_approve(each_site: Site) -> None:
    """Without a ticket; with one of another person, app, or request; from another origin."""
    browser, app, other = someone(each_site), make_app(each_site), make_app(each_site)

    def shown(who: Browser, to: App, **changes: str) -> dict[str, str]:
        return hidden_fields(who.get(authorize(to, **changes)).text)

    mine = shown(browser, app)
    ticket = mine["csrf_token"]
    end, _, mac = ticket.partition(".")
    forgeries: list[dict[str, str]] = [
        {"csrf_token": ""}, {"csrf_token": "x"}, {"csrf_token": ticket[:-1]},
        {"csrf_token": f"{int(end) + 1}.{mac}"}, {"csrf_token": f"1.{mac}"},
        {"csrf_token": f"{end}."}, {"csrf_token": f"{end}.ü"},
        {"csrf_token": shown(someone(each_site), app)["csrf_token"]},
        {"csrf_token": shown(browser, other)["csrf_token"]},
        {"csrf_token": shown(browser, app, scope="user:read")["csrf_token"]},
        {"scope": "repo:admin"}, {"state": "another"}, {"client_id": other.client_id},
        {"code_challenge": "x" * 43}, {"nonce": "another"},
    ]  # fmt: skip
    for changes in forgeries:
        sent = browser.post("/oauth/authorize", mine | {"decision": "approve"} | changes)
        assert sent.status == 403 and "location" not in sent.headers, changes
    for origin in ("https://evil.example", "null", "http://localhost:1"):
        sent = browser.post("/oauth/authorize", mine | {"decision": "approve"}, Origin=origin)
        assert sent.status == 403, origin
    assert granted(browser) == []
    own = f"http://localhost:{each_site.daemon.http_port}"
    sent = browser.post("/oauth/authorize", mine | {"decision": "approve"}, Origin=own)
    assert sent.status == 303 and len(granted(browser)) == 1


def test_no_token_approves(each_site: Site) -> None:
    """A personal access token or an OAuth token could otherwise give itself more."""
    app, browser = make_app(each_site), someone(each_site)
    granted_before = tokens(each_site, app, browser, scope="repo:read")["access_token"]
    for token in (each_site.alice.token, granted_before):
        bearer = {"Authorization": f"Bearer {token}"}
        answer = Browser(each_site).get(authorize(app, scope="repo:admin"), HTML | bearer)
        assert answer.status == 302 and answer.headers["location"].startswith("/login?")


def test_the_pages_cannot_be_framed(each_site: Site) -> None:
    browser, app = someone(each_site), make_app(each_site)
    for target in (authorize(app), "/oauth/device", "/oauth/device?user_code=BBBB-BBBB",
                   authorize(app, redirect_uri="https://evil.example/")):  # fmt: skip
        page = browser.get(target)
        assert page.headers["x-frame-options"] == "DENY", target
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]


def test_a_confidential_app_without_its_secret(each_site: Site) -> None:
    browser, app, other = someone(each_site), make_app(each_site), make_app(each_site)
    code = browser.approve(app)["code"]
    grant = {
        "grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK,
        "code_verifier": VERIFIER,
    }  # fmt: skip
    named = {"client_id": app.client_id}
    for wrong in ({}, named, named | {"client_secret": ""}, named | {"client_secret": other.secret},
                  named | {"client_secret": app.row["client_secret_hash"]},
                  named | {"client_secret": app.secret[:12]}):  # fmt: skip
        answer = post(each_site, "/oauth/token", grant | wrong)
        assert answer.status == 401 and json.loads(answer.body)["error"] == "invalid_client"
    right = post(each_site, "/oauth/token", grant, **app.basic)
    assert right.status == 200
    refresh = {
        "grant_type": "refresh_token", "refresh_token": json.loads(right.body)["refresh_token"]
    }  # fmt: skip
    for wrong in ({}, named, named | {"client_secret": "x"}):
        assert post(each_site, "/oauth/token", refresh | wrong).status == 401
    assert post(each_site, "/oauth/token", refresh, **app.basic).status == 200
