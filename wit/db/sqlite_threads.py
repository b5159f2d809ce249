"""Threads that own SQLite connections, and what SQLite's errors mean.

A connection never leaves its thread: work goes in as a function and a value, a plain result or
an exception comes back to the reactor.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Concatenate, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, DeferredList, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from wit.db.port import (
    DatabaseError,
    DatabaseUnavailable,
    ForeignKeyViolation,
    UniqueViolation,
)
from wit.db.runner import UNSTORABLE

P = ParamSpec("P")
T = TypeVar("T")
Job = tuple["Deferred[Any]", Callable[[sqlite3.Connection], Any]]

_UNIQUE = (
    sqlite3.SQLITE_CONSTRAINT_UNIQUE,
    sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY,
    sqlite3.SQLITE_CONSTRAINT_ROWID,
)
_UNAVAILABLE = {
    sqlite3.SQLITE_BUSY: "the database is locked by another process; try again",
    sqlite3.SQLITE_LOCKED: "the database is locked; try again",
    sqlite3.SQLITE_FULL: "the disk with the database is full",
    sqlite3.SQLITE_IOERR: "the disk with the database does not work",
    sqlite3.SQLITE_CANTOPEN: "the database file cannot be opened",
    sqlite3.SQLITE_READONLY: "the database file cannot be written",
}


def connect(path: Path, busy_seconds: float, read_only: bool = False) -> sqlite3.Connection:
    """A connection in autocommit mode to an existing file. Raises sqlite3.Error.

    ``synchronous=FULL``: what was committed survives a power cut, not only a crash of wit.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=busy_seconds,
        isolation_level=None,
        cached_statements=256,
    )
    try:
        if read_only:
            connection.execute("PRAGMA query_only=ON")
        else:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
    except BaseException:
        connection.close()
        raise
    return connection


def translate(error: Exception) -> Exception:
    """The port's error for the driver's. Never holds values: SQLite names columns alone."""
    if isinstance(error, sqlite3.Error):
        code = getattr(error, "sqlite_errorcode", 0)
        if code in _UNIQUE:
            return UniqueViolation(str(error))
        if code == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
            return ForeignKeyViolation(str(error))
        if sentence := _UNAVAILABLE.get(code & 0xFF):
            return DatabaseUnavailable(sentence)
        return DatabaseError(f"SQLite: {error}")
    if isinstance(error, ValueError | OverflowError):
        return DatabaseError(UNSTORABLE)
    return error


def _failure(error: Exception) -> Failure:
    return Failure(translate(error))  # type: ignore[no-untyped-call]


class Threads:
    """A fixed number of threads, each with a connection, that share one queue of work."""

    log = Logger()

    def __init__(self, reactor: Any, count: int, connect: Callable[[], sqlite3.Connection]) -> None:
        self._reactor = reactor
        self.count = count
        self._connect = connect
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._ended: list[Deferred[None]] = []
        self._open = False
        self.pending = 0
        """Pieces of work that were handed in and have not ended."""

    async def start(self) -> None:
        """Start the threads; returns when all have connected. Raises DatabaseError."""
        self._open = True
        connected: list[Deferred[None]] = []
        for number in range(self.count):
            began: Deferred[None] = Deferred()
            ended: Deferred[None] = Deferred()
            thread = threading.Thread(
                target=self._main, args=(began, ended), name=f"sqlite-{number}", daemon=True
            )
            connected.append(began)
            self._ended.append(ended)
            thread.start()
        for outcome in await DeferredList(connected, consumeErrors=True):
            if isinstance(outcome[1], Failure):
                outcome[1].raiseException()

    async def stop(self) -> None:
        """Let the work that was handed in be done, then end the threads."""
        self._open = False
        ended, self._ended = self._ended, []
        for _ in ended:
            self._jobs.put(None)
        await gatherResults(ended)

    def run(
        self,
        work: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Deferred[T]:
        """Fires with what ``work(connection, ...)`` returns. Fails with DatabaseError.

        Cancelled before its turn, the work is not done; later, its result is dropped.
        """
        done: Deferred[T] = Deferred()
        if self._open:
            self.pending += 1
            done.addBoth(self._ended_one)
            self._jobs.put((done, lambda connection: work(connection, *args, **kwargs)))
        else:
            done.errback(DatabaseUnavailable("the database is closed"))
        return done

    def _ended_one(self, result: T) -> T:
        self.pending -= 1
        return result

    def run_unheard(self, work: Callable[[sqlite3.Connection], object]) -> None:
        """Have ``work`` done in its turn, come what may; an error is logged."""
        if self._open:
            self.run(work).addErrback(
                lambda failure: self.log.failure("SQLite clean-up failed", failure)
            )

    def _main(self, began: Deferred[None], ended: Deferred[None]) -> None:
        call = self._reactor.callFromThread
        try:
            connection = self._connect()
        except Exception as error:
            call(began.errback, _failure(error))
            call(ended.callback, None)
            return
        call(began.callback, None)
        try:
            while (job := self._jobs.get()) is not None:
                done, work = job
                if done.called:
                    continue
                try:
                    result = work(connection)
                except Exception as error:
                    call(done.errback, _failure(error))
                else:
                    call(done.callback, result)
        finally:
            connection.close()
            call(ended.callback, None)
