"""The embedded engine: one file, one writer thread, several reader threads.

SQLite in WAL mode lets readers go on while one connection writes. Writes go to one thread, in the
order in which they were asked for; a transaction keeps the writer for itself from BEGIN to COMMIT.
Because that thread does its work in order, a rollback need not be waited for: whatever comes next
comes after it. That is what makes cancellation simple here.

A way to a thread and back costs more than most look-ups: so those that say so (``quick``, see the
port) run on the reactor itself, over a connection of their own that waits for nobody. If the file
is locked just then, they take the way through a reader thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import literal, select
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from twisted.internet.defer import DeferredLock
from twisted.internet.defer import TimeoutError as DeferTimeout

from wit.config import Database as Settings
from wit.db.channels import Channels
from wit.db.compiled import Query, Statements
from wit.db.port import Connection, DatabaseUnavailable, Pool
from wit.db.runner import Result, Runner, Transaction
from wit.db.sqlite_threads import Threads, connect
from wit.metrics import Metrics
from wit.runtime import Runtime

LOCKED = "the database is locked by a write that takes too long; try again"
_PING = select(literal(1))


class SqliteDatabase(Runner):
    """The port over one SQLite file, which must exist (wit/db/migrate.py makes it)."""

    dialect = "sqlite"

    def __init__(self, settings: Settings, path: Path, runtime: Runtime, metrics: Metrics) -> None:
        super().__init__(Statements(SQLiteDialect_pysqlite(paramstyle="qmark")), runtime, metrics)
        self._busy_seconds = settings.busy_seconds
        reactor = runtime.reactor
        self._writer = Threads(reactor, 1, lambda: connect(path, settings.busy_seconds))
        self._readers = Threads(
            reactor,
            max(1, settings.readers),
            lambda: connect(path, settings.busy_seconds, read_only=True),
        )
        self._path = path
        self._here: sqlite3.Connection | None = None
        self._lock = DeferredLock()
        self._channels = Channels()

    async def open(self) -> None:
        try:
            await self._writer.start()
            await self._readers.start()
            self._here = connect(self._path, 0.0, read_only=True)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        if self._here is not None:
            self._here.close()
            self._here = None
        await self._readers.stop()
        try:
            await self._take_writer()
            self._lock.release()
        except DatabaseUnavailable:
            pass  # a transaction that does not end; closing the connection rolls it back
        await self._writer.stop()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        told: list[tuple[str, str]] = []

        async def notify(channel: str, payload: str) -> None:
            told.append((channel, payload))

        await self._take_writer()
        try:
            transaction = Transaction(
                self._statements, self._runtime, self._metrics, _WriterLink(self._writer), notify
            )
            await self._writer.run(_begin)
            yield transaction
            transaction.finish()
            await self._writer.run(_commit)
        except BaseException:
            self._writer.run_unheard(_rollback)
            raise
        finally:
            self._lock.release()
        for channel, payload in told:
            await self.notify(channel, payload)

    async def ping(self) -> float:
        started = self._runtime.reactor.seconds()
        await self.fetch_value(_PING)
        return float((self._runtime.reactor.seconds() - started) * 1000)

    def pool(self) -> Pool:
        """Of the readers, and the one writer."""
        writing = 1 if self._lock.locked else 0
        reading = self._readers.pending
        return Pool(
            size=self._readers.count + 1,
            idle=max(0, self._readers.count - reading) + 1 - writing,
            waiting=max(0, reading - self._readers.count) + len(self._lock.waiting),
        )

    async def notify(self, channel: str, payload: str = "") -> None:
        self._runtime.reactor.callLater(0, self._channels.tell, channel, payload)

    def listen(self, channel: str, heard: Callable[[str], object]) -> Callable[[], None]:
        return self._channels.add(channel, heard)

    async def _perform(self, query: Query) -> Result:
        if query.reads:
            if query.quick and self._here is not None:
                try:
                    return _run(self._here, query)
                except (sqlite3.Error, ValueError, OverflowError):
                    pass  # a reader thread waits for a lock, and knows how to say what is wrong
            return await self._readers.run(_run, query)
        await self._take_writer()
        try:
            return await self._writer.run(_run, query)
        finally:
            self._lock.release()

    async def _perform_many(self, queries: list[Query]) -> None:
        await self._take_writer()
        try:
            await self._writer.run(_run_all, queries)
        finally:
            self._lock.release()

    async def _take_writer(self) -> None:
        """Wait for one's turn, fairly. Raises DatabaseUnavailable after ``busy_seconds``."""
        if not self._lock.locked:
            await self._lock.acquire()
            return
        turn = self._lock.acquire()
        turn.addTimeout(self._busy_seconds, self._runtime.reactor)
        try:
            await turn
        except DeferTimeout:
            raise DatabaseUnavailable(LOCKED) from None


class _WriterLink:
    """The writer, within a transaction."""

    def __init__(self, writer: Threads) -> None:
        self._writer = writer

    async def run(self, query: Query) -> Result:
        return await self._writer.run(_run, query)

    async def run_many(self, queries: list[Query]) -> None:
        await self._writer.run(_run_each, queries)


# In a thread, with its connection


def _run(connection: sqlite3.Connection, query: Query) -> Result:
    cursor = connection.execute(query.sql, query.values)
    rows = query.rows(cursor.description, cursor.fetchall()) if cursor.description else []
    return Result(rows, cursor.rowcount)


def _run_each(connection: sqlite3.Connection, queries: list[Query]) -> None:
    for query in queries:
        connection.execute(query.sql, query.values)


def _run_all(connection: sqlite3.Connection, queries: list[Query]) -> None:
    _begin(connection)
    try:
        _run_each(connection, queries)
        _commit(connection)
    except BaseException:
        _rollback(connection)
        raise


def _begin(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")


def _commit(connection: sqlite3.Connection) -> None:
    connection.execute("COMMIT")


def _rollback(connection: sqlite3.Connection) -> None:
    """Undo what is not committed; there may be nothing (BEGIN failed, or COMMIT was in time)."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")
