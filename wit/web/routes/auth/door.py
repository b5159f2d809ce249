"""The door itself: which handler, whose page asks, and how what comes out is written."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl

from wit.accounts.identity import PREFIX, Identity
from wit.accounts.signing import Signer
from wit.config import Config
from wit.errors import RateLimited, UnsupportedMediaType, WitError
from wit.web.answers import JSON, json_bytes
from wit.web.cookies import make_cookies
from wit.web.middleware.bodies import read_body
from wit.web.origins import TrustedOrigins
from wit.web.routes.auth import account, errors, mail, session, sign, social, two_factor
from wit.web.routes.auth.errors import AuthError, NotSignedIn
from wit.web.routes.auth.exchange import Exchange, Redirect
from wit.web.routes.path_table import Found, PathTable
from wit.web.streaming import Handler, Request

MAX_BODY = 64 * 1024
"""Bytes of a request's body."""

_JSON_TYPE = re.compile(r"application/([a-z0-9.+-]*\+)?json\s*(;.*)?", re.IGNORECASE)
_FORM_TYPE = re.compile(r"application/x-www-form-urlencoded\s*(;.*)?", re.IGNORECASE)

MAX_FIELDS = 50
"""Of a form."""

Endpoint = Callable[[Exchange], Awaitable[Any]]


async def ok(x: Exchange) -> Any:
    return {"ok": True}


ENDPOINTS: dict[tuple[str, str], Endpoint] = {
    ("POST", "/sign-up/email"): sign.sign_up,
    ("POST", "/sign-in/email"): sign.sign_in_email,
    ("POST", "/sign-in/username"): sign.sign_in_username,
    ("POST", "/sign-out"): sign.sign_out,
    ("POST", "/is-username-available"): sign.is_username_available,
    ("GET", "/get-session"): session.get_session,
    ("GET", "/list-sessions"): session.list_sessions,
    ("POST", "/revoke-session"): session.revoke_session,
    ("POST", "/revoke-sessions"): session.revoke_sessions,
    ("POST", "/revoke-other-sessions"): session.revoke_other_sessions,
    ("POST", "/update-user"): account.update_user,
    ("POST", "/change-password"): account.change_password,
    ("GET", "/list-accounts"): account.list_accounts,
    ("POST", "/unlink-account"): account.unlink_account,
    ("POST", "/request-password-reset"): mail.request_password_reset,
    ("POST", "/forget-password"): mail.request_password_reset,
    ("POST", "/reset-password"): mail.reset_password,
    ("GET", "/reset-password/{token}"): mail.open_reset_link,
    ("POST", "/change-email"): mail.change_email,
    ("POST", "/send-verification-email"): mail.send_verification_email,
    ("GET", "/verify-email"): mail.verify_email,
    ("POST", "/sign-in/social"): social.sign_in_social,
    ("POST", "/link-social"): social.link_social,
    ("GET", "/callback/{provider}"): social.callback,
    ("GET", "/error"): social.error_page,
    ("POST", "/two-factor/enable"): two_factor.enable,
    ("POST", "/two-factor/disable"): two_factor.disable,
    ("POST", "/two-factor/get-totp-uri"): two_factor.get_totp_uri,
    ("POST", "/two-factor/verify-totp"): two_factor.verify_totp,
    ("POST", "/two-factor/generate-backup-codes"): two_factor.generate_backup_codes,
    ("POST", "/two-factor/verify-backup-code"): two_factor.verify_backup_code,
    ("GET", "/ok"): ok,
}

_FORMS = frozenset({"/sign-up/email", "/sign-in/email"})
"""What takes forms of pages that run no script, too."""

_ENTRANCES = _FORMS | {"/sign-in/username"}
"""What a page of another site would like to send for somebody who has no cookie yet."""


class AuthDoor:
    """A route (see :mod:`wit.web.site`) for all that begins with ``/api/auth/``."""

    def __init__(self, config: Config, identity: Identity, signer: Signer) -> None:
        self._identity = identity
        self._cookies = make_cookies(config, signer)
        self._origins = TrustedOrigins(config)
        self._public_url = config.public_url
        self._table: PathTable[Endpoint] = PathTable()
        for (method, path), endpoint in ENDPOINTS.items():
            self._table.add(method, PREFIX + path, endpoint)

    def route(self, request: Request) -> Handler | None:
        if not request.path.startswith(PREFIX.encode() + b"/"):
            return None
        found = self._table.find(request.method.decode("latin-1"), request.path)
        if not isinstance(found, Found):
            return _nothing_here

        async def serve(request: Request) -> None:
            await self._serve(request, found)

        return serve

    async def _serve(self, request: Request, found: Found[Endpoint]) -> None:
        request.setHeader(b"Cache-Control", b"no-store")
        try:
            if request.method == b"POST":
                self._check_origin(request)
            exchange = Exchange(
                identity=self._identity,
                cookies=self._cookies,
                origins=self._origins,
                public_url=self._public_url,
                request=request,
                path=found.values,
                query=dict(reversed(parse_qsl(request.query.decode("latin-1"), True))),
                data=await _body(request),
            )
            answer = await found.target(exchange)
        except NotSignedIn:
            request.answer(401, JSON, b"")
        except AuthError as error:
            _refuse(request, error)
        except WitError as error:
            _refuse_known(request, error)
        else:
            if isinstance(answer, Redirect):
                request.setHeader(b"Location", answer.location.encode())
                request.answer(302, JSON, b"")
            elif not request.startedWriting:
                request.answer(200, JSON, json_bytes(answer))

    def _check_origin(self, request: Request) -> None:
        """Whether one of our own pages has made the browser send this. Raises AuthError.

        Asked of all that comes with cookies; and of signing in and up, as a page of another site
        could otherwise sign somebody in as somebody else.
        """
        if not request.requestHeaders.hasHeader(b"Cookie"):
            site = request.header(b"Sec-Fetch-Site")
            by_form = _is_form(request) and request.header(b"Origin") is not None
            if _path(request) not in _ENTRANCES or not (site or by_form):
                return
            if site == "cross-site" and request.header(b"Sec-Fetch-Mode") == "navigate":
                raise errors.CROSS_SITE()
        origin = self._origins.sent_by(request)
        if not origin:
            raise errors.MISSING_ORIGIN()
        if not self._origins.ours(origin, request):
            raise errors.INVALID_ORIGIN()


def _path(request: Request) -> str:
    return request.path.decode("latin-1").removeprefix(PREFIX)


def _is_form(request: Request) -> bool:
    return bool(_FORM_TYPE.fullmatch(request.header(b"Content-Type") or ""))


async def _body(request: Request) -> Any:
    """What the request's body says; None if it has none. A form's fields are all texts."""
    data = b"" if request.method != b"POST" else await read_body(request, MAX_BODY)
    if not data:
        return None
    forms = _path(request) in _FORMS
    if forms and _is_form(request):
        return _form(data)
    if not _JSON_TYPE.fullmatch(request.header(b"Content-Type") or ""):
        form = "application/x-www-form-urlencoded or " if forms else ""
        raise UnsupportedMediaType(f"Content-Type must be {form}application/json")
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise AuthError(400, "[body] Invalid JSON", "VALIDATION_ERROR") from None


def _form(data: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(data.decode(), True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise AuthError(400, "[body] Invalid form", "VALIDATION_ERROR") from None


def _refuse(request: Request, error: AuthError) -> None:
    body = {"code": error.code, "message": error.message}
    request.answer(error.status, JSON, json_bytes(body))


def _refuse_known(request: Request, error: WitError) -> None:
    message, _ = request.refuse(error)
    if isinstance(error, RateLimited):
        request.setHeader(b"X-Retry-After", b"%d" % error.retry_after)
    body = {"code": error.answer.trpc, "message": message}
    request.answer(request.code, JSON, json_bytes(body))


async def _nothing_here(request: Request) -> None:
    request.answer(404, JSON, b"")
