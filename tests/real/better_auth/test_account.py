"""Sessions, the profile and the password of who is signed in."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.real.better_auth.compare import NEW, NODE, PASSWORD, Pair, node, sign_up


def test_sessions_and_accounts(both: Pair) -> None:
    me = "visitor"  # somebody whose sessions no other test counts
    both("POST", "/sign-up/email", sign_up(me), who=me)
    both("GET", "/get-session", who=me)
    both("GET", "/list-accounts", who=me)
    login = {"username": me, "password": PASSWORD}
    both("POST", "/sign-in/username", login, who="visitor elsewhere")
    listed = both("GET", "/list-sessions", who=me)
    assert [len(reply.json) for reply in listed] == [2, 2]
    own = both("GET", "/get-session", who=me)
    for server, reply, session in zip((both.theirs, both.ours), listed, own, strict=True):
        (other,) = {entry["token"] for entry in reply.json} - {session.json["session"]["token"]}
        server.known["other"] = other
    both("POST", "/revoke-session", {"token": "nothing"}, who=me)
    both("POST", "/revoke-session", {"token": "{other}"}, who=me)
    both("GET", "/get-session", who="visitor elsewhere")
    both("POST", "/revoke-session", {}, who=me)
    both("POST", "/revoke-other-sessions", who=me)
    both("GET", "/get-session", who=me)
    for path in ("/list-sessions", "/list-accounts"):
        both("GET", path, who="nobody")
    for path in ("/revoke-session", "/revoke-sessions", "/revoke-other-sessions", "/update-user"):
        both("POST", path, {"token": "x", "name": "x"}, who="nobody")


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Ada L."},
        {"username": "ada.l"},
        {"username": "Ada"},
        {"bio": "c", "image": None},
        {},
        {"email": "x@example.org"},
        {"username": "ab"},
        {"username": "a b"},
    ],
)
def test_update_user(both: Pair, body: Any) -> None:
    both("POST", "/update-user", body)
    both("GET", "/get-session")


def test_change_password(both: Pair) -> None:
    path = "/change-password"
    for old, new in (("wrong password", NEW), (PASSWORD, "short"), (PASSWORD, "x" * 129)):
        both("POST", path, {"currentPassword": old, "newPassword": new})
    both("POST", path, {"newPassword": NEW})
    both("POST", path, {"currentPassword": PASSWORD, "newPassword": NEW}, who="nobody")
    both("POST", path, {"currentPassword": PASSWORD, "newPassword": NEW})
    back = {"currentPassword": NEW, "newPassword": PASSWORD, "revokeOtherSessions": True}
    both("POST", path, back)
    both("GET", "/get-session")


def test_what_is_not_offered(both: Pair) -> None:
    """The contract has no way to delete one's own account."""
    for who in ("ada", "nobody"):
        (their, our) = (
            server.browser(who).post("/api/auth/delete-user", {"password": PASSWORD})
            for server in (both.theirs, both.ours)
        )
        assert {their.status, our.status} <= {401, 404}
    both("GET", "/delete-user/callback?token=x", who="nobody")


def test_the_cache_of_who_is_signed_in(both: Pair) -> None:
    """Written until it is there. wit never believes it; better-auth's own reader does."""
    login = {"username": "ada", "password": PASSWORD}
    both("POST", "/sign-in/username", login, who="cached")
    both("GET", "/get-session", who="cached", cached=True)
    both("POST", "/update-user", {"bio": "Ünïcode \"' \u2028 <\\>"}, who="cached", cached=True)
    browser = both.ours.browser("cached")
    session = browser.get("/api/auth/get-session").json
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    done = subprocess.run(
        node(str(NODE / "session_cache.mjs"), both.ours.known["secret"], cookie),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)
    assert read["session"] == session["session"] and read["user"] == session["user"]
    assert read["user"]["bio"].startswith("Ünïcode")
    browser.post("/api/auth/sign-out")
    browser.cookies["better-auth.session_data"] = cookie.partition("session_data=")[2]
    assert browser.get("/api/auth/get-session").json is None
