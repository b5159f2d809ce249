"""What apps call themselves: token, device authorization, revocation, introspection, userinfo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from wit.access.actor import ANONYMOUS
from wit.core import Core
from wit.db.port import Row
from wit.errors import Unauthorized
from wit.oauth import devices
from wit.oauth.errors import InvalidClient, OAuthError
from wit.oauth.requests import required
from wit.oauth.scopes import Scopes
from wit.oauth.tokens import Issued
from wit.web.middleware.credentials import Bearer, parse
from wit.web.middleware.limits import limited
from wit.web.routes.oauth.device import PATH as DEVICE_PATH
from wit.web.routes.oauth.messages import answer, client_credentials, form
from wit.web.streaming import Request

REALM = b'Bearer realm="wit"'


class Endpoints:
    """The handlers raise OAuthErrors, which the door answers."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._oauth = core.oauth
        self._grants = {
            "authorization_code": self._by_code,
            "refresh_token": self._by_refresh_token,
            devices.GRANT_TYPE: self._by_device_code,
        }

    async def token(self, request: Request) -> None:
        """RFC 6749, section 3.2."""
        fields = await form(request)
        app = await self._authenticated(request, fields)
        grant = self._grants.get(required(fields, "grant_type"))
        if grant is None:
            kinds = ", ".join(self._grants)
            raise OAuthError("unsupported_grant_type", f"grant_type must be one of {kinds}")
        answer(request, await grant(app, fields))

    async def _by_code(self, app: Row, fields: Mapping[str, str]) -> dict[str, Any]:
        redeemed = await self._oauth.codes.redeem(
            app,
            required(fields, "code"),
            required(fields, "redirect_uri"),
            fields.get("code_verifier"),
        )
        return await self._pair(app, redeemed.issued, redeemed.nonce, redeemed.signed_in_at)

    async def _by_refresh_token(self, app: Row, fields: Mapping[str, str]) -> dict[str, Any]:
        issued = await self._oauth.tokens.refresh(
            app, required(fields, "refresh_token"), fields.get("scope")
        )
        return _pair(issued)

    async def _by_device_code(self, app: Row, fields: Mapping[str, str]) -> dict[str, Any]:
        return await self._pair(
            app, await self._oauth.devices.poll(app, required(fields, "device_code"))
        )

    async def _pair(self, app: Row, issued: Issued, *sign_in: Any) -> dict[str, Any]:
        """``sign_in``: nonce and time, for the ID token that ``openid`` asks for."""
        pair = _pair(issued)
        if issued.scopes.openid:
            pair["id_token"] = await self._oauth.openid.id_token(app, issued, *sign_in)
        return pair

    async def device_authorization(self, request: Request) -> None:
        """RFC 8628, section 3.1."""
        fields = await form(request)
        app = await self._authenticated(request, fields)
        started = await self._oauth.devices.start(app, Scopes.parse(required(fields, "scope")))
        page = f"{self._oauth.issuer}{DEVICE_PATH}"
        answer(
            request,
            {
                "device_code": started.device_code,
                "user_code": started.user_code,
                "verification_uri": page,
                "verification_uri_complete": f"{page}?user_code={started.user_code}",
                "expires_in": int(devices.LIFE.total_seconds()),
                "interval": devices.INTERVAL,
            },
        )

    async def revoke(self, request: Request) -> None:
        """RFC 7009. An app that says who it is proves it, and ends its own tokens only; without
        that (the contract's form), whoever holds a token may end it."""
        fields = await form(request)
        app = None
        if client_credentials(request, fields) is not None:
            app = await self._authenticated(request, fields)
        else:
            await self._count(request, None)
        await self._oauth.tokens.revoke(app, required(fields, "token"))
        answer(request, {"success": True})

    async def introspect(self, request: Request) -> None:
        """RFC 7662, for confidential apps and their own tokens."""
        fields = await form(request)
        app = await self._authenticated(request, fields)
        if not app["is_confidential"]:
            raise InvalidClient("only an app that authenticates with a secret may ask this")
        token = await self._oauth.tokens.introspect(app, required(fields, "token"))
        if token is None:
            answer(request, {"active": False})
            return
        answer(
            request,
            {
                "active": True,
                "scope": str(Scopes.of(token["scopes"], token["openid"])),
                "client_id": token["client_id"],
                "username": token["username"],
                "token_type": "Bearer",
                "exp": int(token["expires_at"].timestamp()),
                "iat": int(token["created_at"].timestamp()),
                "sub": token["user_id"],
                "iss": self._oauth.issuer,
            },
        )

    async def userinfo(self, request: Request) -> None:
        """OpenID Connect Core, section 5.3; errors as in RFC 6750, section 3. Counted as the API's
        calls are: for the user, if the token is good."""
        headers = request.requestHeaders.getRawHeaders(b"Authorization") or []
        token = None
        try:
            (header,) = headers
            credential = parse(header.decode("latin-1"))
            if isinstance(credential, Bearer):
                token = await self._oauth.tokens.verify(credential.token)
        except (Unauthorized, ValueError):
            pass
        user = None if token is None else token["user_id"]
        await limited(request, self._core, "standard", attrs.evolve(ANONYMOUS, user_id=user))
        if token is None or token["suspended"]:
            challenge = REALM + (b', error="invalid_token"' if headers else b"")
            request.setHeader(b"WWW-Authenticate", challenge)
            error = {"error": "invalid_token", "error_description": "send a valid access token"}
            answer(request, error, 401)
        elif not token["openid"]:
            error = {
                "error": "insufficient_scope",
                "error_description": "the scope openid is needed",
            }
            request.setHeader(
                b"WWW-Authenticate", REALM + b', error="insufficient_scope", scope="openid"'
            )
            answer(request, error, 403)
        else:
            answer(request, await self._oauth.openid.userinfo(token))

    async def _authenticated(self, request: Request, fields: Mapping[str, str]) -> Row:
        """The app that asks. Raises InvalidClient, OAuthError, RateLimited."""
        try:
            credentials = client_credentials(request, fields)
            if credentials is None:
                raise InvalidClient("client_id is missing")
            app = await self._oauth.apps.authenticate(credentials.client_id, credentials.secret)
        except InvalidClient:
            await self._count(request, None)
            raise
        request.actor_name = app["client_id"]
        await self._count(request, app)
        return app

    async def _count(self, request: Request, app: Row | None) -> None:
        """An app with a secret calls for all its users from one address, so it has a limit of its
        own; all others have that of their address."""
        caller = ANONYMOUS
        if app is not None and app["is_confidential"]:
            caller = attrs.evolve(ANONYMOUS, credential_id=app["id"])
        await limited(request, self._core, "standard", caller)


def _pair(issued: Issued) -> dict[str, Any]:
    """RFC 6749, section 5.1."""
    return {
        "access_token": issued.access_token,
        "token_type": "Bearer",
        "expires_in": issued.expires_in,
        "refresh_token": issued.refresh_token,
        "scope": str(issued.scopes),
    }
