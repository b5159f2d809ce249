"""GitHub as an OAuth 2.0 provider (RFC 6749, with PKCE, RFC 7636): what we ask of it."""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlencode

import attrs
import treq
from treq.client import HTTPClient
from twisted.internet.error import ConnectError
from twisted.web.client import Agent, ResponseFailed
from twisted.web.http_headers import Headers

from wit.config import Accounts
from wit.errors import Unavailable
from wit.git.process import within
from wit.runtime import Runtime

SCOPES = ("repo", "user:email")
TIMEOUT_SECONDS = 10.0
MAX_ANSWER = 1024 * 1024
"""Bytes of an answer that are read."""

PROVIDER = "github"


class Refused(Exception):
    """GitHub did not take what we sent, or answered what we do not understand."""


@attrs.frozen
class Person:
    """Somebody as GitHub knows them."""

    id: str
    login: str
    name: str
    email: str
    """In lower case; empty if GitHub tells none."""
    email_verified: bool
    picture: str | None
    bio: str | None


@attrs.frozen
class Granted:
    """An access token and what it is for."""

    token: str = attrs.field(repr=False)
    scope: str


class GitHub:
    """``redirect`` is where GitHub sends people back to."""

    def __init__(self, settings: Accounts, redirect: str, runtime: Runtime) -> None:
        self._settings = settings
        self._redirect = redirect
        self._site = settings.github_url.rstrip("/")
        self._api = settings.github_api_url.rstrip("/")
        self._runtime = runtime
        self._agent = Agent(runtime.reactor, connectTimeout=TIMEOUT_SECONDS)

    @property
    def configured(self) -> bool:
        return bool(self._settings.github_client_id and self._settings.github_client_secret)

    def address(self, state: str, verifier: str) -> str:
        """Where people are sent to sign in."""
        digest = hashlib.sha256(verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self._settings.github_client_id,
            "redirect_uri": self._redirect,
            "scope": " ".join(SCOPES),
            "state": state,
            "code_challenge": urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return f"{self._site}/login/oauth/authorize?{urlencode(query)}"

    async def exchange(self, code: str, verifier: str) -> Granted:
        """The access token for a code. Raises Refused, Unavailable."""
        answer = await self._ask(
            "POST",
            f"{self._site}/login/oauth/access_token",
            data={
                "grant_type": "authorization_code",
                "client_id": self._settings.github_client_id,
                "client_secret": self._settings.github_client_secret,
                "code": code,
                "code_verifier": verifier,
                "redirect_uri": self._redirect,
            },
        )
        token = answer.get("access_token") if isinstance(answer, dict) else None
        if not isinstance(token, str) or not token:
            raise Refused("no access token for this code")
        scope = answer.get("scope")
        return Granted(token, scope if isinstance(scope, str) else "")

    async def person(self, token: str) -> Person:
        """Who the token is of. Raises Refused, Unavailable."""
        profile = await self._ask("GET", f"{self._api}/user", token)
        if not isinstance(profile, dict) or not profile.get("id") or not profile.get("login"):
            raise Refused("no profile")
        try:
            emails = await self._ask("GET", f"{self._api}/user/emails", token)
        except Refused:
            emails = []
        email, verified = _address(profile.get("email"), emails)
        return Person(
            id=str(profile["id"]),
            login=str(profile["login"])[:100],
            name=str(profile.get("name") or profile["login"]),
            email=email,
            email_verified=verified,
            picture=_text(profile.get("avatar_url")),
            bio=_text(profile.get("bio")),
        )

    async def _ask(
        self, method: str, url: str, token: str | None = None, data: dict[str, str] | None = None
    ) -> Any:
        headers = Headers({"Accept": ["application/json"], "User-Agent": ["wit"]})
        if token is not None:
            headers.setRawHeaders("Authorization", [f"Bearer {token}"])
        try:
            status, body = await within(
                self._runtime, TIMEOUT_SECONDS, self._exchange(method, url, headers, data)
            )
        except (OSError, ConnectError, ResponseFailed, TimeoutError) as error:
            raise Unavailable("GitHub cannot be reached; try again later") from error
        if status != 200:
            raise Refused(f"GitHub answered {status}")
        try:
            return json.loads(body)
        except ValueError:
            raise Refused("GitHub answered something else than JSON") from None

    async def _exchange(
        self, method: str, url: str, headers: Headers, data: dict[str, str] | None
    ) -> tuple[int, bytes]:
        body = bytearray()

        def collect(part: bytes) -> None:
            if len(body) + len(part) > MAX_ANSWER:
                raise Refused("GitHub's answer is too long")
            body.extend(part)

        # A client for each request: one that stays would hand one user's cookies to the next.
        client = HTTPClient(self._agent)
        response = await client.request(
            method, url, headers=headers, data=data, allow_redirects=False, unbuffered=True
        )
        await treq.collect(response, collect)
        return response.code, bytes(body)


def _address(own: object, emails: object) -> tuple[str, bool]:
    """The e-mail address to use, and whether GitHub has checked it."""
    known = {
        str(entry["email"]): entry
        for entry in (emails if isinstance(emails, list) else [])
        if isinstance(entry, dict) and entry.get("email")
    }
    primary = next((email for email, entry in known.items() if entry.get("primary")), None)
    email = own if isinstance(own, str) and own else primary or next(iter(known), "")
    return email.lower(), known.get(email, {}).get("verified") is True


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
