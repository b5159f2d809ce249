"""What a browser does with an HTTP API: cookies, Origin, no redirects by itself."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

import attrs


@attrs.frozen
class Cookie:
    """One Set-Cookie header; attribute names are in lower case."""

    name: str
    value: str
    attributes: Mapping[str, str]

    @property
    def deleted(self) -> bool:
        return self.attributes.get("max-age") == "0"


@attrs.frozen
class Reply:
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cookies(self) -> dict[str, Cookie]:
        """By name; of two with one name the last, as a browser has it."""
        return {
            cookie.name: cookie for cookie in map(parse, self.headers.get_all("Set-Cookie", []))
        }


@attrs.define
class Browser:
    """Talks to the server at ``url`` from a page of ``origin``."""

    url: str
    origin: str
    cookies: dict[str, str] = attrs.field(factory=dict)

    def post(self, path: str, body: Any = None, headers: Mapping[str, str] = {}) -> Reply:
        sent = {"Content-Type": "application/json", **headers}
        return self.ask("POST", path, json.dumps({} if body is None else body).encode(), sent)

    def get(self, path: str, headers: Mapping[str, str] = {}) -> Reply:
        return self.ask("GET", path, None, headers)

    def ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] = {}
    ) -> Reply:
        sent = {"User-Agent": "a browser", **({"Origin": self.origin} if self.origin else {})}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent |= headers
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            reply = Reply(answer.status, answer.msg, answer.read())
        finally:
            connection.close()
        for cookie in reply.cookies.values():
            if cookie.deleted:
                self.cookies.pop(cookie.name, None)
            else:
                self.cookies[cookie.name] = cookie.value
        return reply


def parse(header: str) -> Cookie:
    first, *rest = header.split(";")
    name, _, value = first.partition("=")
    pairs = (part.strip().partition("=") for part in rest)
    return Cookie(name, value, {key.lower(): setting for key, _, setting in pairs})
