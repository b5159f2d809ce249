"""The page that shows the API."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from wit.operations.api import wit_api
from wit.operations.openapi import document


def test_every_operation_is_shown(page: Page) -> None:
    api = document(wit_api(), "http://localhost")
    page.goto("/api/docs")
    expect(page.get_by_role("heading", name="shapes")).to_be_visible()
    methods = page.locator("details > summary > .method")
    assert methods.count() == sum(len(item) for item in api["paths"].values())
    assert page.locator("nav li").count() == len(api["tags"]) + 1


def test_looking_something_up(page: Page) -> None:
    page.goto("/api/docs")
    look_up = page.get_by_label("Show what contains")
    look_up.fill("/trpc/repos.getbranches")
    expect(page.locator("details:visible")).to_have_count(1)
    shown = page.locator('[id="trpc.repos.getBranches"]')
    shown.locator("summary").click()
    expect(shown.get_by_role("heading", name="Answers")).to_be_visible()
    shape = shown.locator('a[href^="#shape."]').first
    name = shape.inner_text()
    look_up.fill("")
    shape.click()
    expect(page.locator(f'[id="shape.{name}"]')).to_have_attribute("open", "")


def test_a_link_to_an_operation(page: Page) -> None:
    page.goto("/api/docs")
    identifier = page.locator("details").nth(5).get_attribute("id")
    page.goto("about:blank")
    page.goto(f"/api/docs#{identifier}")
    expect(page.locator(f'[id="{identifier}"]')).to_have_attribute("open", "")
