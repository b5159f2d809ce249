"""What a page of another site can make the browser of somebody do who is signed in here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.attacks.crowd import APP, FRIEND, Crowd
from tests.operations.world import CLOSED, OPEN
from tests.support.browser import Browser, Reply
from tests.support.daemon import PASSWORD

pytestmark = pytest.mark.attack(55)

FOREIGN = (
    "https://evil.example",
    "null",
    "*",
    "https://app.example.evil.example",
    "https://app.example:8443",
    "http://app.example",
    "https://friend.example@evil.example",
    "http://127.0.0.1",
    "http://127.0.0.1:1",
    "file://",
)

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
JSON = {"Content-Type": "application/json"}
ID = "11111111-2222-4333-8444-555555555555"

ACTS: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/trpc/repos.create", {"json": {"name": "forged"}}),
    ("POST", "/trpc/repos.create?batch=1", {"0": {"json": {"name": "forged"}}}),
    ("POST", "/api/repos", {"name": "forged"}),
    ("PATCH", f"/api/repos/{OPEN}", {"description": "forged"}),
    ("DELETE", f"/api/repos/{CLOSED}", None),
    ("POST", f"/api/repos/{CLOSED}/transfer", {"newOwner": "bob", "newOwnerType": "user"}),
    ("PATCH", "/api/v1/user", {"name": "forged"}),
    ("PUT", f"/api/v1/repos/starred/{OPEN}", None),
    ("DELETE", f"/api/v1/repos/{CLOSED}", None),
    ("POST", "/api/auth/update-user", {"name": "forged"}),
    ("POST", "/api/auth/sign-out", {}),
    ("POST", "/api/auth/revoke-sessions", {}),
    ("POST", "/api/auth/change-password", {"currentPassword": PASSWORD, "newPassword": "x" * 12}),
    ("POST", "/oauth/device", "approved=true"),
    ("DELETE", f"/oauth/authorizations/{ID}", None),
    ("POST", "/logout", "x=1"),
)
"""What changes something, on every door that knows cookies, or that might."""


@pytest.fixture(scope="module")
def alice(crowd: Crowd) -> Iterator[Browser]:
    """Signed in, on a page of the site itself."""
    url = f"http://127.0.0.1:{crowd.daemon.http_port}"
    browser = Browser(url, url)
    answer = browser.post(
        "/api/auth/sign-in/email", {"email": "alice@example.org", "password": PASSWORD}
    )
    assert answer.status == 200 and browser.cookies
    yield browser


def sent(page: Browser, origin: str, method: str, path: str, body: Any, **more: str) -> Reply:
    """By a page of ``origin``, with alice's cookies. Nothing that comes back changes these."""
    visitor = Browser(page.url, origin, dict(page.cookies))
    headers = {name.replace("_", "-"): value for name, value in more.items()}
    if isinstance(body, str):
        return visitor.ask(method, path, body.encode(), {**FORM, **headers})
    data = None if body is None else json.dumps(body).encode()
    return visitor.ask(method, path, data, {**JSON, **headers} if data else headers)


def who(page: Browser) -> Any:
    return page.get("/api/auth/get-session").json["user"]


@pytest.mark.parametrize("act", ACTS, ids=lambda act: f"{act[0]} {act[1]}")
def test_no_page_elsewhere_acts(crowd: Crowd, alice: Browser, act: tuple[str, str, Any]) -> None:
    before = who(alice)
    for origin in FOREIGN:
        answer = sent(alice, origin, *act)
        assert answer.status == 403, (origin, answer.status, answer.body)
        assert answer.headers["Access-Control-Allow-Credentials"] is None, origin
    for site in ("cross-site", "same-site"):  # a browser that does not tell the Origin
        answer = sent(alice, "", *act, Sec_Fetch_Site=site)
        assert answer.status == 403, (site, answer.status, answer.body)
    assert who(alice) == before
    assert crowd.ask("GET", "/api/v1/repos/alice/forged", crowd.sessions["alice"]).status == 404
    shown = crowd.ask("GET", f"/api/v1/repos/{OPEN}", crowd.sessions["alice"]).json
    assert shown["description"] is None and shown["stargazers_count"] == 0
    assert crowd.ask("GET", f"/api/v1/repos/{CLOSED}", crowd.sessions["alice"]).status == 200


def test_our_own_pages_act(alice: Browser) -> None:
    """The same requests from where they may come from: so it was the origin above."""
    for number, origin in enumerate((alice.url, APP, FRIEND)):
        made = sent(alice, origin, "POST", "/trpc/repos.create", {"json": {"name": f"o{number}"}})
        assert made.status == 200, (origin, made.body)
    for origin in (alice.url, FRIEND):
        changed = sent(alice, origin, "POST", "/api/auth/update-user", {"location": "here"})
        assert changed.status == 200, (origin, changed.body)
    assert sent(alice, APP, "POST", "/api/auth/update-user", {"name": "x"}).status == 403


def test_a_credential_of_the_pages_own(crowd: Crowd, alice: Browser) -> None:
    """A token is no cookie: the page must have it. A wrong one switches the cookie off."""
    evil = "https://evil.example"
    body = {"json": {"name": "by-token"}}
    bearer = f"Bearer {crowd.sessions['alice']}"
    made = sent(alice, evil, "POST", "/trpc/repos.create", body, Authorization=bearer)
    assert made.status == 200
    for wrong in ("Bearer wrong", "Bearer"):
        made = sent(alice, evil, "POST", "/trpc/repos.create", body, Authorization=wrong)
        assert made.status in (401, 403), (wrong, made.body)


def test_the_public_api_knows_no_cookies(alice: Browser) -> None:
    for origin in (alice.url, APP, ""):
        assert sent(alice, origin, "GET", "/api/v1/user", None).status == 401
        answer = sent(alice, origin, "PATCH", "/api/v1/user", {"name": "forged"})
        assert answer.status == 401, (origin, answer.body)


# CORS

PATHS = (
    "/", "/health", "/readyz", "/repos", "/login", "/api/docs", "/api/openapi.json", "/nothing",
    "/trpc/users.me", "/trpc/nothing", f"/api/repos/{OPEN}", "/api/auth/get-session",
    "/api/auth/nothing", "/oauth/userinfo", "/oauth/apps", "/oauth/scopes", "/oauth/jwks",
    "/.well-known/openid-configuration", f"/{OPEN}/info/refs?service=git-upload-pack",
    f"/{CLOSED}/info/refs?service=git-upload-pack", "/api/v1", "/api/v1/user", "/api/v1/nothing",
    f"/api/v1/repos/{CLOSED}", "/oauth/authorize?" + urlencode({"client_id": "x"}),
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_who_may_read_an_answer(alice: Browser, path: str) -> None:
    """Credentials for the configured origin alone, and never together with ``*``."""
    public = path.startswith("/api/v1")
    for origin in (*FOREIGN, FRIEND, APP, ""):
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = sent(alice, origin, "GET", path, None, **headers)
            allowed = answer.headers.get_all("Access-Control-Allow-Origin", [])
            credentials = answer.headers.get_all("Access-Control-Allow-Credentials", [])
            if origin == APP and not public:
                assert (allowed, credentials) == ([APP], ["true"]), (origin, answer.headers)
            else:
                assert (allowed, credentials) in ((["*"], []), ([], [])), (origin, answer.headers)
            if not public:
                assert "Origin" in answer.headers["Vary"], "a cache must tell origins apart"


@pytest.mark.parametrize("path", PATHS)
def test_preflights(alice: Browser, path: str) -> None:
    public = path.startswith("/api/v1")
    asking = {
        "Access_Control_Request_Method": "PATCH",
        "Access_Control_Request_Headers": "authorization,content-type",
    }
    for origin in (*FOREIGN, APP):
        answer = sent(alice, origin, "OPTIONS", path, None, **asking)
        assert answer.status == 204 and not answer.body
        allowed = answer.headers.get_all("Access-Control-Allow-Origin", [])
        if origin == APP and not public:
            assert allowed == [APP]
            assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        else:
            assert allowed == ["*"]
            assert answer.headers["Access-Control-Allow-Credentials"] is None
        assert "PATCH" in answer.headers["Access-Control-Allow-Methods"]
        assert "*" not in answer.headers["Access-Control-Allow-Headers"]


def test_a_page_cannot_send_json_without_asking(alice: Browser) -> None:
    """The types that a form can send are none that a door takes: there is always a preflight."""
    body = b'{"json":{"name":"forged"}}'
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        page = Browser(alice.url, alice.url, dict(alice.cookies))
        for path in ("/trpc/repos.create", "/api/repos", "/api/auth/update-user"):
            headers = {"Content-Type": kind} if kind else {}
            answer = page.ask("POST", path, body, headers)
            assert answer.status in (400, 415), (path, kind, answer.body)
