"""A real browser before a real daemon.

``page`` is a fresh window; ``windows`` opens more of them, or others: without scripts, dark, as small
as a phone. Every window is watched: when the test ends, nothing may have gone wrong on the console
(which is also where violations of a Content-Security-Policy are reported), and no request may have
left the site.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.browser.watch import Watch, watched
from tests.support.site import Site

PATIENCE = 30_000
"""Milliseconds that something in a window may take to happen: other tests use the machine as well."""


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, started once.

    Of the package and not of the session: as long as it lives, Playwright keeps an asyncio loop
    running in the main thread, and the ``asyncio.run`` of other tests would refuse to work.
    """
    program = shutil.which("chromium")
    assert program is not None, "there is no chromium; run scripts/setup dev"
    sandbox = [] if os.geteuid() else ["--no-sandbox"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=sandbox)
        expect.set_options(timeout=PATIENCE)
        yield browser
        browser.close()


@pytest.fixture
def site(sites: Callable[[str], Site]) -> Site:
    """The session's daemon on SQLite: the database has no part in how pages look."""
    return sites("sqlite")


Windows = Callable[..., Page]


@pytest.fixture
def windows(chromium: Browser, site: Site) -> Iterator[Windows]:
    """``windows(url="...", allowed=[origin], **options)``: a watched window with cookies of its own.

    ``url`` is the site (the shared one if not given), ``allowed`` are other origins it may ask;
    options are those of Playwright's ``new_context``.
    """
    with ExitStack() as stack:

        def open_window(url: str = "", allowed: tuple[str, ...] = (), **options: Any) -> Page:
            url = url or address(site)
            watch = Watch({url, *allowed})
            window = stack.enter_context(watched(chromium, url, watch, options))
            window.set_default_timeout(PATIENCE)
            return window

        yield open_window


@pytest.fixture
def page(windows: Windows) -> Page:
    """A window on the shared site; addresses may be paths."""
    return windows()


def address(site: Site) -> str:
    """What the site calls itself."""
    return f"http://localhost:{site.daemon.http_port}"
