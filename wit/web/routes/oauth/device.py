"""``/oauth/device``: the page where a person enters what a device shows, and decides
(RFC 8628, section 3.3)."""

from __future__ import annotations

from wit.access.actor import Actor
from wit.core import Core
from wit.db.port import Row
from wit.errors import NotFound, WitError
from wit.oauth.errors import OAuthError
from wit.oauth.scopes import Scopes
from wit.web.pages import show
from wit.web.routes.oauth.browser import Browsers, session_of, to_login
from wit.web.routes.oauth.messages import form, no_store, parameters
from wit.web.routes.oauth.pages import consent, enter_code, message
from wit.web.routes.oauth.tickets import FIELD, Tickets
from wit.web.streaming import Handler, Request

PATH = "/oauth/device"


class DevicePage:
    def __init__(self, core: Core, browsers: Browsers, tickets: Tickets) -> None:
        self._devices = core.oauth.devices
        self._browsers = browsers
        self._tickets = tickets

    async def get(self, request: Request) -> None:
        await self._answered(request, self._ask)

    async def post(self, request: Request) -> None:
        await self._answered(request, self._decide)

    async def _answered(self, request: Request, handler: Handler) -> None:
        no_store(request)
        try:
            await handler(request)
        except NotFound as error:
            await show(request, enter_code(PATH, error.message, 404))
        except WitError as error:
            sentence, _ = request.refuse(error)
            await show(request, message("This did not work", sentence, request.code))

    async def _ask(self, request: Request) -> None:
        typed = parameters(request.query).get("user_code")
        person = await self._browsers.person(request)
        if person is None:
            to_login(request)
            return
        if typed is None:
            await show(request, enter_code(PATH))
            return
        device = await self._find(typed, person)
        page = consent(
            action=PATH,
            app=device,
            username=person.username,
            scopes=Scopes.of(device["scopes"], device["openid"]),
            ticket=self._tickets.issue(session_of(person), PATH, device["device_id"]),
            hidden={"user_code": device["user_code"]},
            user_code=device["user_code"],
        )
        await show(request, page)

    async def _decide(self, request: Request) -> None:
        fields = await form(request)
        person = await self._browsers.person(request)
        if person is None:
            to_login(request, "")
            return
        device = await self._find(fields.get("user_code", ""), person)
        self._tickets.check(fields.get(FIELD, ""), session_of(person), PATH, device["device_id"])
        if fields.get("decision") not in ("approve", "deny"):
            raise OAuthError("invalid_request", "decision must be approve or deny")
        approved = fields["decision"] == "approve"
        assert person.user_id is not None
        await self._devices.decide(device["user_code"], person.user_id, approved=approved)
        if approved:
            page = message("Done", "Your device is connected. You can close this page.")
        else:
            page = message("Refused", "The device got nothing. You can close this page.")
        await show(request, page)

    async def _find(self, typed: str, person: Actor) -> Row:
        assert person.user_id is not None
        return await self._devices.find(typed, person.user_id)
