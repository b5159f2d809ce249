"""When tokens and keys were last used: noted in memory, written in the background.

A request only puts a time into a dict; every minute one statement per table writes what came
together. So each row is written once a minute at most, and never while somebody waits for it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Table, bindparam, or_, update
from sqlalchemy.sql import Executable
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from wit.db.port import Database, DatabaseError
from wit.db.tables import oauth_access_tokens, ssh_keys, tokens
from wit.runtime import Runtime

_log = Logger()

FLUSH_SECONDS = 60.0
MAX_PENDING = 10_000
"""Rows noted between two writes; uses of further rows are not recorded in that minute."""


def _mark_used(table: Table) -> Executable:
    last = table.c.last_used_at
    return (
        update(table)
        .where(table.c.id == bindparam("which"))
        .where(or_(last.is_(None), last < bindparam("used_at")))
        .values(last_used_at=bindparam("used_at"))
    )


_TOKEN_USED = _mark_used(tokens)
_KEY_USED = _mark_used(ssh_keys)
_OAUTH_TOKEN_USED = _mark_used(oauth_access_tokens)


class LastUse:
    """Collects last-use times of tokens of both kinds and of SSH keys."""

    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime
        self._tokens: dict[str, datetime] = {}
        self._keys: dict[str, datetime] = {}
        self._oauth_tokens: dict[str, datetime] = {}
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._flush_or_log()))
        self._loop.clock = runtime.reactor
        self._ended: Deferred[LoopingCall] | None = None

    def token(self, token_id: str) -> None:
        """The token with this id was used now."""
        self._note(self._tokens, token_id)

    def key(self, key_id: str) -> None:
        """The SSH key with this id was used now."""
        self._note(self._keys, key_id)

    def oauth_token(self, token_id: str) -> None:
        """The access token with this id was used now."""
        self._note(self._oauth_tokens, token_id)

    def _note(self, noted: dict[str, datetime], row_id: str) -> None:
        if row_id in noted or len(noted) < MAX_PENDING:
            noted[row_id] = self._runtime.now()

    def start(self) -> None:
        """Write every minute from now on."""
        self._ended = self._loop.start(FLUSH_SECONDS, now=False)

    async def stop(self) -> None:
        """Write what is noted and end; a write that is under way is waited for."""
        if self._ended is not None:
            self._loop.stop()
            await self._ended
            self._ended = None
        await self._flush_or_log()

    async def flush(self) -> None:
        """Write what is noted now. Raises DatabaseError; what it was writing is then forgotten."""
        tokens_used, self._tokens = self._tokens, {}
        keys_used, self._keys = self._keys, {}
        oauth_used, self._oauth_tokens = self._oauth_tokens, {}
        if tokens_used:
            await self._db.execute_many(_TOKEN_USED, _rows(tokens_used))
        if keys_used:
            await self._db.execute_many(_KEY_USED, _rows(keys_used))
        if oauth_used:
            await self._db.execute_many(_OAUTH_TOKEN_USED, _rows(oauth_used))

    async def _flush_or_log(self) -> None:
        try:
            await self.flush()
        except DatabaseError as error:
            _log.warn("last-use times could not be written: {error}", error=error)


def _rows(noted: dict[str, datetime]) -> list[dict[str, object]]:
    return [{"which": row_id, "used_at": when} for row_id, when in sorted(noted.items())]
