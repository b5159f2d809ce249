"""Sessions: the caller's own, the list, and ending them."""

from __future__ import annotations

from typing import Any

from wit.web.cookies import SESSION, SESSION_DATA, read
from wit.web.routes.auth import shapes
from wit.web.routes.auth.exchange import Body, Exchange


class Revoke(Body):
    token: str


async def get_session(x: Exchange) -> Any:
    session = await x.session()
    sent = read(x.request)
    if session is None:
        if x.cookies.name(SESSION) in sent:
            x.end()
        return None
    if x.query.get("disableRefresh") != "true" and session.remember:
        refreshed = await x.identity.sessions.refresh(session)
        if refreshed is not None:
            session = refreshed
            x.begin(session)
        elif x.cookies.name(SESSION_DATA) not in sent:
            x.tell(session)
    return {"session": shapes.session(session), "user": shapes.user(session.user)}


async def list_sessions(x: Exchange) -> Any:
    own = await x.signed_in()
    rows = await x.identity.sessions.list(own.user_id)
    return [
        shapes.listed_session(row, own.token if row["id"] == own.id else row["id"]) for row in rows
    ]


async def revoke_session(x: Exchange) -> Any:
    """By what the list calls its token; one that is not there is gone already."""
    own = await x.signed_in()
    await x.identity.sessions.revoke(own.user_id, x.body(Revoke).token)
    return {"status": True}


async def revoke_sessions(x: Exchange) -> Any:
    own = await x.signed_in()
    await x.identity.sessions.revoke_all(own.user_id)
    await x.identity.two_factor.trusted.forget(own.user_id)
    return {"status": True}


async def revoke_other_sessions(x: Exchange) -> Any:
    own = await x.signed_in()
    await x.identity.sessions.revoke_all(own.user_id, keep=own.id)
    await x.identity.two_factor.trusted.forget(own.user_id)
    return {"status": True}
