"""Profile, password and ways to sign in, over HTTP."""

from __future__ import annotations

from tests.web.routes.auth.conftest import PASSWORD, Door

NEW = "another horse battery"


def test_update_user(door: Door) -> None:
    browser = door.sign_up()
    door.sign_up("bob")

    def update(**body):
        reply = browser.post("/api/auth/update-user", body)
        return reply.status, reply.json.get("code", reply.json.get("status"))

    assert update(name="Ada L.", bio="b", website="https://example.org", image=None) == (200, True)
    assert update(username="Countess") == (200, True)
    user = browser.get("/api/auth/get-session").json["user"]
    assert (user["name"], user["bio"], user["image"]) == ("Ada L.", "b", None)
    assert (user["username"], user["displayUsername"]) == ("countess", "Countess")
    assert update() == (400, "NO_FIELDS_TO_UPDATE")
    assert update(role="superadmin") == (400, "NO_FIELDS_TO_UPDATE")
    assert update(email="x@example.org") == (400, "EMAIL_CAN_NOT_BE_UPDATED")
    assert update(username="bob") == (400, "USERNAME_IS_ALREADY_TAKEN_PLEASE_TRY_ANOTHER")
    assert update(username="a b") == (400, "USERNAME_IS_INVALID")
    assert update(website="javascript:alert(1)") == (400, "BAD_REQUEST")
    assert update(name=1) == (400, "VALIDATION_ERROR")


def test_change_password(door: Door) -> None:
    browser = door.sign_up()
    other = door.browser()
    body = {"email": "ada@example.org", "password": PASSWORD}
    other.post("/api/auth/sign-in/email", body)

    def change(**body):
        return browser.post("/api/auth/change-password", body)

    for old, new, code in (
        ("wrong password", NEW, "INVALID_PASSWORD"),
        (PASSWORD, "short", "PASSWORD_TOO_SHORT"),
        (PASSWORD, "x" * 129, "PASSWORD_TOO_LONG"),
    ):
        reply = change(currentPassword=old, newPassword=new)
        assert (reply.status, reply.json["code"]) == (400, code)
    reply = change(currentPassword=PASSWORD, newPassword=NEW)
    assert reply.json["token"] is None and reply.json["user"]["username"] == "ada"
    assert other.get("/api/auth/get-session").json is not None
    before = dict(browser.cookies)
    reply = change(currentPassword=NEW, newPassword=PASSWORD, revokeOtherSessions=True)
    assert browser.cookies != before
    assert other.get("/api/auth/get-session").json is None
    session = browser.get("/api/auth/get-session").json["session"]
    assert session["token"] == reply.json["token"]


def test_ways_to_sign_in(door: Door) -> None:
    browser = door.sign_up()
    (account,) = browser.get("/api/auth/list-accounts").json
    assert account["providerId"] == "credential" and account["scopes"] == []
    assert account["userId"] == account["accountId"]
    assert "password" not in account and "accessToken" not in account
    reply = browser.post("/api/auth/unlink-account", {"providerId": "credential"})
    assert reply.status == 400 and "last way" in reply.json["message"]
    reply = browser.post("/api/auth/unlink-account", {"providerId": "github"})
    assert (reply.status, reply.json["code"]) == (400, "ACCOUNT_NOT_FOUND")
