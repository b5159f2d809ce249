"""Signing in to the registry: what a package manager gets is a personal access token.

With a password the token comes at once. By the web the program shows its user an address and asks
again and again whether the person in the browser has approved; the two know each other by secrets
of which only hashes are stored, and the token is made when the program fetches it.
"""

from __future__ import annotations

import json
from datetime import timedelta

import attrs

from wit.accounts.credentials import check_active
from wit.accounts.one_time import OneTimeSecrets
from wit.accounts.profiles import Profiles
from wit.accounts.sessions import Device
from wit.accounts.sign_in import SignIn
from wit.accounts.tokens import Tokens, secret_hash
from wit.db.port import Database
from wit.errors import Forbidden, NotFound
from wit.runtime import Runtime

SCOPES = ("packages:read", "packages:write", "user:read")
"""What a token may do that a login gives; user:read is what ``npm profile get`` asks for."""

WEB_LIFETIME = timedelta(minutes=5)

_SHOWN, _POLLED, _DECIDED = "npm-login", "npm-poll", "npm-decided"

_SECRET_LENGTH = 32
_GONE = "this login is over, or took too long; start again with npm login"


@attrs.frozen
class WebLogin:
    """``shown`` is what the address in the browser has, ``polled`` what the program keeps."""

    shown: str = attrs.field(repr=False)
    polled: str = attrs.field(repr=False)


@attrs.frozen
class Asking:
    """A web login that waits for a person."""

    address: str
    """From where the program has asked."""
    program: str
    """What it calls itself: a User-Agent."""


class Logins:
    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        *,
        sign_in: SignIn,
        profiles: Profiles,
        tokens: Tokens,
        one_time: OneTimeSecrets,
    ) -> None:
        self._db = db
        self._runtime = runtime
        self._sign_in = sign_in
        self._profiles = profiles
        self._tokens = tokens
        self._one_time = one_time

    async def by_password(self, login: str, password: str, code: str, device: Device) -> str:
        """A token's secret. Raises CodeMissing, Unauthorized, Forbidden, RateLimited, Invalid."""
        user = await self._sign_in.person(login, password, code, device)
        return await self._token(user["id"], device.address)

    async def begin(self, device: Device) -> WebLogin:
        polled = await self._one_time.create(_POLLED, device.address, WEB_LIFETIME, _SECRET_LENGTH)
        asking = {
            "poll": secret_hash(polled),
            "address": device.address,
            "program": device.user_agent[:200],
        }
        shown = await self._one_time.create(
            _SHOWN, json.dumps(asking), WEB_LIFETIME, _SECRET_LENGTH
        )
        return WebLogin(shown, polled)

    async def find(self, shown: str) -> Asking:
        """Raises NotFound for a login that does not wait (any more)."""
        value = await self._one_time.look(_SHOWN, shown)
        if value is None:
            raise NotFound(_GONE)
        known = json.loads(value)
        return Asking(known["address"], known["program"])

    async def decide(self, shown: str, user_id: str, *, approved: bool) -> None:
        """What the person in the browser has answered; it counts once. Raises NotFound."""
        async with self._db.transaction() as tx:
            value = await self._one_time.take(_SHOWN, shown, tx)
            if value is None:
                raise NotFound(_GONE)
            decision = user_id if approved else ""
            poll = json.loads(value)["poll"]
            await self._one_time.put(_DECIDED, poll, decision, WEB_LIFETIME, tx)

    async def poll(self, polled: str) -> str | None:
        """The token's secret, once; None as long as nobody has decided.

        Raises NotFound when the login is over, Forbidden when it was refused.
        """
        address = await self._one_time.look(_POLLED, polled)
        if address is None:
            raise NotFound(_GONE)
        user_id = await self._one_time.take(_DECIDED, secret_hash(polled))
        if user_id is None:
            return None
        await self._one_time.take(_POLLED, polled)
        if not user_id:
            raise Forbidden("the login was refused in the browser")
        check_active(await self._profiles.get(user_id))
        return await self._token(user_id, address)

    async def _token(self, user_id: str, address: str) -> str:
        name = f"npm login from {address}, {self._runtime.now():%Y-%m-%d %H:%M}"
        _, secret = await self._tokens.create(user_id, name[:100], SCOPES)
        return secret
