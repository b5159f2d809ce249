"""How often versions were downloaded: counted in memory, written every minute.

So a download costs an addition, and never waits for a write.
"""

from __future__ import annotations

from collections import Counter

from sqlalchemy import Table, bindparam, update
from sqlalchemy.sql import Executable
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from wit.db.port import Database, DatabaseError
from wit.db.tables import package_versions, packages
from wit.runtime import Runtime

FLUSH_SECONDS = 60.0
MAX_PENDING = 10_000
"""Versions noted between two writes; downloads of further ones are not counted in that minute."""

_log = Logger()


def _add(table: Table) -> Executable:
    count = table.c.download_count
    return (
        update(table)
        .where(table.c.id == bindparam("which"))
        .values(download_count=count + bindparam("more"))
    )


_OF_VERSION = _add(package_versions)
_OF_PACKAGE = _add(packages)


class Downloads:
    def __init__(self, db: Database, runtime: Runtime) -> None:
        self._db = db
        self._versions: Counter[str] = Counter()
        self._packages: Counter[str] = Counter()
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._flush_or_log()))
        self._loop.clock = runtime.reactor
        self._ended: Deferred[LoopingCall] | None = None

    def count(self, package_id: str, version_id: str) -> None:
        """A version was downloaded once."""
        if version_id in self._versions or len(self._versions) < MAX_PENDING:
            self._versions[version_id] += 1
            self._packages[package_id] += 1

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
        versions, self._versions = self._versions, Counter()
        of_packages, self._packages = self._packages, Counter()
        if versions:
            await self._db.execute_many(_OF_VERSION, _rows(versions))
            await self._db.execute_many(_OF_PACKAGE, _rows(of_packages))

    async def _flush_or_log(self) -> None:
        try:
            await self.flush()
        except DatabaseError as error:
            _log.warn("downloads could not be counted: {error}", error=error)


def _rows(counted: Counter[str]) -> list[dict[str, object]]:
    """In one order everywhere, so that two daemons never wait for each other."""
    return [{"which": row_id, "more": more} for row_id, more in sorted(counted.items())]
