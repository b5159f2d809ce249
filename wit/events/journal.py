"""The durable journal of events: written in the transaction of the change that it tells of."""

from __future__ import annotations

from sqlalchemy import bindparam, insert, select
from twisted.logger import Logger

from wit.db.port import Connection, Database, DatabaseError, Row
from wit.db.tables import events
from wit.events.types import Event, NewEvent
from wit.runtime import Runtime

CHANNEL = "events"
"""The notification that tells all daemons of new entries."""

MAX_PAGE = 1000

EVENT_COLUMNS = (
    events.c.seq,
    events.c.id,
    events.c.type,
    events.c.actor_id,
    events.c.repo_id,
    events.c.payload,
    events.c.created_at,
)

_APPEND = insert(events)
_PAGE = (
    select(*EVENT_COLUMNS)
    .where(events.c.seq > bindparam("after_seq"))
    .order_by(events.c.seq)
    .limit(bindparam("count"))
)
_PAGE_OF_REPOSITORY = _PAGE.where(events.c.repo_id == bindparam("repo"))


def event_from_row(row: Row) -> Event:
    return Event(**{column.name: row[column.name] for column in EVENT_COLUMNS})


class Journal:
    """Appending to the journal and reading it in pages."""

    log = Logger()

    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._runtime = runtime

    async def append(self, tx: Connection, *new_events: NewEvent) -> None:
        """Write ``new_events`` in their order, as part of the caller's transaction.

        The caller announces them once the transaction is committed.
        """
        if new_events:
            now = self._runtime.now()
            await tx.execute_many(
                _APPEND,
                [
                    {
                        "id": self._runtime.new_id(),
                        "type": new.type,
                        "actor_id": new.actor_id,
                        "repo_id": new.repo_id,
                        "payload": dict(new.payload),
                        "created_at": now,
                    }
                    for new in new_events
                ],
            )

    async def announce(self) -> None:
        """Wake the event buses. A failure only costs time: buses look by themselves as well."""
        try:
            await self._db.notify(CHANNEL)
        except DatabaseError:
            self.log.failure("new events could not be announced")

    async def list(
        self, after_seq: int = 0, limit: int = 100, repo_id: str | None = None
    ) -> list[Event]:
        """The entries behind ``after_seq``, oldest first, at most ``limit`` (and MAX_PAGE).

        For showing history. On PostgreSQL a long transaction may commit an entry behind one that
        was read already; who must see every entry registers a handler with the bus.
        """
        count = max(1, min(limit, MAX_PAGE))
        if repo_id is None:
            rows = await self._db.fetch_all(_PAGE, after_seq=after_seq, count=count)
        else:
            rows = await self._db.fetch_all(
                _PAGE_OF_REPOSITORY, after_seq=after_seq, count=count, repo=repo_id
            )
        return [event_from_row(row) for row in rows]
