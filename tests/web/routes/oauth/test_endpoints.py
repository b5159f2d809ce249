"""Token, revocation, introspection, userinfo and metadata, on the running daemon."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from tests.oauth.conftest import CALLBACK, VERIFIER
from tests.support.daemon import git
from tests.support.site import Site, new_name
from tests.support.wire import ask, basic, push_history
from tests.web.routes.oauth.support import (
    App,
    Browser,
    exchange,
    hidden_fields,
    make_app,
    new_user,
    post,
    sign_in,
    tokens,
)


def error_of(answer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["error"]


def test_three_ways_of_being_a_client(site: Site) -> None:
    app, browser = make_app(site), sign_in(site)
    in_form = {"client_id": app.client_id, "client_secret": app.secret}
    code = {"grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
    for fields, headers in (
        (in_form, {}),
        ({}, app.basic),
        ({"client_id": app.client_id}, app.basic),
        ({}, {"Authorization": basic(quote(app.client_id).replace("_", "%5F"), app.secret)}),
    ):
        sent = code | {"code": browser.approve(app)["code"]}
        assert post(site, "/oauth/token", sent | fields, **headers).status == 200
    public = make_app(site, confidential=False)
    sent = code | {"code": browser.approve(public)["code"], "client_id": public.client_id}
    assert post(site, "/oauth/token", sent).status == 200


@pytest.mark.attack(45)
def test_who_is_no_client(site: Site) -> None:
    app, other = make_app(site), make_app(site)
    code = {
        "grant_type": "authorization_code", "redirect_uri": CALLBACK, "code_verifier": VERIFIER,
        "code": sign_in(site).approve(app)["code"],
    }  # fmt: skip
    both = {"client_id": app.client_id, "client_secret": app.secret}
    for fields, headers, expected in (
        ({}, {}, (401, "invalid_client")),
        ({"client_id": app.client_id}, {}, (401, "invalid_client")),
        ({"client_id": app.client_id, "client_secret": ""}, {}, (401, "invalid_client")),
        ({"client_id": app.client_id, "client_secret": "x"}, {}, (401, "invalid_client")),
        ({"client_secret": app.secret}, {}, (401, "invalid_client")),
        ({}, {"Authorization": basic(app.client_id, "")}, (401, "invalid_client")),
        ({}, {"Authorization": basic(app.client_id, other.secret)}, (401, "invalid_client")),
        ({}, {"Authorization": f"Bearer {app.secret}"}, (401, "invalid_client")),
        ({}, {"Authorization": "Basic !"}, (401, "invalid_client")),
        (both, app.basic, (400, "invalid_request")),
        ({"client_id": other.client_id}, app.basic, (400, "invalid_request")),
        ({}, other.basic, (400, "invalid_grant")),
    ):
        answer = post(site, "/oauth/token", code | fields, **headers)
        assert error_of(answer) == expected, (fields, headers)
        if headers and answer.status == 401:
            assert answer.headers["www-authenticate"].startswith("Basic")
    assert exchange(site, app, code["code"]).status == 200, "nobody else has used it up"


def test_requests_that_are_none(site: Site) -> None:
    app = make_app(site)
    for fields, error in (
        ({}, "invalid_request"),
        ({"grant_type": "password", "username": "alice"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, "invalid_request"),
        ({"grant_type": "authorization_code", "code": "x"}, "invalid_request"),
        ({"grant_type": "authorization_code", "code": "x", "redirect_uri": "x"}, "invalid_grant"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, "invalid_grant"),
    ):
        assert error_of(post(site, "/oauth/token", fields, **app.basic)) == (400, error), fields
    as_json = {"Content-Type": "application/json"} | app.basic
    answer = ask(site.daemon, "POST", "/oauth/token", as_json, b'{"grant_type":"refresh_token"}')
    assert error_of(answer) == (400, "invalid_request")
    form = {"Content-Type": "application/x-www-form-urlencoded"} | app.basic
    for body in (
        b"grant_type=a&grant_type=b",
        b"grant_type=%ff",
        b"&".join([b"a=1"] * 60),
        b"\xff",
    ):
        answer = ask(site.daemon, "POST", "/oauth/token", form, body)
        assert error_of(answer) == (400, "invalid_request"), body
    large = ask(site.daemon, "POST", "/oauth/token", form, b"a=" + b"x" * 70_000)
    assert large.status == 413
    assert ask(site.daemon, "GET", "/oauth/token").status == 405


def test_refresh_revocation_and_introspection(site: Site) -> None:
    app, browser = make_app(site), sign_in(site)
    pair = tokens(site, app, browser, scope="openid email repo:read")

    def introspect(token: str) -> dict:
        answer = post(site, "/oauth/introspect", {"token": token}, **app.basic)
        assert answer.status == 200
        return json.loads(answer.body)

    known = introspect(pair["access_token"])
    assert known["active"] and known["sub"] == browser.user_id and known["username"] == "alice"
    assert known["scope"] == "openid email user:email repo:read" == pair["scope"]
    assert known["exp"] - known["iat"] == 28800 and known["client_id"] == app.client_id
    fields = {"grant_type": "refresh_token", "refresh_token": pair["refresh_token"]}
    new = json.loads(post(site, "/oauth/token", fields, **app.basic).body)
    assert introspect(pair["access_token"]) == {"active": False}
    assert introspect(new["access_token"])["active"]

    other = make_app(site)
    token = {"token": new["access_token"]}
    assert json.loads(post(site, "/oauth/introspect", token, **other.basic).body) == {
        "active": False
    }
    assert error_of(post(site, "/oauth/introspect", token)) == (401, "invalid_client")
    public = make_app(site, confidential=False)
    mine = token | {"client_id": public.client_id}
    assert error_of(post(site, "/oauth/introspect", mine)) == (401, "invalid_client")

    assert error_of(post(site, "/oauth/revoke", {}, **app.basic)) == (400, "invalid_request")
    wrong = {"Authorization": basic(app.client_id, "x")}
    assert error_of(post(site, "/oauth/revoke", token, **wrong)) == (401, "invalid_client")
    assert post(site, "/oauth/revoke", token, **other.basic).status == 200
    assert introspect(new["access_token"])["active"], "another app's token stays"
    answer = post(site, "/oauth/revoke", token, **app.basic)
    assert json.loads(answer.body) == {"success": True}
    assert introspect(new["access_token"]) == {"active": False}
    post(site, "/oauth/revoke", {"token": new["refresh_token"]})
    fields = {"grant_type": "refresh_token", "refresh_token": new["refresh_token"]}
    assert error_of(post(site, "/oauth/token", fields, **app.basic)) == (400, "invalid_grant")


def test_userinfo(site: Site) -> None:
    app, browser = make_app(site), sign_in(site)
    pair = tokens(site, app, browser, scope="openid profile email")
    bearer = {"Authorization": f"Bearer {pair['access_token']}"}
    for method in ("GET", "POST"):
        known = json.loads(ask(site.daemon, method, "/oauth/userinfo", bearer).body)
        assert known["sub"] == browser.user_id and known["preferred_username"] == "alice"
        assert known["email"] == "alice@example.org"
    plain = tokens(site, app, browser)
    bearer = {"Authorization": f"Bearer {plain['access_token']}"}
    answer = ask(site.daemon, "GET", "/oauth/userinfo", bearer)
    assert error_of(answer) == (403, "insufficient_scope")
    assert 'scope="openid"' in answer.headers["www-authenticate"]
    for headers in ({}, {"Authorization": f"Bearer {site.alice.token}"}, {"Authorization": "Bearer"},
                    {"Authorization": basic("alice", pair["access_token"])}):  # fmt: skip
        answer = ask(site.daemon, "GET", "/oauth/userinfo", headers)
        assert error_of(answer) == (401, "invalid_token")
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_metadata(site: Site) -> None:
    issuer = f"http://localhost:{site.daemon.http_port}"
    documents = [
        json.loads(ask(site.daemon, "GET", f"/.well-known/{name}").body)
        for name in ("oauth-authorization-server", "openid-configuration")
    ]
    assert documents[0] == documents[1]
    known = documents[0]
    assert known["issuer"] == issuer and known["code_challenge_methods_supported"] == ["S256"]
    assert known["authorization_response_iss_parameter_supported"] is True
    for name, value in known.items():
        if name.endswith(("_endpoint", "_uri")):
            path = value.removeprefix(issuer)
            assert ask(site.daemon, "OPTIONS", path).status == 405, f"{name} is served"
    assert "openid" in known["scopes_supported"] and len(known["scopes_supported"]) == 19
    jwks = json.loads(ask(site.daemon, "GET", "/oauth/jwks").body)
    assert {key["alg"] for key in jwks["keys"]} == {"RS256"}
    assert not any({"d", "p", "q", "k"} & set(key) for key in jwks["keys"])


def test_git_with_an_oauth_token(site: Site) -> None:
    name = new_name()
    push_history(site.daemon, site.alice, name)
    app, browser = make_app(site), sign_in(site)
    pair = tokens(site, app, browser, scope="repo:read")
    token = pair["access_token"]
    for user, password in (("alice", token), ("x-access-token", token), (token, "x-oauth-basic")):
        listed = git("ls-remote", site.daemon.url(name, user, password))
        assert "refs/heads/main" in listed.stdout
    target = f"/{name}/info/refs?service=git-"
    bearer = {"Authorization": f"Bearer {token}"}
    assert ask(site.daemon, "GET", target + "upload-pack", bearer).status == 200
    assert ask(site.daemon, "GET", target + "receive-pack", bearer).status == 403
    no_repositories = tokens(site, app, browser, scope="user:read")["access_token"]
    bearer = {"Authorization": f"Bearer {no_repositories}"}
    assert ask(site.daemon, "GET", target + "upload-pack", bearer).status == 404
    stranger = new_user(site)
    theirs = tokens(site, app, sign_in(site, stranger), scope="repo:admin")["access_token"]
    bearer = {"Authorization": f"Bearer {theirs}"}
    assert ask(site.daemon, "GET", target + "upload-pack", bearer).status == 404


def poll(site: Site, app: App, device_code: str):
    fields = {
        "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
        "device_code": device_code,
        "client_id": app.client_id,
    }
    return post(site, "/oauth/token", fields)


def test_a_device(site: Site) -> None:
    app, browser = make_app(site, name="<i>TV</i>", confidential=False), sign_in(site)
    asked = {"client_id": app.client_id, "scope": "openid repo:read"}
    started = json.loads(post(site, "/oauth/device_authorization", asked).body)
    assert started["expires_in"] == 600 and started["interval"] == 5
    assert started["verification_uri"].endswith("/oauth/device")
    assert error_of(poll(site, app, started["device_code"])) == (400, "authorization_pending")
    assert error_of(poll(site, app, started["device_code"])) == (400, "slow_down")

    assert Browser(site).get("/oauth/device").headers["location"].startswith("/login?returnTo=")
    entry = browser.get("/oauth/device")
    assert 'name="user_code"' in entry.text and entry.headers["x-frame-options"] == "DENY"
    wrong = browser.get("/oauth/device?user_code=BBBB-BBBB")
    assert wrong.status == 404 and "wrong or has expired" in wrong.text
    page = browser.get(f"/oauth/device?user_code={started['user_code'].lower()}")
    assert page.status == 200 and started["user_code"] in page.text
    assert "&lt;i&gt;TV&lt;/i&gt;" in page.text and "unverified" in page.text
    fields = hidden_fields(page.text)
    assert browser.post("/oauth/device", fields).status == 400
    forged = fields | {"csrf_token": "9999999999." + "0" * 64, "decision": "approve"}
    assert browser.post("/oauth/device", forged).status == 403
    assert (
        sign_in(site, "bob").post("/oauth/device", fields | {"decision": "approve"}).status == 403
    )
    done = browser.post("/oauth/device", fields | {"decision": "approve"})
    assert done.status == 200 and "connected" in done.text
    pair = json.loads(poll(site, app, started["device_code"]).body)
    assert pair["access_token"].startswith("wit_oauth_") and "id_token" in pair

    refused = json.loads(post(site, "/oauth/device_authorization", asked).body)
    page = browser.get(f"/oauth/device?user_code={refused['user_code']}")
    browser.post("/oauth/device", hidden_fields(page.text) | {"decision": "deny"})
    assert error_of(poll(site, app, refused["device_code"])) == (400, "access_denied")
    assert error_of(post(site, "/oauth/device_authorization", {"scope": "repo:read"})) == (
        401, "invalid_client"
    )  # fmt: skip
    bad = {"client_id": app.client_id, "scope": "nonsense"}
    assert error_of(post(site, "/oauth/device_authorization", bad)) == (400, "invalid_scope")
