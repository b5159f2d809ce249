"""Pages that wit serves itself: HTML without scripts, one stylesheet, nothing from elsewhere.

A page is a value (:class:`Page`) of :data:`twisted.web.template.tags`, which escape every text.
What pages are made of is in :mod:`wit.web.pages.elements`.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from html import escape
from importlib import resources

import attrs
from twisted.web.template import Tag, flattenString

from wit.web.streaming import Request

HTML = "text/html; charset=utf-8"

Content = Tag | str | list["Content"]
"""Texts in it are text, never markup."""


def asset(name: str) -> bytes:
    """The file ``name`` beside this module."""
    return resources.files(__name__).joinpath(name).read_bytes()


STYLE = asset("wit.css").decode()

POLICY = (
    "default-src 'none'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
    f"style-src 'sha256-{b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
)
"""Content-Security-Policy (CSP Level 3): our own stylesheet, no scripts, no frames around it."""


@attrs.frozen
class Page:
    """``title`` is its heading as well."""

    title: str
    content: list[Content]
    status: int = 200
    leads_away: bool = False
    """Whether its forms may lead to another site, such as an app's: browsers apply the policy for
    forms to the redirects that follow as well."""

    def policy(self) -> bytes:
        return (POLICY if self.leads_away else f"{POLICY}; form-action 'self'").encode()


async def show(request: Request, page: Page) -> None:
    """Answer with ``page``.

    Its forms say from where they come, which their receivers check: so a page has another referrer
    policy than everything else here.
    """
    heading: Content = Tag("h1")(page.title)
    content = await flattenString(None, [heading, *page.content])
    title = escape(f"{page.title} · wit")
    request.setHeader(b"Content-Security-Policy", page.policy())
    request.setHeader(b"X-Frame-Options", b"DENY")
    before = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="same-origin">\n<link rel="icon" href="/favicon.ico">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n"
        '<body class="card">\n<header><a href="/">wit</a></header>\n<main>\n'
    )
    after = "\n</main>\n</body>\n</html>\n"
    request.answer(page.status, HTML, before.encode() + content + after.encode())


def local_path(text: str | None, default: str = "/") -> str:
    """``text`` if it is a path on this site, else ``default``: for addresses to return to.

    Browsers take ``//host`` and ``/\\host`` for other sites, and drop tabs and line ends: none of
    these is a path.
    """
    if text is None or len(text) > 2048 or not re.fullmatch(r"/(?![/\\])[\x21-\x7e]*", text):
        return default
    return default if "\\" in text else text
