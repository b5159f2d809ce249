"""Blobs that nothing points to any more, and what uploads left behind: removed when they are old.

Old, because a blob is written before its row: a young one may be about to be pointed to.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

from sqlalchemy import bindparam, or_, select
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from wit.db.port import Database
from wit.db.tables import package_versions
from wit.errors import WitError
from wit.packages.blobs import Blobs
from wit.runtime import Runtime

OLD = timedelta(days=1)
EVERY_SECONDS = 3600.0

_IN_USE = (
    select(package_versions.c.id)
    .where(
        or_(
            package_versions.c.tarball_sha512 == bindparam("sha512"),
            package_versions.c.attestations_sha512 == bindparam("sha512"),
        )
    )
    .limit(1)
    .execution_options(quick=True)
)

log = Logger()


class Sweeping:
    def __init__(self, db: Database, runtime: Runtime, blobs: Blobs) -> None:
        self._db = db
        self._runtime = runtime
        self._blobs = blobs
        self._loop: Deferred[None] | None = None

    def start(self) -> None:
        """Sweep every hour from now on."""
        self._loop = Deferred.fromCoroutine(self._sweep_forever())

    async def stop(self) -> None:
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.cancel()
            with suppress(CancelledError):
                await loop

    async def sweep(self) -> None:
        """One look at all blobs. Raises DatabaseError, Unavailable, OSError."""
        cutoff = self._runtime.now() - OLD
        await self._blobs.clear_uploads(cutoff)
        removed = 0
        async for sha512, written in self._blobs.each():
            if written < cutoff and await self._db.fetch_value(_IN_USE, sha512=sha512) is None:
                await self._blobs.remove(sha512, cutoff)
                removed += 1
        if removed:
            log.info("{count} tarballs that no version has any more were removed", count=removed)

    async def _sweep_forever(self) -> None:
        while True:
            await self._runtime.sleep(EVERY_SECONDS)
            try:
                await self.sweep()
            except (WitError, OSError) as error:
                log.warn("tarballs could not be swept: {error}", error=str(error))
