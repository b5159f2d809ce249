"""``GET /login``: where a browser that is not signed in is sent, and comes back from.

The page speaks to ``/api/auth`` as the web app does. ``returnTo`` is a path on this site.
"""

from __future__ import annotations

from urllib.parse import parse_qs

from wit.web.pages import Page, local_path
from wit.web.site import Route, exactly
from wit.web.streaming import Request

HTML = "text/html; charset=utf-8"


def login_route() -> Route:
    page = Page.load("login.html")

    async def login(request: Request) -> None:
        query = parse_qs(request.query.decode("latin-1"))
        return_to = local_path(query.get("returnTo", [None])[-1])
        request.setHeader(b"Content-Security-Policy", page.policy)
        request.setHeader(b"X-Frame-Options", b"DENY")
        request.setHeader(b"Cache-Control", b"no-store")
        request.answer(200, HTML, page.fill(return_to=return_to))

    return exactly({b"/login": {b"GET": login}})
