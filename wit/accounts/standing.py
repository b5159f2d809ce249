"""Whether somebody who was let in before would be let in still.

A connection that stays open outlives its request: a session is revoked meanwhile, a token expires,
a user is suspended. Whoever keeps such connections asks here from time to time.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, Table, bindparam, false, or_, select

from wit.access.actor import Actor, Origin
from wit.db.port import Database
from wit.db.tables import oauth_access_tokens, sessions, ssh_keys, tokens, users
from wit.runtime import Runtime

_ACTIVE = select(users.c.id).where(users.c.id == bindparam("who"), users.c.suspended == false())


def _with(table: Table, *good: ColumnElement[bool]) -> Select[Any]:
    return (
        _ACTIVE.join_from(users, table, table.c.user_id == users.c.id)
        .where(table.c.id == bindparam("credential"), *good)
        .execution_options(quick=True)
    )


def _unexpired(table: Table) -> ColumnElement[bool]:
    return or_(table.c.expires_at.is_(None), table.c.expires_at > bindparam("now"))


_BY = {
    Origin.SESSION: _with(sessions, _unexpired(sessions)),
    Origin.TOKEN: _with(tokens, _unexpired(tokens)),
    Origin.OAUTH: _with(
        oauth_access_tokens,
        _unexpired(oauth_access_tokens),
        oauth_access_tokens.c.revoked == false(),
    ),
    Origin.SSH_KEY: _with(ssh_keys),
}


class Standing:
    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime

    async def good(self, actor: Actor) -> bool:
        """Whether the user is not suspended and the credential still works."""
        if actor.origin is Origin.CLI:
            return True
        if actor.anonymous:
            return False
        wanted = {"who": actor.user_id}
        if actor.origin is Origin.PASSWORD:
            return await self._db.fetch_value(_ACTIVE, **wanted) is not None
        statement = _BY.get(actor.origin)
        if statement is None:
            return False
        wanted["credential"] = actor.credential_id
        if actor.origin is not Origin.SSH_KEY:
            now = self._runtime.now()
            return await self._db.fetch_value(statement, **wanted, now=now) is not None
        return await self._db.fetch_value(statement, **wanted) is not None
