"""What goes through a mail: a new password, a proved address, another address."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

from tests.real.better_auth.compare import NEW, PASSWORD, Pair, sign_up


def test_password_reset(both: Pair) -> None:
    both("POST", "/sign-up/email", sign_up("lost"), who="lost")
    both("POST", "/request-password-reset", {"email": "nobody@example.org"}, who="nobody")
    both("POST", "/request-password-reset", {"email": "nothing"}, who="nobody")
    evil = {"email": "lost@example.org", "redirectTo": "https://evil.example"}
    both("POST", "/request-password-reset", evil, who="nobody")
    ask = {"email": "lost@example.org", "redirectTo": "/set?a=b"}
    both("POST", "/request-password-reset", ask, who="nobody")
    both.mailed("callbackURL=/set?a=b")
    for server in (both.theirs, both.ours):
        server.known["token"] = urlsplit(server.known["link"]).path.rpartition("/")[2]
    both("GET", "{path}", who="nobody")
    both("GET", "/reset-password/{token}", who="nobody")
    both("GET", "/reset-password/{token}?callbackURL=https://evil.example", who="nobody")
    both("GET", "/reset-password/wrong?callbackURL=/set", who="nobody")
    for body in (
        {"newPassword": NEW, "token": "wrong"},
        {"newPassword": NEW},
        {"newPassword": "short", "token": "{token}"},
        {"token": "{token}"},
        {"newPassword": NEW, "token": "{token}"},
        {"newPassword": NEW, "token": "{token}"},
    ):
        both("POST", "/reset-password", body, who="nobody")
    both("POST", "/sign-in/username", {"username": "lost", "password": NEW}, who="found")


def test_verification(both: Pair) -> None:
    both("POST", "/sign-up/email", sign_up("veri"), who="veri")
    path = "/send-verification-email"
    both("POST", path, {"email": "nobody@example.org"}, who="nobody")
    both("POST", path, {"email": "nothing"}, who="nobody")
    both("POST", path, {"email": "other@example.org"}, who="veri")
    both("POST", path, {"email": "veri@example.org", "callbackURL": "//evil"}, who="nobody")
    both("POST", path, {"email": "veri@example.org", "callbackURL": "/done"}, who="nobody")
    both.mailed("callbackURL=/done")
    for server in (both.theirs, both.ours):
        server.known["token"] = parse_qs(urlsplit(server.known["link"]).query)["token"][0]
    both("GET", "/verify-email?token=wrong", who="nobody")
    both("GET", "/verify-email?token=wrong&callbackURL=/done", who="nobody")
    both("GET", "/verify-email?token={token}&callbackURL=https://evil.example", who="nobody")
    both("GET", "/verify-email", who="nobody")
    both("GET", "{path}", who="opened")
    both("GET", "/get-session", who="opened")
    both("GET", "{path}", who="again")
    both("GET", "/verify-email?token={token}", who="again")
    both("POST", path, {"email": "veri@example.org"}, who="veri")


def token_of_link(both: Pair) -> None:
    for server in (both.theirs, both.ours):
        server.known["token"] = parse_qs(urlsplit(server.known["link"]).query)["token"][0]


def test_change_email(both: Pair) -> None:
    both("POST", "/sign-up/email", sign_up("mover"), who="mover")
    path = "/change-email"
    for body in (
        {"newEmail": "MOVER@example.org"},
        {"newEmail": "ada@example.org"},
        {"newEmail": "nothing"},
        {},
        {"newEmail": "moved@example.org", "callbackURL": "https://evil.example"},
    ):
        both("POST", path, body, who="mover")
    both("POST", path, {"newEmail": "moved@example.org"}, who="nobody")
    # Nobody has proved the old address: the new one is asked at once.
    both("POST", path, {"newEmail": "Moved@example.org", "callbackURL": "/a"}, who="mover")
    both.mailed("callbackURL=/a")
    token_of_link(both)
    both("GET", "/verify-email?token={token}", who="second")
    both("GET", "/get-session", who="second")
    both("GET", "/get-session", who="mover")
    both("GET", "/verify-email?token={token}", who="mover")
    both("GET", "/verify-email?token={token}&callbackURL=/a", who="mover")
    # The proved address is asked first, then the new one.
    both("POST", path, {"newEmail": "again@example.org", "callbackURL": "/b"}, who="mover")
    both.mailed("callbackURL=/b")
    token_of_link(both)
    both("GET", "/verify-email?token={token}", who="ada")
    both("GET", "/verify-email?token={token}&callbackURL=/b", who="mover")
    both.mailed("callbackURL=/b")
    token_of_link(both)
    both("GET", "/verify-email?token={token}&callbackURL=/b", who="mover")
    both("GET", "/get-session", who="mover")
    for email in ("mover@example.org", "moved@example.org", "again@example.org"):
        both("POST", "/sign-in/email", {"email": email, "password": PASSWORD}, who="third")
