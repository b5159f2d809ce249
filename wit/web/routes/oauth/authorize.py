"""``/oauth/authorize``: an app asks, the person decides (RFC 6749, section 3.1).

Only a POST of the form that was shown approves. The reference's ``approved=true`` in the address
shows the form again: otherwise a link on any page could approve.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from wit.access.actor import Actor
from wit.core import Core
from wit.errors import WitError
from wit.oauth.errors import OAuthError
from wit.oauth.redirects import with_answer
from wit.oauth.requests import (
    REPEATED,
    AuthorizationRequest,
    Refused,
    client_of,
    read_request,
)
from wit.web.pages import show
from wit.web.routes.oauth.browser import Browsers, session_of, to_login
from wit.web.routes.oauth.messages import (
    answer,
    form,
    no_store,
    parameters,
    redirect,
    wants_html,
)
from wit.web.routes.oauth.pages import consent, message
from wit.web.routes.oauth.tickets import FIELD, Tickets
from wit.web.streaming import Handler, Request

PATH = "/oauth/authorize"

FRESH_SECONDS = 300
"""How old a sign-in may be for an app that asks for a new one (``prompt=login``)."""


class Authorize:
    def __init__(self, core: Core, browsers: Browsers, tickets: Tickets) -> None:
        self._oauth = core.oauth
        self._users = core.users
        self._runtime = core.runtime
        self._browsers = browsers
        self._tickets = tickets

    async def get(self, request: Request) -> None:
        await self._answered(request, self._ask)

    async def post(self, request: Request) -> None:
        await self._answered(request, self._decide)

    async def _answered(self, request: Request, handler: Handler) -> None:
        """Errors go to the app if its address is known to be its own, else to the person."""
        no_store(request)
        try:
            await handler(request)
        except Refused as error:
            problem = {"error": error.error, "error_description": error.message}
            self._send_back(request, error.redirect_uri, error.state, problem)
        except OAuthError as error:
            if wants_html(request):
                title = "This app has sent you here with a wrong address"
                await show(request, message(title, error.message, 400))
            else:
                told = {"error": error.error, "error_description": error.message}
                answer(request, told, 400)
        except WitError as error:
            if not wants_html(request) or error.code == "internal":
                raise
            sentence, _ = request.refuse(error)
            await show(request, message("This did not work", sentence, error.answer.http))

    async def _ask(self, request: Request) -> None:
        fields = parameters(request.query)
        asked = await self._read(fields)
        person = await self._browsers.person(request)
        if "none" in asked.prompt:
            if person is None:
                raise asked.refuse("login_required", "nobody is signed in")
            raise asked.refuse("consent_required", "the user is asked each time")
        if fields.get("approved") == "false":
            raise asked.refuse("access_denied", "the user has refused")
        if person is None:
            to_login(request)
            return
        if "login" in asked.prompt:
            to_login(request, _without_prompt(fields))
            return
        await self._check_age(asked, person)
        if wants_html(request):
            page = consent(
                action=PATH,
                app=asked.app,
                username=person.username,
                scopes=asked.scopes,
                ticket=self._ticket(asked, fields, person),
                hidden=_repeated(fields),
                leads_to=asked.redirect_uri.partition("?")[0],
            )
            await show(request, page)
        else:
            answer(request, await self._as_json(asked, fields, person))

    async def _decide(self, request: Request) -> None:
        fields = await form(request)
        asked = await self._read(fields)
        person = await self._browsers.person(request)
        if person is None:
            to_login(request, urlencode(_repeated(fields)))
            return
        decision = (asked.app["id"], *(fields.get(name) for name in REPEATED))
        self._tickets.check(fields.get(FIELD, ""), session_of(person), *decision)
        if fields.get("decision") == "deny":
            raise asked.refuse("access_denied", "the user has refused")
        if fields.get("decision") != "approve":
            raise OAuthError("invalid_request", "decision must be approve or deny")
        await self._check_age(asked, person)
        assert person.user_id is not None
        signed_in_at = await self._browsers.signed_in_at(person)
        code = await self._oauth.codes.issue(asked, person.user_id, signed_in_at)
        self._send_back(request, asked.redirect_uri, asked.state, {"code": code})

    async def _read(self, fields: Mapping[str, str]) -> AuthorizationRequest:
        app = await self._oauth.apps.find(client_of(fields))
        return read_request(fields, app)

    async def _check_age(self, asked: AuthorizationRequest, person: Actor) -> None:
        """Raises Refused if the sign-in is older than the app accepts."""
        if asked.max_age is None:
            return
        when = await self._browsers.signed_in_at(person)
        if when is None or self._runtime.now() > when + timedelta(seconds=asked.max_age):
            raise asked.refuse("login_required", "the sign-in is too old; ask with prompt=login")

    def _ticket(self, asked: AuthorizationRequest, fields: Mapping[str, str], person: Actor) -> str:
        decision = (asked.app["id"], *(fields.get(name) for name in REPEATED))
        return self._tickets.issue(session_of(person), *decision)

    def _send_back(
        self, request: Request, redirect_uri: str, state: str | None, values: dict[str, str]
    ) -> None:
        """The answer for the app, with its issuer (RFC 9207), so that it cannot be taken for that
        of another server. The web app, which cannot follow, is told the address."""
        if state is not None:
            values["state"] = state
        location = with_answer(redirect_uri, values | {"iss": self._oauth.issuer})
        if request.method == b"POST" and not wants_html(request):
            answer(request, {"redirectTo": location})
        else:
            redirect(request, location)

    async def _as_json(
        self, asked: AuthorizationRequest, fields: Mapping[str, str], person: Actor
    ) -> dict[str, Any]:
        """The contract's form, and what a POST that approves has to send: ``form`` to ``postUrl``
        with ``decision`` approve or deny."""
        assert person.user_id is not None
        app, user = asked.app, await self._users.get(person.user_id)
        existing = await self._oauth.authorizations.find(app["id"], person.user_id)
        again = urlencode(_repeated(fields))
        return {
            "app": {
                "id": app["id"],
                "name": app["name"],
                "description": app["description"],
                "logoUrl": app["logo_url"],
                "websiteUrl": app["website_url"],
                "isVerified": app["is_verified"],
                "ownerId": app["owner_id"],
            },
            "scopes": [
                {"name": name, "description": meaning}
                for name, meaning in asked.scopes.descriptions()
            ],
            "existingAuthorization": None
            if existing is None
            else {"scopes": existing["scopes"], "createdAt": existing["created_at"]},
            "user": {"id": user["id"], "name": user["name"], "email": user["email"]},
            "approveUrl": f"{PATH}?{again}&approved=true",
            "denyUrl": f"{PATH}?{again}&approved=false",
            "postUrl": PATH,
            "form": _repeated(fields) | {FIELD: self._ticket(asked, fields, person)},
        }


def _repeated(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: fields[name] for name in REPEATED if name in fields}


def _without_prompt(fields: Mapping[str, str]) -> str:
    """The query of the same request after a new sign-in, which must not be asked for again."""
    max_age = fields.get("max_age", str(FRESH_SECONDS))
    shorter = min(int(max_age), FRESH_SECONDS)
    return urlencode(_repeated(fields) | {"max_age": str(shorter)})
