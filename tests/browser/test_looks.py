"""For every page, light and dark: readable, small enough for a phone, labelled, usable by keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Windows
from tests.browser.people import new_user, sign_in
from tests.support.site import Site
from tests.web.routes.oauth.support import authorize, make_app

PAGES = (
    "/",
    "/login",
    "/login?error=expired",
    "/logout",
    "/register",
    "/forgot-password",
    "/reset-password?token=wrong",
    "/invitations/wrong",
    "/oauth/device",
    "/api/docs",
)

SMALL = {"width": 320, "height": 640}

LOW_CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
"""WCAG 2.2, criterion 1.4.3: texts with less than 4.5:1."""


def check(page: Page) -> None:
    low = page.evaluate(LOW_CONTRAST)
    assert low == [], (page.url, low)
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0, f"{page.url} is {wide} pixels too wide for a phone"
    for field in page.locator("input:not([type=hidden])").all():
        named = field.evaluate("field => field.labels.length")
        assert named, f"{page.url}: a field without a label"
    assert page.title() and page.locator("html").get_attribute("lang") == "en"
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("heading", level=1)).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page(windows: Windows, site: Site, scheme: str) -> None:
    page = windows(color_scheme=scheme, viewport=SMALL)
    for path in PAGES:
        page.goto(path)
        if path == "/api/docs":
            expect(page.get_by_role("heading", name="shapes")).to_be_visible()
        check(page)
    long = "A name with averyveryveryveryveryveryveryverylongword"
    app = make_app(site, name=long, description="d" * 200)
    page.goto(authorize(app))
    sign_in(page, new_user(site))
    expect(page.get_by_role("heading")).to_have_text(f"Authorize {long}")
    check(page)
    page.goto("/oauth/device")
    check(page)
    page.goto("/")
    check(page)


def test_the_check_sees_what_is_hard_to_read(page: Page) -> None:
    page.set_content('<p style="color:#999;background:#fff">grey</p><p>black</p>')
    assert [text for text, _ in page.evaluate(LOW_CONTRAST)] == ["grey"]


def test_the_icon(page: Page) -> None:
    answer = page.request.get("/favicon.ico")
    assert answer.ok and answer.headers["content-type"] == "image/svg+xml"
