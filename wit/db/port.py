"""The database port: what the rest of wit may ask of a database, and nothing of which one it is.

Statements are SQLAlchemy Core constructs over :mod:`wit.db.tables`, usually module constants with
``bindparam`` so that each is compiled once. Values go in as keyword parameters.

    TOKEN_BY_HASH = select(tokens).where(tokens.c.token_hash == bindparam("hash"))
    row = await db.fetch_one(TOKEN_BY_HASH, hash=digest)

    async with db.transaction() as tx:
        await tx.execute(insert(users), id=..., name=...)
        await tx.execute(insert(namespaces), ...)

A SELECT that finds a few rows by an index may say so: ``.execution_options(quick=True)``. SQLite
then answers on the reactor, in some ten microseconds, instead of in a thread.

A parameter may be called like a column, in UPDATE too. For ON CONFLICT use
``sqlalchemy.dialects.postgresql.insert``: its statements compile for both engines.

Times go in and come out as aware UTC datetimes, JSON columns as Python data, booleans as bool.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import attrs
from sqlalchemy.sql import Executable

from wit.errors import WitError

Row = Mapping[str, Any]
"""One row: a plain dict keyed by column name (or label). It belongs to the caller."""


class DatabaseError(WitError):
    """The database refused or failed; the text is for the log, not for clients."""

    code = "internal"


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, is locked for too long, or the disk is full."""

    code = "unavailable"


class UniqueViolation(DatabaseError):
    """A unique constraint refused the row; domain code turns this into a Conflict."""

    code = "conflict"


class ForeignKeyViolation(DatabaseError):
    """The row points to one that is not there (any more)."""

    code = "conflict"


class Connection(Protocol):
    """What both the database itself (each statement on its own) and a transaction offer."""

    async def fetch_all(self, statement: Executable, /, **parameters: Any) -> list[Row]: ...

    async def fetch_one(self, statement: Executable, /, **parameters: Any) -> Row | None:
        """The first row or None; the statement should ask for one at most."""
        ...

    async def fetch_value(self, statement: Executable, /, **parameters: Any) -> Any:
        """The first column of the first row, or None."""
        ...

    async def execute(self, statement: Executable, /, **parameters: Any) -> int:
        """Run INSERT, UPDATE or DELETE; returns the number of rows it touched."""
        ...

    async def execute_many(self, statement: Executable, rows: list[dict[str, Any]], /) -> None:
        """Run the statement once for each row, all of them or none; rows have the same names."""
        ...

    async def notify(self, channel: str, payload: str = "") -> None:
        """Tell listeners of all processes on this database (PostgreSQL), or of this one (SQLite).

        In a transaction: when it has been committed, and not at all if it is rolled back. A
        channel is a short lower-case word; a payload at most 7000 bytes of UTF-8.
        """
        ...


@attrs.frozen
class Pool:
    """How busy the connections are at this moment."""

    size: int
    """Connections that are open."""
    idle: int
    """Those of them that nobody uses."""
    waiting: int
    """Callers who wait for one."""


class Database(Connection, Protocol):
    """A pool of connections to one database."""

    dialect: str
    """``sqlite`` or ``postgresql``: for messages and metrics only."""

    async def open(self) -> None:
        """Connect. Raises DatabaseUnavailable."""
        ...

    async def close(self) -> None:
        """Let running statements end, then disconnect."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        """Begin; commit when the block ends, roll back if it raises (or is cancelled).

        A statement that fails dooms the transaction on both engines: who wants to go on after a
        UniqueViolation catches it outside the block, or uses ON CONFLICT. Cancelled while it
        commits, it is in whole or not at all.
        SQLite: BEGIN IMMEDIATE on the one writer; the block must not use the database itself for
        writing, which would wait for the block. PostgreSQL: READ COMMITTED.
        """
        ...

    async def ping(self) -> float:
        """Round-trip time of the simplest query, in milliseconds. Raises DatabaseUnavailable."""
        ...

    def pool(self) -> Pool: ...

    def listen(self, channel: str, heard: Callable[[str], object]) -> Callable[[], None]:
        """Call ``heard(payload)`` on the reactor for each notification; returns the way to stop.

        Notifications are hints that can be lost (reconnect, another SQLite process): who listens
        also looks at the table from time to time. After a reconnect every listener is called with
        an empty payload.
        """
        ...
