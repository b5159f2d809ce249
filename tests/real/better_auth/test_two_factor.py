"""Signing in with a second factor, and browsers that are trusted."""

from __future__ import annotations

import time
from urllib.parse import parse_qs, urlsplit

from pyotp import TOTP

from tests.real.better_auth.compare import PASSWORD, Pair, Server, sign_up


def code(server: Server, step: int = 0) -> str:
    return TOTP(server.known["seed"]).at(int(time.time()) + 30 * step)


def test_two_factor(both: Pair) -> None:
    servers = (both.theirs, both.ours)
    both("POST", "/sign-up/email", sign_up("tess"), who="tess")
    for path in ("enable", "disable", "get-totp-uri", "generate-backup-codes"):
        both("POST", f"/two-factor/{path}", {"password": "wrong password"}, who="tess")
        both("POST", f"/two-factor/{path}", {}, who="tess")
        both("POST", f"/two-factor/{path}", {"password": PASSWORD}, who="nobody")
    for path in ("verify-totp", "verify-backup-code"):
        both("POST", f"/two-factor/{path}", {"code": "123456"}, who="tess")
        both("POST", f"/two-factor/{path}", {}, who="tess")
        both("POST", f"/two-factor/{path}", {"code": "123456"}, who="nobody")
    enabled = both("POST", "/two-factor/enable", {"password": PASSWORD}, who="tess")
    for server, reply in zip(servers, enabled, strict=True):
        server.known["seed"] = parse_qs(urlsplit(reply.json["totpURI"]).query)["secret"][0]
        server.known["recovery"] = reply.json["backupCodes"][0]
        server.known["code"] = code(server)
        assert len(reply.json["backupCodes"]) == 10
    both("POST", "/two-factor/get-totp-uri", {"password": PASSWORD}, who="tess")
    both("POST", "/two-factor/verify-totp", {"code": "000000"}, who="tess")
    both("POST", "/two-factor/verify-totp", {"code": "{code}"}, who="tess")
    both("GET", "/get-session", who="tess")
    for path, login in (("email", "tess@example.org"), ("username", "tess")):
        both("POST", f"/sign-in/{path}", {path: login, "password": PASSWORD}, who="step")
        both("GET", "/get-session", who="step")
    both("POST", "/two-factor/verify-totp", {"code": "000000"}, who="step")
    both("POST", "/two-factor/verify-backup-code", {"code": "aaaaa-bbbbb"}, who="step")
    for server in servers:
        server.known["code"] = code(server, 1)
    both("POST", "/two-factor/verify-totp", {"code": "{code}"}, who="step")
    both("GET", "/get-session", who="step")
    body = {"username": "tess", "password": PASSWORD, "rememberMe": False}
    both("POST", "/sign-in/username", body, who="short")
    both("POST", "/two-factor/verify-backup-code", {"code": "{recovery}"}, who="short")
    both("GET", "/get-session", who="short")
    both("POST", "/two-factor/generate-backup-codes", {"password": PASSWORD}, who="step")
    both("POST", "/two-factor/disable", {"password": PASSWORD}, who="step")
    both("POST", "/sign-in/username", {"username": "tess", "password": PASSWORD}, who="done")


def test_trusted_devices(both: Pair) -> None:
    servers = (both.theirs, both.ours)
    both("POST", "/sign-up/email", sign_up("trudy"), who="trudy")
    enabled = both("POST", "/two-factor/enable", {"password": PASSWORD}, who="trudy")
    for server, reply in zip(servers, enabled, strict=True):
        server.known["seed"] = parse_qs(urlsplit(reply.json["totpURI"]).query)["secret"][0]
        server.known["code"] = code(server)
        server.known["recovery"], server.known["other"] = reply.json["backupCodes"][:2]
    both("POST", "/two-factor/verify-totp", {"code": "{code}", "trustDevice": True}, who="trudy")
    login = {"username": "trudy", "password": PASSWORD}
    both("POST", "/sign-in/username", login, who="laptop")
    wrong = {"code": "{recovery}", "trustDevice": "yes"}
    both("POST", "/two-factor/verify-backup-code", wrong, who="laptop")
    trust = {"code": "{recovery}", "trustDevice": True}
    both("POST", "/two-factor/verify-backup-code", trust, who="laptop")
    both("POST", "/sign-out", who="laptop")
    for _ in range(2):
        both("POST", "/sign-in/username", login, who="laptop")
        both("GET", "/get-session", who="laptop")
        both("POST", "/sign-out", who="laptop")
    email = {"email": "trudy@example.org", "password": PASSWORD, "callbackURL": "/home"}
    both("POST", "/sign-in/email", email, who="laptop")
    # A cookie that was used, and that of somebody who is not trusted.
    for server in servers:
        own = server.browser("laptop").cookies
        server.browser("copy").cookies["better-auth.trust_device"] = own["better-auth.trust_device"]
    both("POST", "/sign-in/username", login, who="copy")
    both("POST", "/sign-in/username", login, who="laptop")
    both("POST", "/two-factor/verify-backup-code", {"code": "{other}"}, who="laptop")
    both("POST", "/two-factor/disable", {"password": PASSWORD}, who="copy")
    both("POST", "/sign-in/username", login, who="trudy")
