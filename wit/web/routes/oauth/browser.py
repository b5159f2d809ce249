"""Who sits before the browser."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

from sqlalchemy import bindparam, select

from wit.access.actor import Actor, Origin
from wit.core import Core
from wit.db.tables import sessions
from wit.web.middleware.caller import Callers
from wit.web.middleware.limits import limited
from wit.web.routes.oauth.messages import redirect
from wit.web.streaming import Request

_SIGNED_IN_AT = select(sessions.c.created_at).where(sessions.c.id == bindparam("session"))


class Browsers:
    """Only a person's own session counts here: a token could otherwise give itself more rights."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._callers = Callers(core.credentials, core.config)

    async def person(self, request: Request) -> Actor | None:
        """The person, who is signed in by a session; None if nobody is.

        Raises Forbidden for a suspended user and for a POST from another site's page, and
        RateLimited.
        """
        caller = await self._callers.of(request)
        await limited(request, self._core, "standard", caller.actor)
        return caller.actor if caller.actor.origin is Origin.SESSION else None

    async def signed_in_at(self, person: Actor) -> datetime | None:
        when: datetime | None = await self._core.db.fetch_value(
            _SIGNED_IN_AT, session=person.credential_id
        )
        return when


def to_login(request: Request, query: str | None = None) -> None:
    """Send the browser to the sign-in page, and from there back here."""
    text = request.query.decode("ascii") if query is None else query
    here = request.path.decode("ascii") + (f"?{text}" if text else "")
    redirect(request, f"/login?returnTo={quote(here, safe='')}")


def session_of(person: Actor) -> str:
    assert person.credential_id is not None, "a session has an id"
    return person.credential_id
