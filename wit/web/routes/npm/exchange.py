"""One request to the npm door, and how it is answered."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import attrs

from wit.access.actor import Actor
from wit.accounts.sessions import Device
from wit.errors import Forbidden, Invalid, Unauthorized
from wit.operations.json_text import parse_json
from wit.packages.names import PackageName, parse_name
from wit.web.answers import JSON, json_bytes
from wit.web.middleware.bodies import read_body
from wit.web.streaming import Request

if TYPE_CHECKING:
    from wit.core import Core

MAX_SMALL_BODY = 64 * 1024
"""Bytes of a body that is no packument."""

MAX_QUERY_FIELDS = 50

LONG_JSON = 128 * 1024
"""Bytes of JSON that are parsed in a thread."""

_OTP = re.compile(r"[A-Za-z0-9-]{1,32}")


@attrs.frozen(eq=False)
class Exchange:
    core: Core
    request: Request
    actor: Actor
    values: Mapping[str, str]
    """The path's parameters."""

    @property
    def request_id(self) -> str:
        return self.request.request_id

    @property
    def name(self) -> PackageName:
        """The package in the path. Raises Invalid."""
        return parse_name(self.values["name"])

    @property
    def device(self) -> Device:
        return Device(self.request.address, self.request.header(b"User-Agent") or "")

    @property
    def otp(self) -> str:
        """The code of a second factor; nothing if none was sent (``npm --otp``)."""
        text = (self.request.header(b"npm-otp") or "").strip()
        return text if _OTP.fullmatch(text) else ""

    def user_id(self, scope: str | None = None) -> str:
        """Who is signed in. Raises Unauthorized; Forbidden for a token without ``scope``."""
        if self.actor.user_id is None:
            raise Unauthorized("you are not signed in to this registry; run npm login")
        if scope is not None and not self.actor.has_scope(scope):
            raise Forbidden(f"this token lacks the scope {scope}; make one that has it")
        return self.actor.user_id

    def query(self, field: str, default: str = "") -> str:
        """A field of the query; of several the last. Raises Invalid."""
        try:
            found = parse_qs(
                self.request.query.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=MAX_QUERY_FIELDS,
            )
        except ValueError:
            raise Invalid(
                f"the query must be UTF-8 and have at most {MAX_QUERY_FIELDS} fields"
            ) from None
        text = found.get(field, [default])[-1]
        if "\0" in text:
            raise Invalid("text must not have NUL characters")
        return text

    def number(self, field: str, default: int, highest: int) -> int:
        """A number of the query, at most ``highest``. Raises Invalid."""
        text = self.query(field) or str(default)
        if not re.fullmatch("[0-9]{1,9}", text):
            raise Invalid(f"{field} must be a number")
        return min(int(text), highest)

    async def json(self, limit: int = MAX_SMALL_BODY) -> Any:
        """The body. Raises Invalid and what reading a body raises."""
        data = await read_body(self.request, limit)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise Invalid("the body is not UTF-8") from None
        if len(data) > LONG_JSON:
            return await self.core.runtime.in_thread(parse_json, text)
        return parse_json(text)

    async def document(self, limit: int = MAX_SMALL_BODY) -> dict[str, Any]:
        """The body, which is a JSON object. Raises as :meth:`json`."""
        value = await self.json(limit)
        if not isinstance(value, dict):
            raise Invalid("the body must be a JSON object")
        return value

    def answer(self, value: Any, status: int = 200) -> None:
        """``value`` as JSON, of which no cache keeps a copy."""
        self.request.setHeader(b"Cache-Control", b"no-store")
        self.request.answer(status, JSON, json_bytes(value))


Handler = Callable[[Exchange], Awaitable[None]]


def text_of(document: Mapping[str, Any], field: str, longest: int = 1000) -> str:
    """A text in a JSON object; "" if it is not there or null. Raises Invalid."""
    value = document.get(field)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > longest:
        raise Invalid(f"{field} must be a text of at most {longest} characters")
    return value
