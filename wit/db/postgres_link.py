"""One connection to a PostgreSQL server, and what the server's errors mean.

txpostgres turns psycopg2's asynchronous mode into Deferreds. What is added here: a caller that is
cancelled does not disturb the connection (its statement runs to the end and the result is dropped;
txpostgres' own cancellation blocks the reactor and raises out of ``Deferred.cancel``), time limits
for connecting, and a signal when the connection is lost.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, adapt, parse_dsn
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferTimeout
from twisted.python.failure import Failure
from txpostgres import txpostgres

from wit.config import Database as Settings
from wit.db.compiled import Plan, Query
from wit.db.port import (
    DatabaseError,
    DatabaseUnavailable,
    ForeignKeyViolation,
    UniqueViolation,
)
from wit.db.runner import UNSTORABLE, Result
from wit.errors import ConfigError
from wit.runtime import Runtime

BATCH = 100
"""Statements that ``run_many`` sends in one round trip."""

MAX_PREPARED = 100
"""Statements that a connection prepares at most."""

KEEPALIVE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A server that vanished without a word is noticed within a minute (libpq, section 34.1.2)."""

LOST = "the connection to the database was lost; try again"
_UNAVAILABLE = {
    "08": "the connection to the database failed; try again",
    "40": "the database gave this transaction up in favour of another; try again",
    "53": "the database server is out of resources (disk, memory or connections)",
    "55": "the database is locked by a write that takes too long; try again",
    "57": "the database server is stopping or took too long; try again",
    "58": "the disk of the database server does not work",
}
"""By class of SQLSTATE (PostgreSQL manual, appendix A)."""


def translate(error: BaseException) -> BaseException:
    """The port's error for the driver's. Never holds values: no DETAIL, no statement."""
    if isinstance(error, CancelledError):
        return DatabaseUnavailable(_UNAVAILABLE["57"])  # txpostgres, for SQLSTATE 57014
    if isinstance(error, psycopg2.Error):
        state = error.pgcode or ""
        message = error.diag.message_primary or "the server said nothing"
        if state == "23505":
            return UniqueViolation(message)
        if state == "23503":
            return ForeignKeyViolation(message)
        if sentence := _UNAVAILABLE.get(state[:2]):
            return DatabaseUnavailable(sentence)
        if not state and isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
            return DatabaseUnavailable(LOST)
        return DatabaseError(f"PostgreSQL: {state} {message}")
    if isinstance(error, ValueError | OverflowError):
        return DatabaseError(UNSTORABLE)
    return error


class PostgresLink(txpostgres.Connection):  # type: ignore[misc]
    """A connection that runs one statement at a time, in the order in which they were asked for.

    ``lost`` fires with None when it is closed, by whichever side.
    """

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor)
        self.lost: Deferred[None] = Deferred()
        self._calls: dict[Plan, str | None] = {}

    @property
    def usable(self) -> bool:
        return self._connection is not None and not self._connection.closed

    @property
    def resting(self) -> bool:
        """Usable, no statement running or waiting, and no transaction open."""
        return (
            self.usable
            and not self.lock.locked
            and self._connection.info.transaction_status == TRANSACTION_STATUS_IDLE
        )

    async def run(self, query: Query) -> Result:
        """A quick one is prepared the first time: planning the gate's joins takes the server
        longer than running them."""
        call = None
        if query.quick:
            if query.plan not in self._calls and len(self._calls) < MAX_PREPARED:
                self._calls[query.plan] = await self._prepare(query.plan)
            call = self._calls.get(query.plan)
        return await self._exclusively(call or query.sql, query.values, query)

    async def _prepare(self, plan: Plan) -> str | None:
        """The statement that calls a prepared ``plan``; None if it cannot be prepared."""
        numbered = plan.numbered(lambda constant: adapt(constant).getquoted().decode())
        if numbered is None:
            return None
        text, names = numbered
        name = f"wit_{len(self._calls)}"
        await self._exclusively(f"PREPARE {name} AS {text}", None, None)
        values = ", ".join(f"%({name})s" for name in names)
        return f"EXECUTE {name} ({values})" if names else f"EXECUTE {name}"

    async def run_many(self, queries: list[Query]) -> None:
        """To be called within a transaction: a batch goes in one message."""
        for start in range(0, len(queries), BATCH):
            batch = [self._spelled_out(query) for query in queries[start : start + BATCH]]
            await self._exclusively(b";".join(batch), None, None)

    def _spelled_out(self, query: Query) -> bytes:
        """The statement with its values written into it, quoted by the driver."""
        if not self.usable:
            raise DatabaseUnavailable(LOST)
        try:
            spelled: bytes = self._connection.cursor().mogrify(query.sql, query.values)
        except (psycopg2.Error, ValueError) as error:
            raise translate(error) from None
        return spelled

    async def run_plain(self, sql: str) -> None:
        """A statement without parameters and rows, such as COMMIT."""
        await self._exclusively(sql, None, None)

    async def turn(self) -> None:
        """Returns when every statement asked for before has ended."""
        await self.lock.acquire()
        self.lock.release()

    async def _exclusively(self, sql: str | bytes, values: Any, query: Query | None) -> Result:
        await self.lock.acquire()
        if not self.usable:
            self.lock.release()
            raise DatabaseUnavailable(LOST)
        answer: Deferred[Any] = Deferred()

        def ended(outcome: Any) -> None:
            self.lock.release()
            if isinstance(outcome, Failure) and outcome.value is not None:
                outcome = Failure(translate(outcome.value))  # type: ignore[no-untyped-call]
            answer.callback(outcome)

        self.cursor().execute(sql, values).addBoth(ended)
        cursor = await answer
        try:
            rows = []
            if cursor.description and query is not None:
                rows = query.rows(cursor.description, cursor.fetchall())
            return Result(rows, cursor.rowcount)
        finally:
            cursor.close()

    def disconnect(self) -> None:
        if self._connection is not None:
            self.close()
        self._say_lost()

    def doRead(self) -> None:
        try:
            super().doRead()
        except psycopg2.Error:
            self.disconnect()  # the server hung up while no statement was running

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        if not self.usable:
            self._say_lost()

    def _say_lost(self) -> None:
        if not self.lost.called:
            self.lost.callback(None)


def check_dsn(dsn: str) -> str:
    """``dsn`` itself. Raises ConfigError; libpq's own words are kept back, they may quote it."""
    try:
        parse_dsn(dsn)
    except psycopg2.Error:
        raise ConfigError(
            "database.url is not an address that PostgreSQL's library understands: expected "
            "postgresql://user:password@host/name, with %-escapes for special characters"
        ) from None
    return dsn


async def connect(settings: Settings, dsn: str, runtime: Runtime) -> PostgresLink:
    """Raises DatabaseUnavailable if that does not succeed within ``connect_seconds``."""
    link = PostgresLink(runtime.reactor)
    try:
        arguments = await _arguments(settings, dsn, runtime)
        connected: Deferred[None] = Deferred()
        link.connect(**arguments).addCallbacks(
            lambda _: connected.callback(None), connected.errback
        )
        connected.addTimeout(settings.connect_seconds, runtime.reactor)
        await connected
    except (psycopg2.Error, OSError, DeferTimeout) as error:
        link.disconnect()
        raise DatabaseUnavailable("the database server cannot be reached") from error
    except BaseException:
        link.disconnect()
        raise
    return link


async def _arguments(settings: Settings, dsn: str, runtime: Runtime) -> dict[str, Any]:
    """What libpq needs, with the host looked up: libpq would block the reactor for that."""
    arguments: dict[str, Any] = {**KEEPALIVE, **parse_dsn(dsn)}
    milliseconds = int(settings.busy_seconds * 1000)
    arguments["options"] = (
        f"{arguments.get('options', '')} -c timezone=UTC -c lock_timeout={milliseconds}".strip()
    )
    arguments.setdefault("application_name", "wit")
    arguments["client_encoding"] = "utf8"
    host = arguments.get("host", "")
    if "hostaddr" not in arguments and _needs_look_up(host):
        found = await runtime.in_thread(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        arguments["hostaddr"] = ",".join(addresses)
        arguments["host"] = ",".join([host] * len(addresses))
    return arguments


def _needs_look_up(host: str) -> bool:
    if not host or host.startswith(("/", "@")) or "," in host:
        return False
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return True
    return False
