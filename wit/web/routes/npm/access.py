"""``npm access``: who may do what with a package, answered from repositories and teams.

The rights of a package are those of its repository. What would change them for one package alone
does not fit there, and is refused with the way that does.
"""

from __future__ import annotations

from wit.errors import Invalid
from wit.web.routes.npm.exchange import Exchange, text_of
from wit.web.routes.npm.publishing import WRITE

_VISIBILITIES = {"public": True, "restricted": False, "private": False}


async def visibility(exchange: Exchange) -> None:
    """``GET /-/package/:name/visibility``."""
    public = await exchange.core.packages.lists.is_public(exchange.actor, exchange.name)
    exchange.answer({"public": public})


async def set_access(exchange: Exchange) -> None:
    """``POST /-/package/:name/access``."""
    exchange.user_id(WRITE)
    body = await exchange.document()
    wanted = text_of(body, "access")
    if wanted not in _VISIBILITIES:
        if "publish_requires_tfa" in body:
            raise Invalid("two-factor sign-in is asked for by accounts here, not by packages")
        raise Invalid("access must be public or restricted")
    await exchange.core.packages.changes.set_visibility(
        exchange.actor, exchange.name, _VISIBILITIES[wanted], exchange.request_id
    )
    exchange.answer({"ok": True})


async def collaborators(exchange: Exchange) -> None:
    """``GET /-/package/:name/collaborators``."""
    lists = exchange.core.packages.lists
    exchange.answer(await lists.collaborators(exchange.actor, exchange.name))


async def of_user(exchange: Exchange) -> None:
    """``GET /-/user/:user/package``."""
    lists = exchange.core.packages.lists
    exchange.answer(await lists.of_user(exchange.actor, exchange.values["user"]))


async def of_organization(exchange: Exchange) -> None:
    """``GET /-/org/:org/package``; npm asks for a user of the name if there is none."""
    lists = exchange.core.packages.lists
    exchange.answer(await lists.of_organization(exchange.actor, exchange.values["org"]))


async def of_team(exchange: Exchange) -> None:
    """``GET /-/team/:org/:team/package``."""
    values = exchange.values
    lists = exchange.core.packages.lists
    exchange.answer(await lists.of_team(exchange.actor, values["org"], values["team"]))


async def grant(exchange: Exchange) -> None:
    """``PUT`` and ``DELETE /-/team/:org/:team/package``."""
    exchange.user_id(WRITE)
    raise Invalid(
        "a package has the rights of its repository: change what the team may do with the "
        "repository instead"
    )
