"""``npm login`` by the web: the program's side (the page is wit.web.routes.pages.npm_login)."""

from __future__ import annotations

from wit.web.routes.npm.exchange import Exchange
from wit.web.routes.npm.paths import PREFIX
from wit.web.routes.pages import npm_login

POLL_SECONDS = 1
"""How long the program waits before it asks again."""


async def begin(exchange: Exchange) -> None:
    """``POST /-/v1/login``: two addresses, one for the browser and one for the program."""
    begun = await exchange.core.package_logins.begin(exchange.device)
    site = exchange.core.config.public_url
    door = f"{site}{PREFIX.decode()}"
    exchange.answer(
        {
            "loginUrl": f"{site}{npm_login.PATH}/{begun.shown}",
            "doneUrl": f"{door}/-/v1/login/done/{begun.polled}",
        }
    )


async def done(exchange: Exchange) -> None:
    """``GET /-/v1/login/done/:secret``: 202 until the person has decided, then the token, once."""
    token = await exchange.core.package_logins.poll(exchange.values["secret"])
    if token is not None:
        exchange.answer({"token": token})
        return
    exchange.request.setHeader(b"Retry-After", b"%d" % POLL_SECONDS)
    exchange.answer({}, 202)
