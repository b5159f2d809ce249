"""The caller's own apps and authorizations, and the scopes (contract, rest.md, "/oauth")."""

from __future__ import annotations

from uuid import UUID

from wit.access.actor import Actor
from wit.core import Core
from wit.errors import NotFound
from wit.oauth.errors import OAuthError
from wit.oauth.scopes import DESCRIPTIONS
from wit.operations.routers.oauth_apps import app_shape
from wit.operations.routers.oauth_apps_used import authorization_shape
from wit.web.routes.oauth.browser import Browsers
from wit.web.routes.oauth.messages import answer
from wit.web.streaming import Request

AUTHORIZATIONS = b"/oauth/authorizations"


class Own:
    """The handlers raise OAuthErrors, which the door answers."""

    def __init__(self, core: Core, browsers: Browsers) -> None:
        self._oauth = core.oauth
        self._browsers = browsers

    async def scopes(self, request: Request) -> None:
        listed = [{"name": name, "description": text} for name, text in DESCRIPTIONS.items()]
        answer(request, {"scopes": listed})

    async def apps(self, request: Request) -> None:
        user_id = await self._user(request)
        rows = await self._oauth.apps.of_owner(user_id)
        answer(request, {"apps": [app_shape(row) for row in rows]})

    async def authorizations(self, request: Request) -> None:
        user_id = await self._user(request)
        rows = await self._oauth.authorizations.of_user(user_id)
        answer(request, {"authorizations": [authorization_shape(row) for row in rows]})

    async def revoke(self, request: Request) -> None:
        """Of another user's as if there were none."""
        user_id = await self._user(request)
        wanted = request.path.removeprefix(AUTHORIZATIONS + b"/").decode("ascii")
        try:
            await self._oauth.authorizations.revoke(user_id, str(UUID(wanted)))
        except (ValueError, NotFound):
            raise OAuthError("not_found", "authorization not found", 404) from None
        answer(request, {"success": True})

    async def _user(self, request: Request) -> str:
        person: Actor | None = await self._browsers.person(request)
        if person is None or person.user_id is None:
            raise OAuthError("unauthorized", "sign in to do this", 401)
        return person.user_id
