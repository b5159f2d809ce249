"""Requests and answers of the OAuth door: parameters, client credentials, JSON, redirects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import attrs

from wit.errors import Unauthorized
from wit.oauth.errors import InvalidClient, OAuthError
from wit.web.answers import JSON
from wit.web.middleware.bodies import read_body
from wit.web.middleware.credentials import Basic, parse
from wit.web.streaming import Handler, Request

MAX_BODY = 64 * 1024
MAX_FIELDS = 50
FORM = "application/x-www-form-urlencoded"
HTML = "text/html; charset=utf-8"


def parameters(text: bytes) -> dict[str, str]:
    """A form or query; what is empty counts as left out (RFC 6749, section 3.1).

    Raises OAuthError for what cannot be read, and for a name that comes twice: which one would
    count?
    """
    try:
        pairs = parse_qsl(text.decode("ascii"), errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise OAuthError("invalid_request", "the parameters are not a form in UTF-8") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise OAuthError("invalid_request", f"{name[:40]} was sent more than once")
        found[name] = value
    return found


async def form(request: Request) -> dict[str, str]:
    """The parameters in the body of a POST. Raises OAuthError and what reading a body raises."""
    content_type = (request.header(b"Content-Type") or "").partition(";")[0].strip().lower()
    if content_type != FORM:
        raise OAuthError("invalid_request", f"send the parameters as {FORM}")
    return parameters(await read_body(request, MAX_BODY))


@attrs.frozen
class ClientCredentials:
    client_id: str
    secret: str | None = attrs.field(repr=False)


def client_credentials(request: Request, fields: Mapping[str, str]) -> ClientCredentials | None:
    """Who the app says it is: by HTTP Basic or in the form (RFC 6749, section 2.3.1).

    None: it says nothing. Raises InvalidClient; OAuthError if it uses both ways.
    """
    client_id, secret = fields.get("client_id"), fields.get("client_secret")
    headers = request.requestHeaders.getRawHeaders(b"Authorization")
    if not headers:
        return None if client_id is None else ClientCredentials(client_id, secret)
    try:
        (header,) = headers
        basic = parse(header.decode("latin-1"))
    except (Unauthorized, ValueError):
        basic = None
    if not isinstance(basic, Basic):
        raise InvalidClient("the Authorization header is not Basic credentials of an app")
    named = unquote_plus(basic.username)
    if secret is not None or client_id not in (None, named):
        raise OAuthError("invalid_request", "authenticate in the header or in the form, not both")
    return ClientCredentials(named, unquote_plus(basic.password) or None)


def no_store(request: Request) -> None:
    """Answers with secrets in them, and pages with somebody's name, stay out of caches."""
    request.setHeader(b"Cache-Control", b"no-store")
    request.setHeader(b"Pragma", b"no-cache")


def answer(request: Request, value: Any, status: int = 200) -> None:
    """``value`` as JSON; times in it become text."""
    request.answer(status, JSON, json.dumps(value, default=_plain, ensure_ascii=False).encode())


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        text = value.astimezone(UTC).isoformat(timespec="milliseconds")
        return text.replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def answer_error(request: Request, error: OAuthError) -> None:
    """RFC 6749, section 5.2."""
    if error.status == 401 and request.requestHeaders.hasHeader(b"Authorization"):
        request.setHeader(b"WWW-Authenticate", b'Basic realm="wit"')
    answer(request, {"error": error.error, "error_description": error.message}, error.status)


def redirect(request: Request, location: str) -> None:
    """303: whatever the method was, the browser goes on with a GET."""
    request.setHeader(b"Location", location.encode("ascii"))
    request.answer(303 if request.method == b"POST" else 302, HTML, b"")


def oauth_errors(handler: Handler) -> Handler:
    """``handler`` with OAuthErrors answered as JSON, and nothing of it cached."""

    async def wrapped(request: Request) -> None:
        no_store(request)
        try:
            await handler(request)
        except OAuthError as error:
            answer_error(request, error)

    return wrapped


def wants_html(request: Request) -> bool:
    """Whether a person looks at the answer, and not the web app."""
    return "text/html" in (request.header(b"Accept") or "").lower()
