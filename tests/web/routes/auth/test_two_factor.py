"""Two-factor sign-in over HTTP."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from pyotp import TOTP

from tests.web.routes.auth.conftest import PASSWORD, Door

TWO_FACTOR = "better-auth.two_factor"
SESSION = "better-auth.session_token"
TRUST_DEVICE = "better-auth.trust_device"


def enrol(door: Door, browser):
    """Setting it up; the seed and the recovery codes."""
    said = browser.post("/api/auth/two-factor/enable", {"password": PASSWORD}).json
    seed = parse_qs(urlsplit(said["totpURI"]).query)["secret"][0]
    reply = browser.post("/api/auth/two-factor/verify-totp", {"code": code(door, seed)})
    assert reply.status == 200, reply.body
    return seed, said["backupCodes"]


def code(door: Door, seed: str, step: int = 0) -> str:
    return TOTP(seed).at(int(door.world.clock.now().timestamp()) + 30 * step)


def with_password(door: Door, **more):
    browser = door.browser()
    body = {"username": "ada", "password": PASSWORD, **more}
    return browser, browser.post("/api/auth/sign-in/username", body)


def test_from_setting_up_to_giving_up(door: Door) -> None:
    browser = door.sign_up()
    before = dict(browser.cookies)
    seed, recovery = enrol(door, browser)
    assert browser.cookies != before
    assert browser.get("/api/auth/get-session").json["user"]["twoFactorEnabled"] is True

    other, reply = with_password(door)
    assert reply.json == {"twoFactorRedirect": True}
    assert SESSION not in other.cookies
    assert reply.cookies[TWO_FACTOR].attributes["max-age"] == "600"
    assert other.get("/api/auth/get-session").json is None
    wrong = other.post("/api/auth/two-factor/verify-totp", {"code": "000000"})
    assert (wrong.status, wrong.json["code"]) == (401, "INVALID_CODE")
    reply = other.post("/api/auth/two-factor/verify-totp", {"code": code(door, seed, 1)})
    assert reply.json["user"]["username"] == "ada"
    assert TWO_FACTOR not in other.cookies
    session = other.get("/api/auth/get-session").json["session"]
    assert session["token"] == reply.json["token"]

    third, _ = with_password(door, rememberMe=False)
    reply = third.post("/api/auth/two-factor/verify-backup-code", {"code": recovery[0]})
    assert reply.status == 200 and "max-age" not in reply.cookies[SESSION].attributes
    fourth, _ = with_password(door)
    used = fourth.post("/api/auth/two-factor/verify-backup-code", {"code": recovery[0]})
    assert (used.status, used.json["code"]) == (401, "INVALID_BACKUP_CODE")

    same = other.post("/api/auth/two-factor/get-totp-uri", {"password": PASSWORD}).json["totpURI"]
    assert seed in same
    path = "/api/auth/two-factor/generate-backup-codes"
    new = other.post(path, {"password": PASSWORD}).json["backupCodes"]
    assert not set(new) & set(recovery)
    assert other.post("/api/auth/two-factor/disable", {"password": PASSWORD}).json["status"]
    _, reply = with_password(door)
    assert reply.json["token"]


def test_each_change_takes_the_password(door: Door) -> None:
    browser = door.sign_up()
    browser.post("/api/auth/two-factor/enable", {"password": PASSWORD})
    for path in ("enable", "get-totp-uri", "disable"):
        reply = browser.post(f"/api/auth/two-factor/{path}", {"password": "wrong password"})
        assert (reply.status, reply.json["code"]) == (400, "INVALID_PASSWORD")
    assert browser.post("/api/auth/two-factor/disable", {"password": PASSWORD}).status == 200
    for path, code_ in (
        ("generate-backup-codes", "TWO_FACTOR_ISNT_ENABLED"),
        ("get-totp-uri", "TOTP_NOT_ENABLED"),
    ):
        reply = browser.post(f"/api/auth/two-factor/{path}", {"password": PASSWORD})
        assert (reply.status, reply.json["code"]) == (400, code_)
    for path, code_ in (
        ("verify-totp", "TOTP_NOT_ENABLED"),
        ("verify-backup-code", "BACKUP_CODES_ARENT_ENABLED"),
    ):
        reply = browser.post(f"/api/auth/two-factor/{path}", {"code": "123456"})
        assert (reply.status, reply.json["code"]) == (400, code_)


@pytest.mark.attack(51)
@pytest.mark.parametrize("end", ["revoke-sessions", "revoke-other-sessions", "two-factor/disable"])
def test_a_browser_is_trusted_until_its_owner_thinks_better(door: Door, end: str) -> None:
    _, recovery = enrol(door, door.sign_up())
    browser, _ = with_password(door)
    body = {"code": recovery[0], "trustDevice": True}
    reply = browser.post("/api/auth/two-factor/verify-backup-code", body)
    assert reply.cookies[TRUST_DEVICE].attributes["max-age"] == str(30 * 86400)
    login = {"email": "ada@example.org", "password": PASSWORD}
    assert browser.post("/api/auth/sign-in/email", login | {"password": "wrong one"}).status == 401
    assert "token" in browser.post("/api/auth/sign-in/email", login).json
    kept = dict(browser.cookies)
    assert browser.post(f"/api/auth/{end}", {"password": PASSWORD}).json == {"status": True}
    if end == "two-factor/disable":
        enrol(door, browser)
    browser.cookies = kept
    reply = browser.post("/api/auth/sign-in/email", login)
    assert reply.json == {"twoFactorRedirect": True} and reply.cookies[TRUST_DEVICE].deleted


@pytest.mark.attack(51)
def test_the_second_step_needs_the_first(door: Door) -> None:
    seed, _ = enrol(door, door.sign_up())
    browser, _ = with_password(door)
    good = browser.cookies[TWO_FACTOR]
    for cookie in (None, "", good[:-6], good.partition(".")[0], door.world.signer.sign("x" * 32)):
        browser.cookies = {} if cookie is None else {TWO_FACTOR: cookie}
        reply = browser.post("/api/auth/two-factor/verify-totp", {"code": code(door, seed, 1)})
        assert (reply.status, reply.json["code"]) == (401, "INVALID_TWO_FACTOR_COOKIE")
    browser.cookies = {SESSION: good}  # a proof of one step is no session
    assert browser.get("/api/auth/get-session").json is None
    browser.cookies = {TWO_FACTOR: good}
    for _ in range(5):
        reply = browser.post("/api/auth/two-factor/verify-totp", {"code": "000000"})
        assert reply.status == 401
    reply = browser.post("/api/auth/two-factor/verify-totp", {"code": code(door, seed, 1)})
    assert reply.status == 429


@pytest.mark.attack(51)
def test_a_mail_is_no_second_factor(door: Door) -> None:
    browser = door.sign_up()
    enrol(door, browser)
    browser.post("/api/auth/send-verification-email", {"email": "ada@example.org"})
    fresh = door.browser()
    assert fresh.get(door.link()).status == 302
    assert fresh.get("/api/auth/get-session").json is None
