"""The consent page and its JSON form, on the running daemon."""

from __future__ import annotations

import json
from urllib.parse import unquote, urlencode

import pytest

from tests.oauth.conftest import CALLBACK
from tests.support.site import Site
from tests.web.routes.oauth.support import (
    FORM,
    Browser,
    answer_in,
    authorize,
    exchange,
    hidden_fields,
    make_app,
    new_user,
    sign_in,
    tokens,
)

JSON = {"Accept": "application/json"}


def test_from_the_link_to_the_tokens(site: Site) -> None:
    app, browser = make_app(site), sign_in(site)
    sent = browser.approve(app)
    assert sent["state"] == "the state"
    assert sent["iss"] == f"http://localhost:{site.daemon.http_port}"
    answer = exchange(site, app, sent["code"])
    assert answer.headers["cache-control"] == "no-store"
    pair = json.loads(answer.body)
    assert pair["token_type"] == "Bearer" and pair["expires_in"] == 28800
    assert pair["scope"] == "user:read repo:read" and "id_token" not in pair
    assert pair["access_token"].startswith("wit_oauth_")
    assert pair["refresh_token"].startswith("wit_refresh_")


def test_the_page(site: Site) -> None:
    app = make_app(site, name='<b>"Bold" & co</b>', description="<script>alert(1)</script>",
                   links={"website_url": "https://x.example/?<'\">", "logo_url": "https://x.example/l"})  # fmt: skip
    page = sign_in(site).get(authorize(app, state="'\"><script>x</script>"))
    assert page.status == 200 and page.headers["content-type"].startswith("text/html")
    assert page.headers["x-frame-options"] == "DENY"
    policy = page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy and "default-src 'none'" in policy
    assert "unsafe" not in policy and "script-src" not in policy
    assert page.headers["cache-control"] == "no-store"
    assert "<script" not in page.text and "<b>" not in page.text and "<img" not in page.text
    assert "&lt;b&gt;&quot;Bold&quot; &amp; co&lt;/b&gt;" in page.text
    assert "src=" not in page.text and "https://x.example/l" not in page.text
    assert "unverified" in page.text and "alice" in page.text
    assert "Read your repositories, private ones included" in page.text
    assert f"sent to <code>{CALLBACK}</code>" in page.text
    assert hidden_fields(page.text)["state"] == "'\"><script>x</script>"


def test_who_is_not_signed_in_comes_back_after_it(site: Site) -> None:
    app = make_app(site)
    for headers in ({"Accept": "text/html"}, JSON):
        answer = Browser(site).get(authorize(app), headers)
        assert answer.status == 302
        where, _, back = answer.headers["location"].partition("?returnTo=")
        assert where == "/login" and unquote(back) == authorize(app)


def test_saying_no(site: Site) -> None:
    app, browser = make_app(site), sign_in(site)
    answer = browser.approve(app, "deny")
    assert answer["error"] == "access_denied" and answer["state"] == "the state"
    assert "iss" in answer and "code" not in answer
    by_link = browser.get(authorize(app, approved="false"))
    assert by_link.status == 302 and answer_in(by_link)["error"] == "access_denied"


def test_the_json_form(site: Site) -> None:
    app = make_app(site, links={"logo_url": "https://x.example/l"})
    browser = sign_in(site)
    answer = browser.get(authorize(app, scope="openid repo:read"), JSON)
    assert answer.status == 200
    shown = json.loads(answer.body)
    assert shown["app"] == {
        "id": app.row["id"], "name": "Example", "description": None, "websiteUrl": None,
        "logoUrl": "https://x.example/l", "isVerified": False, "ownerId": app.row["owner_id"],
    }  # fmt: skip
    assert [scope["name"] for scope in shown["scopes"]] == ["openid", "repo:read"]
    assert shown["existingAuthorization"] is None
    assert shown["user"]["id"] == browser.user_id and shown["user"]["email"] == "alice@example.org"
    denied = browser.get(shown["denyUrl"], JSON)
    assert answer_in(denied)["error"] == "access_denied"

    asking_again = browser.get(shown["approveUrl"], JSON)
    assert asking_again.status == 200 and "location" not in asking_again.headers
    body = urlencode(shown["form"] | {"decision": "approve"}).encode()
    sent = browser._ask("POST", shown["postUrl"], JSON | FORM, body)
    assert sent.status == 200
    target = json.loads(sent.body)["redirectTo"]
    assert target.startswith(f"{CALLBACK}?code=")

    again = json.loads(browser.get(authorize(app), JSON).body)["existingAuthorization"]
    assert again["scopes"] == ["repo:read"] and again["createdAt"].endswith("Z")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": None}, "invalid_request"), ({"scope": None}, "invalid_request"),
        ({"redirect_uri": None}, "invalid_request"),
        ({"client_id": "wit_app_" + "0" * 20}, "invalid_client"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"redirect_uri": "https://evil.example/"}, "invalid_request"),
    ],
)  # fmt: skip
def test_errors_that_stay_here(site: Site, changes, error: str) -> None:
    app, browser = make_app(site), sign_in(site)
    answer = browser.get(authorize(app, **changes), JSON)
    assert answer.status == 400 and json.loads(answer.body)["error"] == error
    page = browser.get(authorize(app, **changes))
    assert page.status == 400 and "text/html" in page.headers["content-type"]
    assert "location" not in page.headers


def test_errors_that_the_app_hears_of(site: Site) -> None:
    app, browser = make_app(site), sign_in(site)
    for changes, error in (
        ({"scope": "nonsense"}, "invalid_scope"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"prompt": "none"}, "consent_required"),
    ):
        answer = browser.get(authorize(app, **changes))
        assert answer.status == 302 and answer.headers["location"].startswith(CALLBACK)
        assert answer_in(answer)["error"] == error and answer_in(answer)["state"] == "the state"
    nobody = Browser(site).get(authorize(app, prompt="none"))
    assert answer_in(nobody)["error"] == "login_required"


def test_a_parameter_that_comes_twice(site: Site) -> None:
    app = make_app(site)
    answer = sign_in(site).get(authorize(app) + "&scope=repo:admin", JSON)
    assert answer.status == 400 and json.loads(answer.body)["error"] == "invalid_request"


def test_how_old_a_sign_in_may_be(site: Site) -> None:
    app, browser = make_app(site), sign_in(site)
    assert browser.get(authorize(app, max_age="1000")).status == 200
    anew = browser.get(authorize(app, prompt="login"))
    back = unquote(anew.headers["location"].partition("?returnTo=")[2])
    assert "prompt" not in back and "max_age=300" in back
    assert browser.get(back).status == 200


def test_a_suspended_user_sees_no_form(site: Site) -> None:
    app, name = make_app(site), new_user(site)
    browser = sign_in(site, name)
    site.do(lambda core: core.users.suspend(browser.user_id, "test"))
    page = browser.get(authorize(app))
    assert page.status == 302 and page.headers["location"].startswith("/login?")


def test_own_apps_and_authorizations(site: Site) -> None:
    name = new_user(site)
    browser, app = sign_in(site, name), make_app(site, name)
    (listed,) = json.loads(browser.get("/oauth/apps").body)["apps"]
    assert listed["clientId"] == app.client_id and listed["callbackUrl"] == CALLBACK
    assert "secret" not in str(listed).replace("clientSecretPrefix", "")
    tokens(site, app, browser)
    (granted,) = json.loads(browser.get("/oauth/authorizations").body)["authorizations"]
    assert granted["app"]["name"] == "Example" and granted["scopes"] == ["user:read", "repo:read"]
    target = f"/oauth/authorizations/{granted['id']}"
    assert sign_in(site, "bob").delete(target).status == 404
    assert Browser(site).delete(target).status == 401
    done = browser.delete(target)
    assert done.status == 200 and json.loads(done.body) == {"success": True}
    for gone in (target, "/oauth/authorizations/nonsense", target + "%00"):
        missing = browser.delete(gone)
        assert missing.status == 404 and json.loads(missing.body)["error"] == "not_found"
    for path in ("/oauth/apps", "/oauth/authorizations"):
        refused = Browser(site).get(path)
        assert refused.status == 401 and json.loads(refused.body)["error"] == "unauthorized"
    scopes = json.loads(Browser(site).get("/oauth/scopes").body)["scopes"]
    assert len(scopes) == 16 and scopes[0] == {
        "name": "user:read", "description": "Read your profile"
    }  # fmt: skip
