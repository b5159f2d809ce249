"""Links in mails: they lead where they should and nowhere else."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.accounts.identity import SITE
from tests.web.routes.auth.conftest import PASSWORD, Door

NEW = "another horse battery"

ELSEWHERE = [
    "https://evil.example/",
    "https://app.example.org.evil.example/",
    "https://app.example.org@evil.example/",
    "http://app.example.org/",
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "/%2fevil.example",
    "/%5cevil.example",
    "/\tevil.example",
    "/ok\r\nSet-Cookie: a=b",
    "javascript:alert(1)",
    "data:text/html,x",
    "https:evil.example",
    "evil.example",
    " https://app.example.org/",
    "https://app.example.org\\@evil.example/",
]


def ask_for_reset(door: Door, **more):
    body = {"email": "ada@example.org", **more}
    return door.browser().post("/api/auth/request-password-reset", body)


def test_a_forgotten_password(door: Door) -> None:
    lost = door.sign_up()
    reply = ask_for_reset(door, redirectTo="https://app.example.org/reset?a=b#c")
    assert reply.json["status"] is True
    link = door.link()
    browser = door.browser()
    reply = browser.get(link)
    assert reply.status == 302 and reply.headers["Referrer-Policy"] == "no-referrer"
    place = urlsplit(reply.headers["Location"])
    assert (place.netloc, place.path, place.fragment) == ("app.example.org", "/reset", "c")
    query = parse_qs(place.query)
    assert query["a"] == ["b"]
    (token,) = query["token"]
    for body, code in (
        ({"token": token, "newPassword": "short"}, "PASSWORD_TOO_SHORT"),
        ({"token": token, "newPassword": "x" * 129}, "PASSWORD_TOO_LONG"),
        ({"token": "x" * 24, "newPassword": NEW}, "INVALID_TOKEN"),
        ({"newPassword": NEW}, "INVALID_TOKEN"),
        ({"token": token}, "VALIDATION_ERROR"),
    ):
        reply = browser.post("/api/auth/reset-password", body)
        assert (reply.status, reply.json["code"]) == (400, code)
    body = {"token": token, "newPassword": NEW}
    assert browser.post("/api/auth/reset-password", body).json == {"status": True}
    assert lost.get("/api/auth/get-session").json is None
    assert browser.post("/api/auth/reset-password", body).json["code"] == "INVALID_TOKEN"
    body = {"email": "ada@example.org", "password": NEW}
    assert browser.post("/api/auth/sign-in/email", body).status == 200
    location = browser.get(link).headers["Location"]
    assert parse_qs(urlsplit(location).query)["error"] == ["INVALID_TOKEN"]


def test_the_other_name_of_the_route(door: Door) -> None:
    door.sign_up()
    reply = door.browser().post("/api/auth/forget-password", {"email": "Ada@Example.org"})
    assert reply.json["status"] is True
    link = door.link()
    reply = door.browser().get(link)
    assert reply.headers["Location"].startswith(f"{SITE}/reset-password?token=")
    reply = door.browser().get(link.replace("?", "x?"))
    assert reply.headers["Location"] == f"{SITE}/reset-password?error=INVALID_TOKEN"


@pytest.mark.attack(51)
def test_the_answer_does_not_tell_who_has_an_account(door: Door) -> None:
    door.sign_up()
    for path in ("request-password-reset", "send-verification-email"):
        known, unknown = (
            door.browser().post(f"/api/auth/{path}", {"email": email})
            for email in ("ada@example.org", "nobody@example.org")
        )
        assert (known.status, known.json) == (unknown.status, unknown.json)
    assert len(door.run(door.world.posted())) == 2


@pytest.mark.attack(56)
@pytest.mark.parametrize("address", ELSEWHERE)
def test_nobody_is_sent_elsewhere(door: Door, address: str) -> None:
    browser = door.browser()
    body = {"email": "ada@example.org", "password": PASSWORD, "provider": "github", "name": "x"}
    for path, field, code in (
        ("request-password-reset", "redirectTo", "INVALID_REDIRECTURL"),
        ("send-verification-email", "callbackURL", "INVALID_CALLBACKURL"),
        ("sign-in/email", "callbackURL", "INVALID_CALLBACKURL"),
        ("sign-up/email", "callbackURL", "INVALID_CALLBACKURL"),
        ("sign-in/social", "callbackURL", "INVALID_CALLBACKURL"),
        ("sign-in/social", "errorCallbackURL", "INVALID_ERRORCALLBACKURL"),
        ("sign-in/social", "newUserCallbackURL", "INVALID_NEWUSERCALLBACKURL"),
    ):
        reply = browser.post(f"/api/auth/{path}", {**body, field: address})
        assert (reply.status, reply.json["code"]) == (403, code)
        assert reply.headers["Location"] is None
    for path in ("verify-email?token=x&", "reset-password/x?"):
        reply = browser.get(f"/api/auth/{path}callbackURL={_quoted(address)}")
        assert (reply.status, reply.json["code"]) == (403, "INVALID_CALLBACKURL")
        assert reply.headers["Location"] is None


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


@pytest.mark.attack(50)
def test_links_do_not_follow_the_host_header(door: Door) -> None:
    door.sign_up()
    evil = {"Host": "evil.example", "X-Forwarded-Host": "evil.example"}
    body = {"email": "ada@example.org", "redirectTo": "/reset"}
    door.browser().post("/api/auth/request-password-reset", body, evil)
    assert "evil" not in door.link()


def test_verifying_an_address_signs_in_once(door: Door) -> None:
    browser = door.sign_up()
    body = {"email": "ada@example.org", "callbackURL": "/welcome"}
    assert browser.post("/api/auth/send-verification-email", body).json == {"status": True}
    link = door.link()
    fresh = door.browser()
    reply = fresh.get(link)
    assert (reply.status, reply.headers["Location"]) == (302, "/welcome")
    assert fresh.get("/api/auth/get-session").json["user"]["emailVerified"] is True
    again = door.browser()
    assert again.get(link).headers["Location"] == "/welcome"
    assert again.get("/api/auth/get-session").json is None
    for email, code in (
        ("ada@example.org", "EMAIL_IS_ALREADY_VERIFIED"),
        ("other@example.org", "EMAIL_MISMATCH"),
    ):
        reply = browser.post("/api/auth/send-verification-email", {"email": email})
        assert (reply.status, reply.json["code"]) == (400, code)


def test_verification_without_a_page_answers_json(door: Door) -> None:
    browser = door.sign_up()
    browser.post("/api/auth/send-verification-email", {"email": "ada@example.org"})
    token = parse_qs(urlsplit(door.link()).query)["token"][0]
    reply = door.browser().get(f"/api/auth/verify-email?token={token}")
    assert reply.json["status"] is True and reply.json["user"]["emailVerified"] is True
    assert door.browser().get(f"/api/auth/verify-email?token={token}").json["user"] is None
    reply = door.browser().get("/api/auth/verify-email?token=wrong")
    assert (reply.status, reply.json["code"]) == (401, "INVALID_TOKEN")
    reply = door.browser().get("/api/auth/verify-email?token=wrong&callbackURL=/x")
    assert reply.headers["Location"] == "/x?error=invalid_token"
    assert door.browser().get("/api/auth/verify-email").json["code"] == "VALIDATION_ERROR"
