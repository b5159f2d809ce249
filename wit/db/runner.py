"""What both engines share: the port's methods over one way to run a query."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, Protocol, TypeVar

import attrs
from sqlalchemy.sql import Executable

from wit.db.compiled import Query, Statements
from wit.db.port import DatabaseError, Row
from wit.metrics import Metrics
from wit.runtime import Runtime

P = ParamSpec("P")
Q = TypeVar("Q")
R = TypeVar("R")
Notify = Callable[[str, str], Awaitable[None]]

UNSTORABLE = "a value has characters or a size that the database cannot store"
"""What to say when a driver refuses a value itself: NUL, half a surrogate pair, 2**64."""


@attrs.frozen
class Result:
    """What a statement gave: its rows, and how many rows it touched."""

    rows: list[Row]
    count: int


class Link(Protocol):
    """One connection to the database."""

    async def run(self, query: Query) -> Result: ...

    async def run_many(self, queries: list[Query]) -> None: ...


class Runner(ABC):
    """The methods of the port's ``Connection``."""

    def __init__(self, statements: Statements, runtime: Runtime, metrics: Metrics) -> None:
        self._statements = statements
        self._runtime = runtime
        self._metrics = metrics

    @abstractmethod
    async def _perform(self, query: Query) -> Result:
        """Run one query. Raises DatabaseError."""

    @abstractmethod
    async def _perform_many(self, queries: list[Query]) -> None:
        """Run queries that differ in their values alone: all of them or none."""

    @abstractmethod
    async def notify(self, channel: str, payload: str = "") -> None: ...

    async def fetch_all(self, statement: Executable, /, **parameters: Any) -> list[Row]:
        return (await self._run(statement, parameters)).rows

    async def fetch_one(self, statement: Executable, /, **parameters: Any) -> Row | None:
        rows = (await self._run(statement, parameters)).rows
        return rows[0] if rows else None

    async def fetch_value(self, statement: Executable, /, **parameters: Any) -> Any:
        rows = (await self._run(statement, parameters)).rows
        return next(iter(rows[0].values())) if rows else None

    async def execute(self, statement: Executable, /, **parameters: Any) -> int:
        return (await self._run(statement, parameters)).count

    async def execute_many(self, statement: Executable, rows: list[dict[str, Any]], /) -> None:
        if rows:
            await self._timed(self._perform_many, self._statements.queries(statement, rows))

    async def _run(self, statement: Executable, parameters: dict[str, Any]) -> Result:
        return await self._timed(self._perform, self._statements.query(statement, parameters))

    async def _timed(self, perform: Callable[[Q], Awaitable[R]], query: Q) -> R:
        clock = self._runtime.reactor.seconds
        started = clock()
        try:
            return await perform(query)
        finally:
            self._metrics.database_seconds.observe(clock() - started)


class Transaction(Runner):
    """One open transaction on one link.

    A statement that fails (or is cancelled) dooms the whole transaction, as PostgreSQL has it:
    every later statement fails, and so does the end of the block if the error was swallowed.
    """

    def __init__(
        self,
        statements: Statements,
        runtime: Runtime,
        metrics: Metrics,
        link: Link,
        notify: Notify,
    ) -> None:
        super().__init__(statements, runtime, metrics)
        self._link = link
        self._notify = notify
        self._doomed = False
        self._over = False

    def finish(self) -> None:
        """The block has ended. Raises DatabaseError if there is nothing that may be committed."""
        self._over = True
        if self._doomed:
            raise DatabaseError("a statement of the transaction had failed: nothing was committed")

    async def notify(self, channel: str, payload: str = "") -> None:
        """Listeners hear of it when the transaction has been committed."""
        await self._guarded(self._notify, channel, payload)

    async def _perform(self, query: Query) -> Result:
        return await self._guarded(self._link.run, query)

    async def _perform_many(self, queries: list[Query]) -> None:
        await self._guarded(self._link.run_many, queries)

    async def _guarded(self, work: Callable[P, Awaitable[R]], *args: P.args, **kw: P.kwargs) -> R:
        if self._over:
            raise DatabaseError("the transaction is over")
        if self._doomed:
            raise DatabaseError("an earlier statement of the transaction failed")
        try:
            return await work(*args, **kw)
        except BaseException:
            self._doomed = True
            raise
