"""A real better-auth server and wit's auth door, asked the same: answers must look the same."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlencode

import attrs

from tests.support.browser import Browser, Reply
from tests.support.daemon import wait_until

NODE = Path(__file__).parent.parent / "node"
PASSWORD = "correct horse battery"
NEW = "another horse battery"
MAIL_SECONDS = 90.0
"""Within which a mail is there, however busy the machine is."""
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@attrs.define
class Server:
    """One of the two: where it is, and the links in its mails."""

    url: str
    links: Callable[[], list[str]]
    browsers: dict[str, Browser] = attrs.field(factory=dict)
    known: dict[str, str] = attrs.field(factory=dict)
    """What later steps need of earlier answers."""

    def browser(self, name: str) -> Browser:
        return self.browsers.setdefault(name, Browser(self.url, self.url))


def node(*arguments: str) -> list[str]:
    assert (NODE / "node_modules").exists(), "run `scripts/setup dev .venv`: it runs npm ci"
    return ["node", *arguments]


def shape(value: Any) -> Any:
    """Types instead of values. The memory adapter leaves out what a database has as null."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    if isinstance(value, str):
        return "date" if _DATE.fullmatch(value) else "str"
    return type(value).__name__


def looks(reply: Reply) -> dict[str, Any]:
    """What must be the same on both sides."""
    body: Any = None
    if reply.body:
        said = reply.json
        body = said
        if reply.status < 400:
            body = shape(said)
        elif said["code"] in ("VALIDATION_ERROR", "UNSUPPORTED_MEDIA_TYPE"):
            body = {**said, "message": "str"}
    location = reply.headers["Location"]
    if location is not None:  # not where the server is, nor secrets, nor what GitHub is asked
        location = re.sub(r"^http://[^/]+|(?<=authorize\?).*|\w{24,}", "", location)
    return {
        "status": reply.status,
        "body": body,
        "cookies": {
            name: (cookie.deleted, cookie.value == "", dict(cookie.attributes))
            for name, cookie in reply.cookies.items()
        },
        "location": location,
    }


@attrs.frozen
class Pair:
    theirs: Server
    ours: Server

    def __call__(
        self, method: str, path: str, body: Any = None, *, who: str = "ada",
        headers: dict[str, str] = {}, form: bool = False, cached: bool = False,
    ) -> tuple[Reply, Reply]:  # fmt: skip
        """The same request to both; fails if the answers look different. ``body`` and ``path``
        may have ``{names}`` of what is known. Without ``cached`` the browser has forgotten
        ``session_data``, as it does after five minutes: better-auth believes it until then."""
        replies = []
        for server in (self.theirs, self.ours):
            filled = {
                key: value.format(**server.known) if isinstance(value, str) else value
                for key, value in (body or {}).items()
            }
            place = f"/api/auth{path.format(**server.known)}"
            browser = server.browser(who)
            if not cached:
                browser.cookies.pop("better-auth.session_data", None)
            if form:
                sent = {"Content-Type": "application/x-www-form-urlencoded", **headers}
                replies.append(browser.ask(method, place, urlencode(filled).encode(), sent))
            elif method == "POST":
                replies.append(browser.post(place, filled, headers))
            else:
                replies.append(browser.get(place, headers))
        their, our = replies
        mine, wanted = looks(our), looks(their)
        assert mine == wanted, f"{method} {path} {body}: {mine}, not {wanted}"
        return their, our

    def remember(self, name: str, replies: tuple[Reply, Reply], *keys: Any) -> None:
        for server, reply in zip((self.theirs, self.ours), replies, strict=True):
            value = reply.json
            for key in keys:
                value = value[key]
            server.known[name] = str(value)

    def mailed(self, part: str) -> None:
        """Remember path and query of the newest link with ``part`` as ``link``."""
        for server in (self.theirs, self.ours):

            def newest(server: Server = server) -> str:
                found = [link for link in server.links() if part in unquote(link)]
                return found[-1] if found else ""

            before = server.known.get("link", "")
            link = wait_until(lambda: newest() != before and newest(), MAIL_SECONDS, "the mail")
            server.known["whole link"] = link
            server.known["link"] = link
            server.known["path"] = link.partition("/api/auth")[2]


def sign_up(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name.title(), "email": f"{name}@example.org", "password": PASSWORD,
        "username": name, **more,
    }  # fmt: skip
