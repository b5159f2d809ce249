"""Signing in and out, as people do it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from playwright.sync_api import Page, expect

from tests.browser.conftest import Windows
from tests.browser.people import is_signed_in, keys, new_user, sign_in, with_second_factor
from tests.support.daemon import PASSWORD
from tests.support.site import Site

SESSION = "better-auth.session_token"


def session_cookie(page: Page) -> Mapping[str, Any]:
    (found,) = (one for one in page.context.cookies() if one["name"] == SESSION)
    return found


def test_a_wrong_password_and_the_right_one(page: Page, site: Site) -> None:
    name = new_user(site)
    page.goto("/login?returnTo=/api/docs")
    sign_in(page, name, "not the password")
    expect(page.get_by_role("alert")).to_have_text("Invalid username or password.")
    expect(page.get_by_label("User name")).to_have_value(name)
    expect(page.get_by_label("Password")).to_be_focused()
    expect(page.get_by_label("Password")).to_have_value("")
    sign_in(page, name)
    page.wait_for_url("**/api/docs")
    is_signed_in(page, name)


def test_by_e_mail_address_without_scripts_or_a_mouse(windows: Windows, site: Site) -> None:
    name = new_user(site)
    page = windows(java_script_enabled=False)
    page.goto("/login")
    expect(page.get_by_label("User name")).to_be_focused()
    keys(page, f"{name}@example.org", "Tab", PASSWORD, "Tab", "Space", "Enter")
    page.wait_for_url("**/")
    is_signed_in(page, name)
    cookie = session_cookie(page)
    assert cookie["httpOnly"] and cookie["sameSite"] == "Lax" and cookie["expires"] == -1


def test_staying_signed_in(page: Page, site: Site) -> None:
    page.goto("/login")
    sign_in(page, new_user(site))
    page.wait_for_url("**/")
    assert session_cookie(page)["expires"] > 0


def test_addresses_that_nobody_is_sent_to(windows: Windows, site: Site) -> None:
    for address in ("//example.org/", f"/{'x' * 2048}"):
        page, name = windows(), new_user(site)
        page.goto(f"/login?returnTo={address}")
        sign_in(page, name)
        expect(page.get_by_role("heading")).to_have_text(f"Welcome, {name}")
        assert page.url.endswith(f":{site.daemon.http_port}/")


def test_the_second_factor(windows: Windows, site: Site) -> None:
    name = new_user(site)
    app, recovery_codes = with_second_factor(site, name)
    page = windows()
    page.goto("/login?returnTo=/api/docs")
    sign_in(page, name)
    code = page.get_by_label("Code")
    expect(code).to_be_focused()
    code.fill("000 000" if app.now() != "000000" else "111 111")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("Invalid code.")
    page.get_by_label("Do not ask again").check()
    code.fill(app.now())
    page.keyboard.press("Enter")
    page.wait_for_url("**/api/docs")
    is_signed_in(page, name)
    page.goto("/login")
    sign_in(page, name)
    expect(page.get_by_role("heading")).to_have_text(f"Welcome, {name}")

    other = windows()
    for text, outcome in ((recovery_codes[0], ""), (recovery_codes[0], "Invalid backup code.")):
        other.context.clear_cookies()
        other.goto("/login")
        sign_in(other, name)
        other.get_by_label("Code").fill(text)
        other.get_by_role("button", name="Verify").click()
        if outcome:
            expect(other.get_by_role("alert")).to_have_text(outcome)
        else:
            is_signed_in(other, name)


def test_a_second_step_that_took_too_long(page: Page, site: Site) -> None:
    name = new_user(site)
    app, _ = with_second_factor(site, name)
    page.goto("/login?returnTo=/api/docs")
    sign_in(page, name)
    expect(page.get_by_label("Code")).to_be_visible()
    page.context.clear_cookies()
    page.get_by_label("Code").fill(app.now())
    page.get_by_role("button", name="Verify").click()
    expect(page.get_by_role("alert")).to_contain_text("Sign in with your password again")
    page.goto("/login/code?returnTo=/api/docs")
    expect(page.get_by_role("heading")).to_have_text("Sign in")
    with_second_factor(site, name)
    sign_in(page, name)
    page.get_by_role("link", name="Sign in as somebody else").click()
    assert page.url.endswith("/login?returnTo=%2Fapi%2Fdocs")


def test_signing_out(page: Page, site: Site) -> None:
    name = new_user(site)
    page.goto("/login")
    sign_in(page, name)
    page.get_by_role("link", name="Sign out").click()
    kept = page.context.cookies()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading")).to_have_text("You are signed out")
    assert page.context.cookies() == []
    page.context.add_cookies(kept)  # type: ignore[arg-type]
    page.goto("/")
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
