"""Signing in with GitHub, against a GitHub of our own."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import select, update

from tests.support.browser import Browser
from tests.web.routes.auth.conftest import PASSWORD, Door, Make
from tests.web.routes.auth.github import GitHubServer
from wit.db.tables import account_credentials, users, verifications

STATE = "better-auth.state"


@pytest.fixture
def hub(make_door: Make, github: GitHubServer) -> Door:
    return make_door(attempts_per_minute=100, **github.settings)


def leave(browser: Browser, path: str = "sign-in/social", **more) -> str:
    """GitHub's address that the browser is sent to."""
    body = {"provider": "github", "callbackURL": "/home", "errorCallbackURL": "/oops", **more}
    reply = browser.post(f"/api/auth/{path}", body)
    assert reply.status == 200 and reply.json["redirect"] is True
    address: str = reply.json["url"]
    assert reply.headers["Location"] == address
    return address


def come_back(browser: Browser, query: str) -> str:
    reply = browser.get(f"/api/auth/callback/github?{query}")
    assert reply.status == 302
    location: str = reply.headers["Location"]
    return location


def sign_in(browser: Browser, github: GitHubServer, **more) -> str:
    return come_back(browser, github.agree(leave(browser, **more)))


def who(browser: Browser):
    said = browser.get("/api/auth/get-session").json
    return said and said["user"]


def verify(door: Door, name: str) -> None:
    statement = update(users).where(users.c.username == name).values(email_verified=True)
    door.run(door.world.accounts.db.execute(statement))


def test_a_new_user_and_again(hub: Door, github: GitHubServer) -> None:
    browser = hub.browser()
    assert sign_in(browser, github, newUserCallbackURL="/new") == "/new"
    assert STATE not in browser.cookies
    user = who(browser)
    assert (user["username"], user["displayUsername"]) == ("octo-cat", "Octo-Cat")
    assert (user["name"], user["email"]) == ("The Octocat", "octo@example.org")
    assert (user["emailVerified"], user["bio"]) == (True, "a cat")
    assert user["image"] == user["avatarUrl"] == "https://avatars.example.org/42"
    (account,) = browser.get("/api/auth/list-accounts").json
    assert (account["providerId"], account["accountId"]) == ("github", "42")
    assert account["scopes"] == ["repo", "user:email"]
    again = hub.browser()
    assert sign_in(again, github) == "/home"
    assert who(again)["id"] == user["id"]


@pytest.mark.attack(57)
def test_the_token_is_sealed(hub: Door, github: GitHubServer) -> None:
    browser = hub.browser()
    sign_in(browser, github)
    (row,) = hub.run(hub.world.accounts.db.fetch_all(select(account_credentials)))
    assert github.tokens[0] not in row["access_token"]
    token = hub.world.identity.linked.token
    assert hub.run(token(who(browser)["id"], "github")) == github.tokens[0]
    sign_in(hub.browser(), github)
    assert hub.run(token(who(browser)["id"], "github")) == github.tokens[1]


@pytest.mark.attack(47)
def test_the_way_back_belongs_to_one_browser_and_one_time(hub: Door, github: GitHubServer) -> None:
    attacker, victim = hub.browser(), hub.browser()
    query = github.agree(leave(attacker))
    assert come_back(victim, query).endswith("/api/auth/error?error=state_mismatch")
    leave(victim)
    assert come_back(victim, query).endswith("?error=state_mismatch")
    assert who(victim) is None
    assert STATE in attacker.cookies
    kept = attacker.cookies[STATE]
    assert come_back(attacker, query) == "/home"
    attacker.cookies[STATE] = kept
    assert come_back(attacker, query).endswith("?error=please_restart_the_process")
    assert come_back(hub.browser(), "code=x").endswith("?error=state_not_found")
    late = hub.browser()
    query = github.agree(leave(late))
    hub.world.clock.advance(minutes=11)
    assert come_back(late, query).endswith("?error=please_restart_the_process")
    (row, *_) = hub.run(hub.world.accounts.db.fetch_all(select(verifications)))
    assert parse_qs(query)["state"][0] not in row["identifier"]


def test_what_can_go_wrong_at_github(hub: Door, github: GitHubServer) -> None:
    browser = hub.browser()
    state = parse_qs(urlsplit(leave(browser)).query)["state"][0]
    location = come_back(browser, f"error=access_denied&state={state}")
    assert location == "/oops?error=access_denied"
    state = parse_qs(urlsplit(leave(browser)).query)["state"][0]
    assert come_back(browser, f"code=wrong&state={state}") == "/oops?error=invalid_code"
    state = parse_qs(urlsplit(leave(browser)).query)["state"][0]
    odd = come_back(browser, f"error=%0d%0aSet-Cookie:x&state={state}")
    assert odd == "/oops?error=unknown"
    github.emails = []
    assert sign_in(browser, github) == "/oops?error=email_not_found"
    github.down = True
    assert sign_in(browser, github) == "/oops?error=unable_to_get_user_info"
    assert who(browser) is None


@pytest.mark.attack(51)
def test_an_account_with_the_same_address_is_not_taken_over(
    hub: Door, github: GitHubServer
) -> None:
    """Neither by who made an account here with another's address, nor from GitHub's side."""
    hub.sign_up("octo")  # octo@example.org, which nobody has proved
    browser = hub.browser()
    assert sign_in(browser, github) == "/oops?error=account_not_linked"
    verify(hub, "octo")
    github.emails[1]["verified"] = False
    assert sign_in(browser, github) == "/oops?error=account_not_linked"
    assert who(browser) is None
    github.emails[1]["verified"] = True
    assert sign_in(browser, github) == "/home"
    assert who(browser)["username"] == "octo"


def test_connecting_and_disconnecting(hub: Door, github: GitHubServer) -> None:
    ada, bob = hub.sign_up(), hub.sign_up("bob")
    assert come_back(ada, github.agree(leave(ada, "link-social"))) == "/home"
    location = come_back(bob, github.agree(leave(bob, "link-social")))
    assert location == "/oops?error=account_already_linked_to_different_user"
    assert len(ada.get("/api/auth/list-accounts").json) == 2
    browser = hub.browser()
    sign_in(browser, github)
    assert who(browser)["username"] == "ada"
    unlink = "/api/auth/unlink-account"
    assert ada.post(unlink, {"providerId": "credential"}).json == {"status": True}
    assert ada.post(unlink, {"providerId": "github"}).status == 400
    body = {"currentPassword": PASSWORD, "newPassword": PASSWORD}
    reply = ada.post("/api/auth/change-password", body)
    assert reply.json["code"] == "CREDENTIAL_ACCOUNT_NOT_FOUND"


def test_a_suspended_user_stays_out(hub: Door, github: GitHubServer) -> None:
    browser = hub.browser()
    sign_in(browser, github)
    hub.run(hub.world.accounts.users.suspend(who(browser)["id"], "spam"))
    assert sign_in(hub.browser(), github) == "/oops?error=account_suspended"


def test_no_new_users_where_sign_up_is_closed(make_door: Make, github: GitHubServer) -> None:
    door = make_door(sign_up="invitation", **github.settings)
    browser = door.browser()
    assert sign_in(browser, github) == "/oops?error=signup_disabled"
    root = door.run(door.world.accounts.users.create("root", "root@example.org", role="admin"))
    door.run(door.world.identity.sign_up.invite("octo@example.org", root["id"]))
    github.emails[1]["verified"] = False
    assert sign_in(browser, github) == "/oops?error=signup_disabled"
    github.emails[1]["verified"] = True
    assert sign_in(browser, github) == "/home"


def test_a_taken_name_gets_a_number(hub: Door, github: GitHubServer) -> None:
    hub.run(hub.world.accounts.users.create("octo-cat", "other@example.org"))
    browser = hub.browser()
    sign_in(browser, github)
    assert who(browser)["username"] == "octo-cat-2"


def test_without_settings_there_is_no_github(make_door: Make) -> None:
    browser = make_door().browser()
    reply = browser.post("/api/auth/sign-in/social", {"provider": "github"})
    assert (reply.status, reply.json["code"]) == (404, "PROVIDER_NOT_FOUND")
    assert browser.get("/api/auth/callback/github?state=x").status == 404
    assert browser.get("/api/auth/callback/gitlab?state=x").status == 404


@pytest.mark.attack(54)
def test_the_page_for_errors_says_a_word(make_door: Make) -> None:
    browser = make_door().browser()
    reply = browser.get("/api/auth/error?error=<script>alert(1)</script>")
    assert reply.headers["Content-Type"].startswith("text/plain")
    assert b"unknown" in reply.body and b"<" not in reply.body
