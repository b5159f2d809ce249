"""The page of terminals, before real sandboxes on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Windows
from tests.browser.people import new_user, sign_in
from tests.browser.test_looks import SMALL, check
from tests.browser.wire import Wire
from tests.support.site import Site
from wit.access.actor import Actor, Level, Origin
from wit.core import Core
from wit.git.names import parse_full_name
from wit.sandboxes.records import Stage

WIT = Actor(None, "wit", Origin.CLI)

TEXT = """() => [...document.querySelectorAll('.screen:not([hidden]) .xterm-rows > div')]
    .map((row) => row.textContent.trimEnd()).join('\\n')"""
"""What the terminal in front shows."""


@pytest.fixture
def name(site: Site) -> str:
    """A repository; its owner is called as its first half."""
    return site.create(f"{new_user(site)}/work")


def enter(page: Page, name: str, who: str = "") -> None:
    """Sign in on the way to the page."""
    page.goto(f"/{name}/terminal")
    page.wait_for_url(f"**/login?returnTo=%2F{name.replace('/', '%2F')}%2Fterminal")
    sign_in(page, who or name.partition("/")[0])
    page.wait_for_url(f"**/{name}/terminal")


def status_is(page: Page, text: str) -> None:
    expect(page.get_by_role("status")).to_have_text(re.compile(text))


def shows(page: Page, pattern: str) -> None:
    page.wait_for_function(f"(wanted) => new RegExp(wanted, 'm').test(({TEXT})())", arg=pattern)


def run(page: Page, line: str, pattern: str) -> None:
    """Type a line and wait for its output."""
    page.keyboard.type(f"{line}\n")
    shows(page, pattern)


def opened(page: Page, name: str) -> None:
    enter(page, name)
    status_is(page, "^Ready")
    shows(page, r"[$#]")


def tabs(page: Page) -> Any:
    return page.get_by_role("tab")


def test_typing_and_another_size(page: Page, name: str) -> None:
    opened(page, name)
    run(page, "echo hi $((6*7)) ä€", r"^hi 42 ä€$")
    before = page.get_by_role("status").inner_text()
    page.set_viewport_size({"width": 700, "height": 500})
    expect(page.get_by_role("status")).not_to_have_text(before)
    status_is(page, "^Ready · ")
    size = page.get_by_role("status").inner_text().removeprefix("Ready · ")
    columns, rows = size.split("×")
    run(page, "clear; stty size", f"^{rows} {columns}$")
    run(page, "printf '\\033]0;a title\\007'", "printf")
    expect(tabs(page)).to_have_text("a title")
    run(page, "exit 3", "exit")
    expect(page.get_by_role("alert")).to_contain_text("Ended with code 3.")
    page.get_by_role("button", name="New terminal", exact=True).last.click()
    shows(page, r"^\S*[$#] ?$")
    expect(tabs(page)).to_have_count(1)


def test_two_terminals_and_loading_the_page_again(page: Page, name: str) -> None:
    opened(page, name)
    run(page, "echo one $((1+0))", "^one 1$")
    page.get_by_role("button", name="New terminal").click()
    expect(tabs(page)).to_have_count(2)
    status_is(page, "^Ready")
    shows(page, r"[$#]")
    run(page, "printf '\\033[6n'; read -sdR; echo two $((1+1))", "two 2$")
    page.reload()
    expect(tabs(page)).to_have_count(2)
    shows(page, "two 2$")
    # What xterm.js answers to the replay (a cursor's position, here) is not typed.
    run(page, "echo three $((1+2))", "^three 3$")
    page.keyboard.press("Shift+F6")
    expect(tabs(page).nth(1)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(tabs(page).nth(0)).to_be_focused()
    shows(page, "^one 1$")
    assert "two" not in page.evaluate(TEXT)


def test_the_browser_goes_offline(page: Page, name: str) -> None:
    opened(page, name)
    run(page, "echo before; (sleep 1; echo while $((2+3)) away) &", "^before$")
    page.context.set_offline(True)
    status_is(page, "^Offline")
    page.keyboard.type("echo lost\n")
    page.wait_for_timeout(1500)
    page.context.set_offline(False)
    status_is(page, "^Ready")
    shows(page, r"while 5 away")
    run(page, "echo after", "^after$")
    text = page.evaluate(TEXT)
    assert text.count("\nbefore") == 1 and "lost" not in text


@pytest.fixture
def wire(site: Site) -> Iterator[Wire]:
    wire = Wire(site.daemon.http_port)
    yield wire
    wire.close()


def test_the_connection_is_cut(windows: Windows, wire: Wire, name: str) -> None:
    page = windows(f"http://127.0.0.1:{wire.port}")
    opened(page, name)
    run(page, "echo before", "^before$")
    wire.cut()
    wire.mend()
    status_is(page, r"reconnecting in \d+ s")
    status_is(page, "^Ready")
    run(page, "echo after", "^after$")
    assert page.evaluate(TEXT).count("\nbefore") == 1


def test_two_windows_on_one_terminal(page: Page, name: str) -> None:
    opened(page, name)
    run(page, "echo first", "^first$")
    size = page.get_by_role("status").inner_text()
    other = page.context.new_page()
    other.set_viewport_size({"width": 600, "height": 400})
    other.goto(f"/{name}/terminal")
    shows(other, "^first$")
    expect(tabs(other)).to_have_count(1)
    run(other, "echo second", "^second$")
    shows(page, "^second$")
    small = other.get_by_role("status").inner_text()
    assert small != size
    expect(page.get_by_role("status")).to_have_text(small)
    other.close()
    expect(page.get_by_role("status")).to_have_text(size)


def test_copying_and_pasting(page: Page, name: str) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, name)
    run(page, "clear; printf 'one-word\\n'", "^one-word$")
    page.locator(".xterm-screen").dblclick(position={"x": 5, "y": 5})
    read = "navigator.clipboard.readText()"
    page.wait_for_function(f"async () => await {read} === 'one-word'")
    page.evaluate("navigator.clipboard.writeText('')")
    page.keyboard.press("Control+Shift+C")
    page.wait_for_function(f"async () => await {read} === 'one-word'")
    page.evaluate("navigator.clipboard.writeText('echo a\\necho b\\n')")
    run(page, "clear", r"^\S*[$#] ?$")
    page.keyboard.press("Control+Shift+V")
    shows(page, "echo b")
    # Bracketed: the shell runs nothing of it before Enter is pressed.
    assert "\na\n" not in page.evaluate(TEXT)
    page.keyboard.press("Enter")
    shows(page, r"^a\nb$")


def test_closing(page: Page, name: str) -> None:
    opened(page, name)
    page.get_by_role("button", name="New terminal").click()
    expect(tabs(page)).to_have_count(2)
    status_is(page, "^Ready")
    for left in (1, 0):
        page.get_by_role("button", name="Close this terminal").last.click()
        expect(tabs(page)).to_have_count(left)
    expect(page.get_by_role("alert")).to_contain_text("No terminal is open.")
    page.reload()
    expect(tabs(page)).to_have_count(1)
    status_is(page, "^Ready")


def test_somebody_else_watches(windows: Windows, site: Site) -> None:
    name = site.create(f"{new_user(site)}/public", private=False)
    page = windows()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    opened(page, name)
    run(page, "echo seen", "^seen$")
    page.get_by_role("button", name="Share").click()
    status_is(page, "^Copied")
    link = page.evaluate("navigator.clipboard.readText()")
    watcher = windows()
    enter(watcher, name, new_user(site))
    watcher.goto(link)
    watcher.reload()  # from the same page: only the fragment is another
    shows(watcher, "^seen$")
    status_is(watcher, "^View only")
    watcher.keyboard.type("echo typed\n")
    run(page, "echo more", "^more$")
    shows(watcher, "^more$")
    assert "typed" not in watcher.evaluate(TEXT)
    again = windows()
    enter(again, name, new_user(site))
    again.goto(link)
    again.reload()
    expect(again.get_by_role("alert")).to_contain_text("used")


def test_who_gets_no_terminal(windows: Windows, site: Site, name: str) -> None:
    owner = name.partition("/")[0]
    stranger = new_user(site)
    page = windows()
    page.goto(f"/{name}/terminal")
    sign_in(page, stranger)
    expect(page.get_by_role("heading")).to_have_text("Not found")
    answers = [page.goto(f"/{path}/terminal") for path in (name, f"{owner}/none", "none/-.none")]
    assert [answer and answer.status for answer in answers] == [404] * 3
    public = f"{owner}/public"
    site.create(public, private=False)
    page.goto(f"/{public}/terminal")
    expect(page.get_by_role("alert")).to_contain_text("needs write access")
    expect(page.get_by_role("button")).to_have_count(0)


def test_why_it_cannot_start(page: Page, site: Site, name: str) -> None:
    def switch(enabled: bool) -> None:
        async def work(core: Core) -> None:
            repo = await core.gate.repository(WIT, parse_full_name(name), Level.ADMIN)
            await core.sandboxes.settings.update(
                repo["id"], repo["owner_id"], {"enabled": enabled}, server_keys=frozenset()
            )

        site.do(work)

    switch(False)
    enter(page, name)
    expect(page.get_by_role("alert")).to_contain_text("switched off")
    switch(True)
    page.get_by_role("button", name="Try again").click()
    status_is(page, "^Ready")
    shows(page, r"[$#]")


def test_a_sandbox_that_was_lost(page: Page, site: Site, name: str) -> None:
    async def lose(core: Core) -> None:
        repo = await core.gate.repository(WIT, parse_full_name(name), Level.ADMIN)
        row = await core.sandbox_service.records.latest(repo["owner_id"], repo["id"])
        assert row is not None
        assert await core.sandbox_service.records.over(row["id"], Stage.LOST, "the power failed")

    opened(page, name)
    run(page, "echo old", "^old$")
    site.do(lose)
    page.reload()
    expect(page.get_by_role("alert")).to_contain_text("was lost with its files: the power failed")
    page.get_by_role("button", name="Make a new sandbox").click()
    status_is(page, "^Ready")
    shows(page, r"[$#]")
    assert "old" not in page.evaluate(TEXT)


def test_on_a_phone(windows: Windows, name: str) -> None:
    page = windows(viewport=SMALL, has_touch=True, is_mobile=True)
    opened(page, name)
    run(page, "echo small", "^small$")
    page.get_by_role("button", name="Up").tap()
    shows(page, r"[$#] echo small$")
    page.get_by_role("button", name="^C").tap()
    shows(page, r"\^C")
    check(page)


def test_the_files_may_be_kept(page: Page, name: str) -> None:
    opened(page, name)
    for selector, attribute in (("script", "src"), ("link[rel=stylesheet]", "href")):
        for element in page.locator(selector).all():
            url = element.get_attribute(attribute)
            assert url is not None
            answer = page.request.get(url)
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            again = page.request.get(url, headers={"If-None-Match": answer.headers["etag"]})
            assert (answer.status, again.status) == (200, 304)
