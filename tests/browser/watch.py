"""Noting what a window does besides showing a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import attrs
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

_REFUSED = "Failed to load resource: the server responded with a status of 4"
"""How Chromium comments on a page with such a status, which may be just what is tested."""


@attrs.define(slots=False)  # Playwright puts attributes of its own on whoever listens
class Watch:
    allowed: set[str]
    """Origins that may be asked for something."""
    problems: list[str] = attrs.field(factory=list)

    def on(self, context: BrowserContext) -> None:
        context.on("console", self._console)
        context.on("weberror", lambda error: self.problems.append(f"uncaught: {error.error}"))
        context.on("request", lambda request: self._asked(request.url))
        context.on("page", lambda page: page.on("websocket", lambda ws: self._asked(ws.url)))

    def _console(self, message: ConsoleMessage) -> None:
        own_status = message.page is not None and message.location.get("url") == message.page.url
        if message.type in ("error", "warning") and not (
            own_status and message.text.startswith(_REFUSED)
        ):
            self.problems.append(f"{message.type}: {message.text} ({message.location})")

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
        if scheme not in ("data", "blob") and f"{scheme}://{parts.netloc}" not in self.allowed:
            self.problems.append(f"a request left the site: {url}")


@contextmanager
def watched(browser: Browser, url: str, watch: Watch, options: Mapping[str, Any]) -> Iterator[Page]:
    """A window whose paths begin at ``url``; its problems fail the test when it is closed."""
    context = browser.new_context(**{"base_url": url, **options})
    try:
        watch.on(context)
        yield context.new_page()
    finally:
        context.close()
    assert not watch.problems, watch.problems
