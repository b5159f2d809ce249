"""The PostgreSQL engine: a pool of connections, and one more that listens.

Only this module and :mod:`wit.db.postgres_link` know the driver, which is the optional extra
``postgres``; they are imported when an address asks for them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import bindparam, func, literal, select
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.defer import TimeoutError as DeferTimeout
from twisted.logger import Logger

from wit.config import Database as Settings
from wit.db.compiled import Query, Statements
from wit.db.port import Connection, DatabaseError, DatabaseUnavailable, Pool
from wit.db.postgres_link import PostgresLink, check_dsn, connect
from wit.db.postgres_listener import Listener
from wit.db.runner import Link, Result, Runner, Transaction
from wit.metrics import Metrics
from wit.runtime import Runtime

SURPLUS_SECONDS = 60.0
"""How often connections beyond ``pool_min`` that were not needed meanwhile are closed."""

_PING = select(literal(1))
_NOTIFY = select(func.pg_notify(bindparam("channel"), bindparam("payload")))


class PostgresDatabase(Runner):
    """The port over one PostgreSQL database.

    Whoever holds a permit of the semaphore may hold one connection, from the shelf if there is
    one, else a new one. A connection comes back to the shelf when its last statement has ended
    and no transaction is open on it, also if whoever asked has been cancelled long ago.
    """

    dialect = "postgresql"
    log = Logger()

    def __init__(self, settings: Settings, dsn: str, runtime: Runtime, metrics: Metrics) -> None:
        statements = Statements(PGDialect_psycopg2())  # type: ignore[no-untyped-call]
        super().__init__(statements, runtime, metrics)
        self._settings = settings
        self._dsn = check_dsn(dsn)
        self._permits = DeferredSemaphore(max(1, settings.pool_max))
        self._shelf: list[PostgresLink] = []
        self._held: set[PostgresLink] = set()
        self._least_idle = 0
        self._tidying: Any = None
        self._listener = Listener(self._connect, runtime)
        self._open = False

    async def open(self) -> None:
        self._open = True
        try:
            for _ in range(min(self._settings.pool_min, self._permits.limit)):
                self._shelf.append(await self._connect())
            await self._listener.start()
        except BaseException:
            await self.close()
            raise
        self._tidy()

    async def close(self) -> None:
        self._open = False
        if self._tidying is not None and self._tidying.active():
            self._tidying.cancel()
        await self._listener.stop()
        permits = 0
        try:
            while permits < self._permits.limit:
                await self._permit()
                permits += 1
        except DatabaseUnavailable:
            self.log.warn("closing database connections that are still in use")
        for link in [*self._shelf, *self._held]:
            link.disconnect()
        self._shelf.clear()
        for _ in range(permits):
            self._permits.release()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self._link() as link:
            await link.run_plain("BEGIN")
            transaction = Transaction(
                self._statements, self._runtime, self._metrics, link, self._notifier(link)
            )
            yield transaction
            transaction.finish()
            await link.run_plain("COMMIT")

    async def ping(self) -> float:
        started = self._runtime.reactor.seconds()
        await self.fetch_value(_PING)
        return float((self._runtime.reactor.seconds() - started) * 1000)

    def pool(self) -> Pool:
        idle = len(self._shelf)
        return Pool(idle + len(self._held), idle, len(self._permits.waiting))

    async def notify(self, channel: str, payload: str = "") -> None:
        async with self._link() as link:
            await self._notifier(link)(channel, payload)

    def listen(self, channel: str, heard: Callable[[str], object]) -> Callable[[], None]:
        return self._listener.add(channel, heard)

    def _notifier(self, link: Link) -> Callable[[str, str], Any]:
        async def notify(channel: str, payload: str) -> None:
            await self._listener.settled()
            values = {"channel": channel, "payload": payload}
            await link.run(self._statements.query(_NOTIFY, values))

        return notify

    async def _perform(self, query: Query) -> Result:
        async with self._link() as link:
            return await link.run(query)

    async def _perform_many(self, queries: list[Query]) -> None:
        async with self._link() as link:
            await link.run_plain("BEGIN")
            await link.run_many(queries)
            await link.run_plain("COMMIT")

    # The pool

    async def _connect(self) -> PostgresLink:
        return await connect(self._settings, self._dsn, self._runtime)

    @asynccontextmanager
    async def _link(self) -> AsyncIterator[PostgresLink]:
        """A connection of one's own for a while. Raises DatabaseUnavailable."""
        if not self._open:
            raise DatabaseUnavailable("the database is closed")
        await self._permit()
        try:
            link = self._from_shelf() or await self._connect()
        except BaseException:
            self._permits.release()
            raise
        self._held.add(link)
        try:
            yield link
        finally:
            if link.resting or not link.usable:
                self._put_back(link)
            else:
                Deferred.fromCoroutine(self._put_back_later(link))

    async def _permit(self) -> None:
        if self._permits.tokens > 0:
            await self._permits.acquire()
            return
        turn = self._permits.acquire()
        turn.addTimeout(self._settings.busy_seconds, self._runtime.reactor)
        try:
            await turn
        except DeferTimeout:
            raise DatabaseUnavailable("all database connections are busy; try again") from None

    def _from_shelf(self) -> PostgresLink | None:
        """The connection used last; those that the server has closed are dropped."""
        while self._shelf:
            link = self._shelf.pop()
            self._least_idle = min(self._least_idle, len(self._shelf))
            if link.usable:
                return link
            link.disconnect()
        return None

    async def _put_back_later(self, link: PostgresLink) -> None:
        """The caller has left a statement running or a transaction open: end both first."""
        try:
            await link.run_plain("ROLLBACK")
        except DatabaseError:
            link.disconnect()
        self._put_back(link)

    def _put_back(self, link: PostgresLink) -> None:
        self._held.discard(link)
        if link.usable and self._open:
            self._shelf.append(link)
        else:
            link.disconnect()
        self._permits.release()

    def _tidy(self) -> None:
        """Close connections that nobody needed since the last time, down to ``pool_min``."""
        surplus = min(self._least_idle, len(self._shelf) - self._settings.pool_min)
        for _ in range(surplus):
            self._shelf.pop(0).disconnect()
        self._least_idle = len(self._shelf)
        self._tidying = self._runtime.reactor.callLater(SURPLUS_SECONDS, self._tidy)
