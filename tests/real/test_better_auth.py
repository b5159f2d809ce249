"""The auth door beside a real better-auth server, answer by answer; and better-auth's own client
against the door."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest
from pyotp import TOTP

from tests.mail.server import SmtpServer, smtp_server
from tests.support.browser import Browser, Reply
from tests.support.daemon import Daemon, free_port, wait_until

NODE = Path(__file__).parent / "node"
PASSWORD = "correct horse battery"
NEW = "another horse battery"
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_LINK = re.compile(r"http://\S+/api/auth/\S+")


@attrs.define
class Server:
    """One of the two: where it is, and the links in its mails."""

    url: str
    links: Callable[[], list[str]]
    browsers: dict[str, Browser] = attrs.field(factory=dict)
    known: dict[str, str] = attrs.field(factory=dict)
    """What later steps need of earlier answers."""

    def browser(self, name: str) -> Browser:
        return self.browsers.setdefault(name, Browser(self.url, self.url))


def node(*arguments: str) -> list[str]:
    assert (NODE / "node_modules").exists(), "run `scripts/setup dev .venv`: it runs npm ci"
    return ["node", *arguments]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("better-auth") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            node(str(NODE / "auth_server.mjs"), str(port), url),
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, "WITH_GITHUB": "1", "NODE_ENV": "production"},
        )  # fmt: skip

    def links() -> list[str]:
        with urllib.request.urlopen(f"{url}/mails", timeout=10) as answer:
            return list(json.load(answer))

    try:
        wait_until(lambda: "listening" in log.read_text(), 30, "the start of better-auth")
        yield Server(url, links)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="module")
def smtp() -> Iterator[SmtpServer]:
    with smtp_server() as server:
        yield server


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, smtp: SmtpServer) -> Iterator[Daemon]:
    daemon = Daemon(
        tmp_path_factory.mktemp("auth") / "data",
        environment={
            "WIT_ACCOUNTS_SIGN_UP": "open",
            "WIT_ACCOUNTS_ATTEMPTS_PER_MINUTE": "1000",
            "WIT_ACCOUNTS_FAILURES_PER_MINUTE": "1000",
            "WIT_MAIL_SMTP": smtp.url,
            "GITHUB_CLIENT_ID": "id",
            "GITHUB_CLIENT_SECRET": "secret",
        },
    )
    daemon.environment["AUTH_BASE_URL"] = daemon.url().rstrip("/")
    daemon.start()
    yield daemon
    assert daemon.stop() == 0, daemon.log()


@pytest.fixture(scope="module")
def ours(daemon: Daemon, smtp: SmtpServer) -> Server:
    def links() -> list[str]:
        texts = (mail.replace(b"=\r\n", b"").replace(b"=3D", b"=").decode() for mail in smtp.mails)
        return [link for text in texts for link in _LINK.findall(text)]

    return Server(daemon.url().rstrip("/"), links)


# comparing


def shape(value: Any) -> Any:
    """Types instead of values. The memory adapter leaves out what a database has as null."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, str):
        return "date" if _DATE.fullmatch(value) else "str"
    return type(value).__name__


def looks(reply: Reply) -> dict[str, Any]:
    """What must be the same on both sides."""
    body: Any = None
    if reply.body:
        said = reply.json
        body = said
        if reply.status < 400:
            body = shape(said)
        elif said["code"] == "VALIDATION_ERROR":
            body = {**said, "message": "str"}
    location = reply.headers["Location"]
    if location is not None:  # not where the server is, nor secrets, nor what GitHub is asked
        location = re.sub(r"^http://[^/]+|(?<=authorize\?).*|\w{24,}", "", location)
    return {
        "status": reply.status,
        "body": body,
        "cookies": {
            name: (cookie.deleted, cookie.value == "", dict(cookie.attributes))
            for name, cookie in reply.cookies.items()
        },
        "location": location,
    }


@attrs.frozen
class Pair:
    theirs: Server
    ours: Server

    def __call__(
        self, method: str, path: str, body: Any = None, *, who: str = "ada",
        headers: dict[str, str] = {},
    ) -> tuple[Reply, Reply]:  # fmt: skip
        """The same request to both; fails if the answers look different. ``body`` and ``path``
        may have ``{names}`` of what is known."""
        replies = []
        for server in (self.theirs, self.ours):
            filled = {
                key: value.format(**server.known) if isinstance(value, str) else value
                for key, value in (body or {}).items()
            }
            place = f"/api/auth{path.format(**server.known)}"
            browser = server.browser(who)
            if method == "POST":
                replies.append(browser.post(place, filled, headers))
            else:
                replies.append(browser.get(place, headers))
        their, our = replies
        assert looks(our) == looks(their), f"{method} {path} {body}"
        return their, our

    def remember(self, name: str, replies: tuple[Reply, Reply], *keys: Any) -> None:
        for server, reply in zip((self.theirs, self.ours), replies, strict=True):
            value = reply.json
            for key in keys:
                value = value[key]
            server.known[name] = str(value)

    def mailed(self, part: str) -> None:
        """Remember path and query of the newest link with ``part`` as ``link``."""
        for server in (self.theirs, self.ours):

            def newest(server: Server = server) -> str:
                found = [link for link in server.links() if part in link]
                return found[-1] if found else ""

            before = server.known.get("link", "")
            link = wait_until(lambda: newest() != before and newest(), what="the mail")
            server.known["whole link"] = link
            server.known["link"] = link
            server.known["path"] = link.partition("/api/auth")[2]


@pytest.fixture(scope="module")
def both(theirs: Server, ours: Server) -> Pair:
    pair = Pair(theirs, ours)
    pair(
        "POST", "/sign-up/email",
        {"name": "Ada", "email": "Ada@example.org", "password": PASSWORD, "username": "Ada",
         "bio": "b", "location": "here", "website": "https://example.org",
         "avatarUrl": "https://example.org/a.png", "image": "https://example.org/a.png"},
    )  # fmt: skip
    return pair


def sign_up(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name.title(), "email": f"{name}@example.org", "password": PASSWORD,
        "username": name, **more,
    }  # fmt: skip


def test_ok_and_what_is_not_there(both: Pair) -> None:
    both("GET", "/ok")
    both("GET", "/nothing")
    both("POST", "/get-session")
    both("GET", "/sign-in/email")


@pytest.mark.parametrize(
    "body",
    [
        sign_up("x", email="ada@example.org"),
        sign_up("x", username="ada"),
        sign_up("x", username="ab"),
        sign_up("x", username="a" * 40),
        sign_up("x", username="a b"),
        sign_up("x", username="a-b"),
        sign_up("xyz", password="short"),
        sign_up("xyz", password="x" * 129),
        sign_up("xyz", password=""),
        sign_up("xyz", email="nothing"),
        sign_up("xyz", email=1),
        {"email": "a@example.org", "password": PASSWORD},
        {"name": "a", "email": "a@example.org"},
        {"name": "a", "password": PASSWORD},
        {},
        sign_up("xyz", callbackURL="https://evil.example/"),
    ],
)
def test_refused_sign_ups(both: Pair, body: Any) -> None:
    both("POST", "/sign-up/email", body, who="nobody")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("email", {"email": "ada@example.org", "password": "wrong password"}),
        ("email", {"email": "nobody@example.org", "password": PASSWORD}),
        ("email", {"email": "nothing", "password": PASSWORD}),
        ("email", {"email": "ada@example.org"}),
        ("email", {"password": PASSWORD}),
        ("email", {"email": "ada@example.org", "password": 1}),
        ("email", {"email": "ada@example.org", "password": PASSWORD, "rememberMe": "yes"}),
        ("username", {"username": "ada", "password": "wrong password"}),
        ("username", {"username": "nobody", "password": PASSWORD}),
        ("username", {"username": "ab", "password": PASSWORD}),
        ("username", {"username": "a" * 40, "password": PASSWORD}),
        ("username", {"username": "a b", "password": PASSWORD}),
        ("username", {"username": "", "password": PASSWORD}),
        ("username", {"username": "ada"}),
        ("username", {}),
        ("social", {"provider": "gitlab"}),
        ("social", {"provider": "github", "callbackURL": "//evil.example"}),
        ("social", {}),
    ],
)
def test_refused_sign_ins(both: Pair, path: str, body: Any) -> None:
    both("POST", f"/sign-in/{path}", body, who="nobody")


@pytest.mark.parametrize("remember", [None, True, False])
@pytest.mark.parametrize("callback", [None, "/home"])
def test_sign_in_and_out(both: Pair, remember: bool | None, callback: str | None) -> None:
    more: dict[str, Any] = {} if remember is None else {"rememberMe": remember}
    if callback:
        more["callbackURL"] = callback
    for path, login in (("email", "ADA@example.org"), ("username", "ADA")):
        body = {path: login, "password": PASSWORD, **more}
        both("POST", f"/sign-in/{path}", body, who="other")
        both("GET", "/get-session", who="other")
        both("POST", "/sign-out", who="other")
        both("GET", "/get-session", who="other")
        both("POST", "/sign-out", who="other")


def test_user_names(both: Pair) -> None:
    for name in ("ada", "free", "ab", "a b", "x" * 40, ""):
        both("POST", "/is-username-available", {"username": name}, who="nobody")
    both("POST", "/is-username-available", {}, who="nobody")


def test_sessions_and_accounts(both: Pair) -> None:
    both("GET", "/get-session")
    both("GET", "/list-accounts")
    both("POST", "/sign-in/username", {"username": "ada", "password": PASSWORD}, who="second")
    listed = both("GET", "/list-sessions")
    assert [len(reply.json) for reply in listed] == [2, 2]
    own = both("GET", "/get-session")
    for server, reply, session in zip((both.theirs, both.ours), listed, own, strict=True):
        (other,) = {entry["token"] for entry in reply.json} - {session.json["session"]["token"]}
        server.known["other"] = other
    both("POST", "/revoke-session", {"token": "nothing"})
    both("POST", "/revoke-session", {"token": "{other}"})
    both("GET", "/get-session", who="second")
    both("POST", "/revoke-session", {})
    both("POST", "/revoke-other-sessions")
    both("GET", "/get-session")
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


def test_password_reset(both: Pair) -> None:
    both("POST", "/sign-up/email", sign_up("lost"), who="lost")
    both("POST", "/request-password-reset", {"email": "nobody@example.org"}, who="nobody")
    both("POST", "/request-password-reset", {"email": "nothing"}, who="nobody")
    evil = {"email": "lost@example.org", "redirectTo": "https://evil.example"}
    both("POST", "/request-password-reset", evil, who="nobody")
    ask = {"email": "lost@example.org", "redirectTo": "/set?a=b"}
    both("POST", "/request-password-reset", ask, who="nobody")
    both.mailed("/reset-password/")
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
    both.mailed("callbackURL=%2Fdone")
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


def test_origins(both: Pair) -> None:
    for origin in ("https://evil.example", "null", ""):
        headers = {"Origin": origin}
        both("POST", "/sign-out", headers=headers)
        both("POST", "/update-user", {"name": "x"}, headers=headers)
    body = {"email": "ada@example.org", "password": PASSWORD}
    headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    both("POST", "/sign-in/email", body, who="nobody", headers=headers)
    headers["Sec-Fetch-Mode"] = "navigate"
    both("POST", "/sign-in/email", body, who="nobody", headers=headers)
    both("GET", "/get-session")


def test_github(both: Pair) -> None:
    replies = both("POST", "/sign-in/social", {"provider": "github", "callbackURL": "/"}, who="hub")
    for reply in replies:
        query = parse_qs(urlsplit(reply.json["url"]).query)
        assert query["code_challenge_method"] == ["S256"] and query["client_id"] == ["id"]
        assert query["redirect_uri"][0].endswith("/api/auth/callback/github")
    both("GET", "/callback/github?state=wrong&code=x", who="nobody")
    both("POST", "/sign-in/social", {"provider": "github", "disableRedirect": True}, who="hub")


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


def test_better_auths_client(daemon: Daemon, smtp: SmtpServer, tmp_path: Path) -> None:
    """createAuthClient with the plugins username and two-factor, unchanged."""
    done = subprocess.run(
        node(str(NODE / "auth_client.mjs"), daemon.url().rstrip("/")),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("all fine")
