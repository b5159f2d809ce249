"""Who calls the API, from where: the Authorization header, else the session cookie.

An ``Authorization: Bearer`` header wins, and switches the cookie off even if it is wrong. A wrong
or expired credential is no error here: the caller is not signed in, and protected places say so
(contract, auth.md, "Which credential works where").

Browsers send cookies along with whatever a page of another site makes them ask for. So a request
that is known by its cookie and may change something must come from one of our own pages: its
Origin (RFC 6454, section 7) is checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from wit.access.actor import ANONYMOUS, Actor
from wit.config import Config
from wit.errors import Forbidden, Unauthorized
from wit.operations.call import Client
from wit.web.cookies import SESSION, read
from wit.web.middleware.credentials import Bearer, parse
from wit.web.origins import TrustedOrigins
from wit.web.streaming import Request

MAX_USER_AGENT = 512
"""Characters that are kept."""


class Checker(Protocol):
    """wit.accounts.credentials.Credentials, as far as it is used here."""

    async def bearer(self, token: str) -> Actor:
        """Raises Unauthorized, Forbidden."""
        ...

    async def session_cookie(self, value: str) -> Actor | None:
        """The owner of a session, by the decoded value of its cookie; None if the signature is
        wrong or the session is over. Raises Forbidden for a suspended user."""
        ...


@attrs.frozen
class Caller:
    actor: Actor
    client: Client
    by_cookie: bool = False
    """Whether the browser added the credential by itself."""


class Callers:
    """Finds the caller of each request to the API."""

    def __init__(self, checker: Checker, config: Config) -> None:
        self._checker = checker
        secure = config.public_url.startswith("https:")
        self._cookie = f"{'__Secure-' if secure else ''}better-auth.{SESSION}"
        self._origins = TrustedOrigins(config)
        self._cors = frozenset(config.server.cors_origins) - {"*"}

    async def of(self, request: Request, *, acts: bool | None = None) -> Caller:
        """Who sent ``request``; ``acts``: whether it may change something (by default: all
        methods but GET and HEAD), or opens something that stays, as a subscription or a WebSocket.

        Raises Forbidden for a suspended user, and for an act that is known by its cookie and
        comes from another site's page.
        """
        headers = request.requestHeaders.getRawHeaders(b"Authorization") or []
        by_cookie = False
        if any(header.split(b" ", 1)[0].lower() == b"bearer" for header in headers):
            actor = await self._by_token(headers)
        else:
            actor = await self._by_cookie(request)
            by_cookie = not actor.anonymous
        if acts is None:
            acts = request.method not in (b"GET", b"HEAD")
        if by_cookie and acts:
            self._check_origin(request)
        request.actor_name = actor.username
        return Caller(actor, client_of(request), by_cookie)

    async def _by_token(self, headers: Sequence[bytes]) -> Actor:
        try:
            (header,) = headers
            credential = parse(header.decode("latin-1"))
            if isinstance(credential, Bearer):
                return await self._checker.bearer(credential.token)
        except (Unauthorized, ValueError):  # ValueError: more than one header
            pass
        return ANONYMOUS

    async def _by_cookie(self, request: Request) -> Actor:
        value = (
            read(request).get(self._cookie) if request.requestHeaders.hasHeader(b"Cookie") else ""
        )
        return (await self._checker.session_cookie(value) if value else None) or ANONYMOUS

    def _check_origin(self, request: Request) -> None:
        """Raises Forbidden if a page of another site made the browser send ``request``.

        Browsers tell the Origin of everything but plain reads of their own site; what tells
        neither that nor Sec-Fetch-Site (W3C Fetch Metadata) is no browser of today.
        """
        origin = request.header(b"Origin")
        if origin is None:
            if request.header(b"Sec-Fetch-Site") in (None, "same-origin", "none"):
                return
        elif origin in self._cors or self._origins.ours(origin, request):
            return
        raise Forbidden(
            "this request comes from a page of another site; if that site is yours, "
            "add its origin to accounts.trusted_origins"
        )


def client_of(request: Request) -> Client:
    """Where ``request`` came from."""
    user_agent = (request.header(b"User-Agent") or "")[:MAX_USER_AGENT]
    return Client(request.address, user_agent, request.request_id)
