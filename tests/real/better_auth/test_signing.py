"""Signing up, in and out, and what is refused."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.real.better_auth.compare import PASSWORD, Pair, sign_up


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


def test_forms(both: Pair) -> None:
    """Of pages without a script: only where better-auth takes them, and all fields are texts."""
    right = {"email": "ada@example.org", "password": PASSWORD}
    both("POST", "/sign-in/email", right, who="form", form=True)
    both("GET", "/get-session", who="form")
    both("POST", "/update-user", {"name": "x"}, who="form", form=True)
    both("POST", "/sign-up/email", sign_up("formed"), who="formed", form=True)
    for more in ({"password": "wrong password"}, {"rememberMe": "false"}):
        both("POST", "/sign-in/email", right | more, who="nobody", form=True)
    both("POST", "/sign-in/username", {"username": "ada"}, who="nobody", form=True)
    for site in ("same-origin", "cross-site"):
        for origin in (None, "https://evil.example"):
            headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
            headers |= {"Origin": origin} if origin else {}
            both("POST", "/sign-in/email", right, who="nobody", headers=headers, form=True)


def test_user_names(both: Pair) -> None:
    for name in ("ada", "free", "ab", "a b", "x" * 40, ""):
        both("POST", "/is-username-available", {"username": name}, who="nobody")
    both("POST", "/is-username-available", {}, who="nobody")


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
