"""Pages that mails lead to: new accounts, new passwords, invitations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Windows, address
from tests.browser.people import is_signed_in, keys, mailed_link, new_user, sign_in
from tests.support import site as sites_
from tests.support.daemon import PASSWORD, Daemon
from tests.support.site import Run, Site
from tests.web.routes.auth.github import GitHubServer, github_server
from tests.web.routes.oauth.support import sign_in as open_session
from wit.core import Core
from wit.git.names import parse_full_name

NEW = "another horse battery"


@pytest.fixture(scope="package")
def github() -> Iterator[GitHubServer]:
    with github_server() as server:
        yield server


@pytest.fixture(scope="package")
def open_site(
    run: Run, tmp_path_factory: pytest.TempPathFactory, github: GitHubServer
) -> Iterator[Site]:
    """A daemon where everybody may make an account, with GitHub's too."""
    folder = tmp_path_factory.mktemp("site-open")
    settings = {"sign_up": "open", **github.settings}
    environment = {f"WIT_ACCOUNTS_{name.upper()}": value for name, value in settings.items()}
    daemon = Daemon(folder / "data", environment=environment)
    with contextmanager(sites_.open_site)(daemon, folder, run) as site:
        yield site


def invitation(site: Site, email: str) -> str:
    """Path and query of the link in alice's mail."""

    async def work(core: Core) -> str:
        alice = await core.users.by_username("alice")
        return await core.identity.sign_up.invitation_link(email, alice["id"])

    link: str = site.do(work)
    return link[link.index("/register") :]


def test_an_invitation_to_the_site(windows: Windows, site: Site) -> None:
    link = invitation(site, "eve@example.org")
    page = windows(java_script_enabled=False)
    page.goto(link)
    email = page.get_by_label("E-mail address")
    expect(email).to_have_value("eve@example.org")
    expect(email).not_to_be_editable()
    page.get_by_label("User name").fill("bob")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("alert")).to_contain_text("Username is already taken")
    expect(page.get_by_label("User name")).to_have_value("bob")
    page.get_by_label("User name").fill("eve")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("heading")).to_have_text("Welcome, eve")

    other = windows()
    other.goto(link)
    expect(other.get_by_role("alert")).to_contain_text("was used before")


def test_a_site_that_is_not_open_says_why(page: Page) -> None:
    page.goto("/login")
    expect(page.get_by_role("link", name="No account yet?")).to_have_count(0)
    page.goto("/register")
    expect(page.get_by_role("alert")).to_contain_text("You need an invitation")
    expect(page.get_by_role("button")).to_have_count(0)
    page.get_by_role("link", name="Sign in").click()
    expect(page.get_by_role("heading")).to_have_text("Sign in")


def test_a_site_that_is_open(windows: Windows, open_site: Site) -> None:
    page = windows(url=address(open_site))
    page.goto("/login?returnTo=/api/docs")
    page.get_by_role("link", name="No account yet?").click()
    expect(page.get_by_label("User name")).to_be_focused()
    keys(page, "dave", "Tab", "dave@example.org", "Tab", PASSWORD, "Enter")
    page.wait_for_url("**/api/docs")
    is_signed_in(page, "dave")
    page.context.clear_cookies()
    page.goto("/login")
    sign_in(page, "dave")
    expect(page.get_by_role("heading")).to_have_text("Welcome, dave")


def test_signing_in_with_github(
    windows: Windows, open_site: Site, github: GitHubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = windows(url=address(open_site), allowed=(github.url,))
    page.goto("/login?returnTo=/api/docs")
    page.get_by_role("button", name="Sign in with GitHub").click()
    page.wait_for_url("**/api/docs")
    is_signed_in(page, "octo-cat")
    page.context.clear_cookies()
    page.goto("/login")
    monkeypatch.setattr(github, "down", True)
    page.get_by_role("button", name="Sign in with GitHub").click()
    expect(page.get_by_role("alert")).to_contain_text("GitHub did not work")


def test_a_forgotten_password(page: Page, site: Site) -> None:
    name = new_user(site)
    email = f"{name}@example.org"
    page.goto("/login")
    page.get_by_role("link", name="Forgot your password?").click()
    page.get_by_label("E-mail address").fill(email)
    page.get_by_role("button", name="Send the mail").click()
    expect(page.get_by_role("heading")).to_have_text("Look into your mail")
    link = mailed_link(site, email)
    page.goto(link)
    expect(page.get_by_role("heading")).to_have_text("Choose a new password")
    password = page.get_by_label("New password")
    password.fill("short")
    page.get_by_role("button", name="Set the password").click()
    assert password.evaluate("field => !field.validity.valid"), "the browser says why"
    password.fill(NEW)
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_role("heading")).to_have_text("Your password is changed")
    page.get_by_role("link", name="Sign in").click()
    sign_in(page, name, NEW)
    expect(page.get_by_role("heading")).to_have_text(f"Welcome, {name}")

    page.goto(link)
    expect(page.get_by_role("heading")).to_have_text("This link is not good any more")
    page.get_by_role("link", name="Ask for another").click()
    expect(page.get_by_label("E-mail address")).to_be_focused()


def test_nobody_learns_who_has_an_account(page: Page) -> None:
    page.goto("/forgot-password")
    page.get_by_label("E-mail address").fill("nobody@example.org")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading")).to_have_text("Look into your mail")


def invite_to(site: Site, repository: str, email: str, permission: str) -> str:
    """The link of the mail that alice's invitation sends."""

    async def identify(core: Core) -> str:
        return str((await core.repos.get(parse_full_name(repository)))["id"])

    invited = {"repoId": site.do(identify), "email": email, "permission": permission}
    headers = {"Content-Type": "application/json", "Origin": address(site)}
    body = json.dumps({"json": invited}).encode()
    answer = open_session(site)._ask("POST", "/trpc/collaborators.invite", headers, body)
    assert answer.status == 200, answer.text
    return mailed_link(site, email)


def test_an_invitation_to_a_repository(page: Page, site: Site, new_name: str) -> None:
    site.create(new_name)
    name = new_user(site)
    link = invite_to(site, new_name, f"{name}@example.org", "write")
    page.goto(link)
    expect(page.get_by_text("invites you to work on")).to_have_text(
        f"alice invites you to work on {new_name}."
    )
    expect(page.get_by_role("button")).to_have_count(0)
    page.get_by_role("link", name="Sign in to answer").click()
    sign_in(page, name)
    assert page.url == link
    expect(page.get_by_text("You are signed in as")).to_contain_text(name)
    page.get_by_role("button", name="Accept").click()
    expect(page.get_by_text("git clone")).to_have_text(f"git clone {address(site)}/{new_name}.git")

    async def who(core: Core) -> list[str]:
        row = await core.repos.get(parse_full_name(new_name))
        return [one["username"] for one in await core.collaborators.list(row["id"], 10)]

    assert site.do(who) == [name]
    page.goto(link)
    expect(page.get_by_role("alert")).to_contain_text("not valid any more")
    assert link.rpartition("/")[2] not in site.daemon.log().replace(f"{link}\n", "")


def test_declining(page: Page, site: Site, new_name: str) -> None:
    site.create(new_name)
    name = new_user(site)
    link = invite_to(site, new_name, f"{name}@example.org", "read")
    page.goto("/login")
    sign_in(page, name)
    expect(page.get_by_role("heading")).to_have_text(f"Welcome, {name}")
    page.goto(link)
    page.get_by_role("button", name="Decline").click()
    expect(page.get_by_role("heading")).to_have_text("Declined")
    page.goto(link)
    expect(page.get_by_role("heading")).to_have_text("No invitation")


def test_a_bad_link_of_a_verification(page: Page, site: Site) -> None:
    page.goto("/api/auth/verify-email?token=wrong&callbackURL=/")
    assert page.url.startswith(f"{address(site)}/?error=")
    expect(page.get_by_role("alert")).to_contain_text("wrong or too old")
