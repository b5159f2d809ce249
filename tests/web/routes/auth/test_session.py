"""The list of sessions, refreshing and revoking, over HTTP."""

from __future__ import annotations

import pytest

from tests.web.routes.auth.conftest import PASSWORD, Door

SESSION = "better-auth.session_token"


def another(door: Door):
    browser = door.browser()
    body = {"email": "ada@example.org", "password": PASSWORD}
    assert browser.post("/api/auth/sign-in/email", body).status == 200
    return browser


def alive(browser) -> bool:
    return browser.get("/api/auth/get-session").json is not None


@pytest.mark.attack(51)
def test_the_list_shows_no_other_sessions_secret(door: Door) -> None:
    own, other = door.sign_up(), another(door)
    listed = own.get("/api/auth/list-sessions").json
    secrets = {browser.cookies[SESSION].partition(".")[0] for browser in (own, other)}
    assert len(listed) == 2
    shown = {entry["token"] for entry in listed}
    assert own.cookies[SESSION].partition(".")[0] in shown
    assert len(secrets & shown) == 1
    (handle,) = shown - secrets
    stranger = door.browser()
    stranger.cookies[SESSION] = door.world.signer.sign(handle)
    assert not alive(stranger)
    for entry in listed:
        assert entry["userAgent"] == "a browser" and entry["ipAddress"] == "127.0.0.1"
    assert own.post("/api/auth/revoke-session", {"token": handle}).json == {"status": True}
    assert not alive(other) and alive(own)


def test_who_is_signed_in_is_told_to_programs_that_share_the_secret(door: Door) -> None:
    """For five minutes, unless it is too long for a cookie; and wit itself never believes it."""
    name = "better-auth.session_data"
    browser = door.sign_up()
    reply = browser.get("/api/auth/get-session")
    assert name not in reply.cookies, "the browser has it"
    browser.cookies[name] = "forged"
    assert browser.get("/api/auth/get-session").json["user"]["username"] == "ada"
    del browser.cookies[name]
    reply = browser.get("/api/auth/get-session")
    assert reply.cookies[name].attributes["max-age"] == "300"
    assert len(reply.headers["Set-Cookie"]) < 4096
    reply = browser.post(
        "/api/auth/update-user", {"bio": "ü" * 500, "image": f"https://{'x' * 1900}"}
    )
    assert reply.json == {"status": True} and reply.cookies[name].deleted
    assert alive(browser)


def test_revoking(door: Door) -> None:
    own, two, three = door.sign_up(), another(door), another(door)
    bob = door.sign_up("bob")
    secret = bob.cookies[SESSION].partition(".")[0]
    assert own.post("/api/auth/revoke-session", {"token": secret}).json == {"status": True}
    assert alive(bob)
    assert own.post("/api/auth/revoke-session", {}).json["code"] == "VALIDATION_ERROR"
    assert own.post("/api/auth/revoke-other-sessions").json == {"status": True}
    assert (alive(own), alive(two), alive(three)) == (True, False, False)
    two = another(door)
    assert two.post("/api/auth/revoke-sessions").json == {"status": True}
    assert not alive(own) and not alive(two) and alive(bob)


def test_without_a_session_there_is_nothing(door: Door) -> None:
    browser = door.browser()
    for method, path in (
        ("GET", "list-sessions"),
        ("GET", "list-accounts"),
        ("POST", "revoke-session"),
        ("POST", "revoke-sessions"),
        ("POST", "revoke-other-sessions"),
        ("POST", "update-user"),
        ("POST", "change-password"),
        ("POST", "link-social"),
        ("POST", "unlink-account"),
        ("POST", "two-factor/enable"),
        ("POST", "two-factor/disable"),
        ("POST", "two-factor/get-totp-uri"),
        ("POST", "two-factor/generate-backup-codes"),
    ):
        reply = (
            browser.get(f"/api/auth/{path}")
            if method == "GET"
            else browser.post(f"/api/auth/{path}", {"password": "x", "token": "x"})
        )
        assert (reply.status, reply.body) == (401, b""), path


def test_a_session_is_refreshed_when_it_is_a_day_old(door: Door) -> None:
    browser = door.sign_up()
    before = browser.get("/api/auth/get-session")
    assert not before.cookies
    door.world.clock.advance(days=2)
    assert not browser.get("/api/auth/get-session?disableRefresh=true").cookies
    after = browser.get("/api/auth/get-session")
    assert after.json["session"]["expiresAt"] > before.json["session"]["expiresAt"]
    assert after.cookies[SESSION].attributes["max-age"] == "2592000"
    door.world.clock.advance(days=31)
    assert browser.get("/api/auth/get-session").json is None
    assert SESSION not in browser.cookies


def test_a_session_that_ends_with_the_browser_is_not_prolonged(door: Door) -> None:
    browser = door.sign_up(rememberMe=False)
    door.world.clock.advance(hours=23)
    assert not browser.get("/api/auth/get-session").cookies
    door.world.clock.advance(hours=2)
    assert browser.get("/api/auth/get-session").json is None
