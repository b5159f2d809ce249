"""Signing in with GitHub."""

from __future__ import annotations

import re
from typing import Any

from wit.accounts.github import PROVIDER
from wit.accounts.identity import PREFIX
from wit.accounts.social import Journey, SocialFailed
from wit.web.answers import TEXT
from wit.web.cookies import STATE
from wit.web.routes.auth import errors
from wit.web.routes.auth.exchange import Body, Exchange, Redirect
from wit.web.routes.auth.mail import with_query

STATE_SECONDS = 300


class SignInSocial(Body):
    provider: str
    callbackURL: str | None = None
    errorCallbackURL: str | None = None
    newUserCallbackURL: str | None = None
    disableRedirect: bool | None = None


async def sign_in_social(x: Exchange) -> Any:
    return await _leave(x, None)


async def link_social(x: Exchange) -> Any:
    """Connect an account to the caller's own."""
    own = await x.signed_in()
    return await _leave(x, own.user_id)


async def _leave(x: Exchange, link_to: str | None) -> Any:
    body = x.body(SignInSocial)
    for field in ("callbackURL", "errorCallbackURL", "newUserCallbackURL"):
        x.check_return(getattr(body, field), field)
    if body.provider != PROVIDER or not x.identity.social.github.configured:
        raise errors.PROVIDER_NOT_FOUND()
    journey = Journey(
        return_to=body.callbackURL or x.public_url,
        on_error=body.errorCallbackURL or "",
        when_new=body.newUserCallbackURL or "",
        link_to=link_to,
    )
    address, state = await x.identity.social.begin(journey)
    x.cookies.set(x.request, STATE, state, STATE_SECONDS)
    if not body.disableRedirect:
        x.request.setHeader(b"Location", address.encode())
    return {"url": address, "redirect": not body.disableRedirect}


async def callback(x: Exchange) -> Redirect:
    """Where GitHub sends people back to."""
    if x.path["provider"] != PROVIDER or not x.identity.social.github.configured:
        raise errors.PROVIDER_NOT_FOUND()
    page = f"{x.public_url}{PREFIX}/error"
    code, error, state = (x.query.get(name, "") for name in ("code", "error", "state"))
    try:
        journey = await x.identity.social.recall(state, x.cookies.signed(x.request, STATE))
        x.cookies.delete(x.request, STATE)
        page = journey.on_error or page
        arrival = await x.identity.social.arrive(journey, code, error, x.device)
    except SocialFailed as failed:
        return Redirect(with_query(page, error=_word(failed.reason)))
    if arrival.session is not None:
        x.begin(arrival.session)
    return Redirect(arrival.return_to)


async def error_page(x: Exchange) -> None:
    """Where people end up when we do not know where they came from."""
    reason = _word(x.query.get("error", ""))
    text = f"Signing in did not work ({reason}). Go back to where you came from and try again.\n"
    x.request.answer(200, TEXT, text.encode())


def _word(reason: str) -> str:
    return reason if re.fullmatch(r"[A-Za-z0-9_-]{1,64}", reason) else "unknown"
