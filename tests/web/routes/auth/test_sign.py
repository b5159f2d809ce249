"""Signing up, in and out, over HTTP."""

from __future__ import annotations

import pytest

from tests.web.routes.auth.conftest import PASSWORD, Door, Make

SESSION = "better-auth.session_token"


def sign_in(door: Door, **body):
    return door.browser().post(
        "/api/auth/sign-in/email",
        {"email": "ada@example.org", "password": PASSWORD, **body},
    )


def test_a_session_from_sign_up_to_sign_out(door: Door) -> None:
    browser = door.sign_up(bio="b", avatarUrl="https://example.org/a.png")
    said = browser.get("/api/auth/get-session").json
    assert said["user"]["username"] == "ada" and said["user"]["bio"] == "b"
    assert said["session"]["userId"] == said["user"]["id"]
    assert browser.cookies[SESSION].startswith(said["session"]["token"] + ".")
    cookies = dict(browser.cookies)
    assert browser.post("/api/auth/sign-out").json == {"success": True}
    assert browser.cookies == {}
    assert browser.get("/api/auth/get-session").json is None
    browser.cookies = cookies
    reply = browser.get("/api/auth/get-session")
    assert reply.json is None and reply.cookies[SESSION].deleted


def test_the_cookie(door: Door, make_door: Make) -> None:
    reply = sign_in_after_sign_up(door)
    cookie = reply.cookies[SESSION]
    assert cookie.attributes == {
        "max-age": "2592000", "path": "/", "httponly": "", "samesite": "Lax",
    }  # fmt: skip
    assert reply.headers["Cache-Control"] == "no-store"
    reply = sign_in(door, rememberMe=False)
    assert "max-age" not in reply.cookies[SESSION].attributes
    assert reply.cookies["better-auth.dont_remember"].value.startswith("true.")
    with_domain = make_door(cookie_domain="example.org")
    assert sign_in(with_domain).cookies[SESSION].attributes["domain"] == "example.org"


def sign_in_after_sign_up(door: Door):
    door.sign_up()
    return sign_in(door)


@pytest.mark.attack(51)
def test_a_forged_or_foreign_cookie_is_nobody(door: Door) -> None:
    browser = door.sign_up()
    good = browser.cookies[SESSION]
    token, _, signature = good.partition(".")
    for forged in (
        token,
        f"{token}.",
        f"{token}.{signature[:-4]}AAA%3D",
        f"{token[::-1]}.{signature}",
        f"{token}%00.{signature}",
        good.upper(),
        "%FF",
        "." * 5000,
    ):
        browser.cookies = {SESSION: forged}
        assert browser.get("/api/auth/get-session").json is None, forged
    browser.cookies = {"__Secure-better-auth.session_token": good}
    assert browser.get("/api/auth/get-session").json is None


@pytest.mark.attack(51)
def test_a_session_that_somebody_planted_is_not_taken_over(door: Door) -> None:
    """Session fixation: signing in makes a new secret, whatever the browser brought along."""
    planted = door.sign_up("mallory").cookies[SESSION]
    door.sign_up()
    browser = door.browser()
    browser.cookies[SESSION] = planted
    body = {"email": "ada@example.org", "password": PASSWORD}
    assert browser.post("/api/auth/sign-in/email", body).status == 200
    assert browser.cookies[SESSION] != planted
    other = door.browser()
    other.cookies[SESSION] = planted
    assert other.get("/api/auth/get-session").json["user"]["username"] == "mallory"


@pytest.mark.attack(51)
def test_a_wrong_password_and_an_unknown_name_look_alike(door: Door) -> None:
    door.sign_up()
    for path, field, known, unknown in (
        ("email", "email", "ada@example.org", "nobody@example.org"),
        ("username", "username", "ada", "nobody"),
    ):
        replies = [
            door.browser().post(f"/api/auth/sign-in/{path}", {field: name, "password": "wrong one"})
            for name in (known, unknown)
        ]
        assert {reply.status for reply in replies} == {401}
        assert replies[0].json == replies[1].json
        assert not replies[0].cookies and not replies[1].cookies


@pytest.mark.attack(51)
def test_guessing_is_slowed_down(door: Door) -> None:
    door.sign_up()
    replies = [sign_in(door, password=f"wrong password {number}") for number in range(6)]
    assert [reply.status for reply in replies] == [401] * 5 + [429]
    assert int(replies[-1].headers["X-Retry-After"]) > 0
    assert replies[-1].json["code"] == "TOO_MANY_REQUESTS"
    assert sign_in(door).status == 429


def test_a_suspended_user_is_told_why(door: Door) -> None:
    browser = door.sign_up()
    user = browser.get("/api/auth/get-session").json["user"]
    door.run(door.world.accounts.users.suspend(user["id"], "spam"))
    assert browser.get("/api/auth/get-session").json is None
    assert browser.get("/api/auth/list-sessions").status == 401
    reply = sign_in(door)
    assert reply.status == 403 and "spam" in reply.json["message"]


def test_sign_up_that_is_closed(make_door: Make) -> None:
    door = make_door(sign_up="closed")
    body = {"name": "A", "email": "a@example.org", "password": PASSWORD}
    reply = door.browser().post("/api/auth/sign-up/email", body)
    assert (reply.status, reply.json["code"]) == (403, "FORBIDDEN")


@pytest.mark.attack(45)
@pytest.mark.parametrize("path", ["sign-out", "update-user", "sign-in/email", "two-factor/disable"])
def test_pages_of_others_cannot_act_with_our_cookies(door: Door, path: str) -> None:
    browser = door.sign_up()
    for origin, code in (
        ("https://evil.example", "INVALID_ORIGIN"),
        ("https://app.example.org.evil.example", "INVALID_ORIGIN"),
        ("http://app.example.org", "INVALID_ORIGIN"),
        ("null", "MISSING_OR_NULL_ORIGIN"),
        ("", "MISSING_OR_NULL_ORIGIN"),
    ):
        browser.origin = origin
        reply = browser.post(f"/api/auth/{path}", {"name": "x"})
        assert (reply.status, reply.json["code"]) == (403, code)
    browser.origin = ""
    referer = {"Referer": "https://evil.example/page"}
    assert browser.post(f"/api/auth/{path}", {}, referer).json["code"] == "INVALID_ORIGIN"
    assert browser.get("/api/auth/get-session").json is not None


def test_our_own_pages_may(door: Door) -> None:
    browser = door.sign_up()
    for origin in ("https://app.example.org", "http://localhost:3000", door.url):
        browser.origin = origin
        assert browser.post("/api/auth/update-user", {"bio": origin}).json == {"status": True}


@pytest.mark.attack(45)
def test_no_page_signs_somebody_in_as_somebody_else(door: Door) -> None:
    door.sign_up()
    body = {"email": "ada@example.org", "password": PASSWORD}
    navigation = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    evil = door.browser("https://evil.example")
    reply = evil.post("/api/auth/sign-in/email", body, navigation)
    assert reply.status == 403 and reply.json["code"].startswith("CROSSSITE_NAVIGATION")
    reply = evil.post("/api/auth/sign-in/email", body, {"Sec-Fetch-Site": "cross-site"})
    assert reply.json["code"] == "INVALID_ORIGIN"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = evil.ask("POST", "/api/auth/sign-in/email", b"email=a&password=b", form)
    assert reply.json["code"] == "INVALID_ORIGIN", "a browser that tells no more than that"
    reply = door.browser().ask("POST", "/api/auth/sign-in/username", b"username=a", form)
    assert reply.status == 415
    text = {"Content-Type": "text/plain"}
    assert door.browser().ask("POST", "/api/auth/sign-in/email", b"{}", text).status == 415


def test_what_is_not_there(door: Door) -> None:
    browser = door.browser()
    for method, path in (
        ("GET", "/api/auth/nothing"),
        ("GET", "/api/auth/sign-in/email"),
        ("POST", "/api/auth/get-session"),
        ("DELETE", "/api/auth/ok"),
        ("GET", "/api/auth/reset-password/a%2Fb"),
    ):
        reply = browser.ask(method, path, b"" if method == "POST" else None)
        assert (reply.status, reply.body) == (404, b""), path
    assert browser.get("/api/auth/ok").json == {"ok": True}


def test_bodies_that_are_none(door: Door) -> None:
    browser = door.browser()
    as_json = {"Content-Type": "application/json"}
    for body in (b"", b"[]", b"1", b"null", b'"x"', b"{", b"\xff", b"[" * 30_000, b'{"email":1}'):
        reply = browser.ask("POST", "/api/auth/sign-in/email", body, as_json)
        assert (reply.status, reply.json["code"]) == (400, "VALIDATION_ERROR"), body[:20]
    reply = browser.ask("POST", "/api/auth/sign-in/email", b" " * 70_000, as_json)
    assert reply.status == 413
    odd = {"email": "\x00@example.org", "password": "\ud800" * 9}
    assert browser.post("/api/auth/sign-in/email", odd).status == 400
    odd = {"username": "ada", "password": "\ud800" * 9}
    assert browser.post("/api/auth/sign-in/username", odd).status == 401
