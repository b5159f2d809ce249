"""How long a sandbox lives, and who takes it away.

A lease ends after the time that its maker chose, and a sandbox that nobody uses is idle before
that. Then it is paused, where its engine can do that, and else destroyed; paused ones are kept for
days. Whatever runs in a sandbox keeps it in use: a busy one is never taken away, however old.

"In use" is written into the row (``used_at``) by the daemon that knows, so that every daemon's
reaper can see it, and the reaper's UPDATE asks for it once more.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta

from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from wit.config import Sandboxes as SandboxConfig
from wit.db.port import Row
from wit.errors import NotFound, PreconditionFailed, Unavailable, WitError
from wit.runtime import Runtime, shielded
from wit.sandboxes.engines import Engines
from wit.sandboxes.records import OVER, Records, SandboxOver, Stage, over

BEAT_SECONDS = 20.0
"""Between two notes that a sandbox is busy."""

MARGIN = timedelta(seconds=120)
"""By which a lease outlives the last note of use."""

NOTE_SECONDS = 10.0
"""Uses that follow each other faster than this are one note."""

CREATING_SECONDS = 3600.0
"""A sandbox that is still being made after this is not being made any more."""

AT_ONCE = 100
"""Leftovers that one round of the reaper removes."""

log = Logger()


class Leases:
    def __init__(
        self, records: Records, engines: Engines, config: SandboxConfig, runtime: Runtime
    ) -> None:
        self._records = records
        self._engines = engines
        self._config = config
        self._runtime = runtime
        self._busy: Counter[str] = Counter()
        self._locks: defaultdict[str, DeferredLock] = defaultdict(DeferredLock)

    # Use

    def busy(self, sandbox_id: str) -> bool:
        """Whether something of this daemon's is at work in it."""
        return bool(self._busy[sandbox_id])

    def begin(self, sandbox_id: str) -> None:
        """Something is at work in it from now on, until :meth:`end`."""
        self._busy[sandbox_id] += 1

    def end(self, sandbox_id: str) -> None:
        self._busy[sandbox_id] -= 1
        if not self._busy[sandbox_id]:
            del self._busy[sandbox_id]

    @contextmanager
    def at_work(self, sandbox_id: str) -> Iterator[None]:
        self.begin(sandbox_id)
        try:
            yield
        finally:
            self.end(sandbox_id)

    async def use(self, row: Row) -> Row:
        """Somebody uses it now: it runs when this returns, resumed if it was paused, and its lease
        lasts for a while. The row as it is then.

        Raises SandboxOver with the reason if it is lost or has ended, Unavailable while it is
        being made or its engine does not answer.
        """
        now = self._runtime.now()
        if row["state"] == Stage.RUNNING:
            fresh = (now - row["used_at"]).total_seconds() < NOTE_SECONDS
            if fresh and row["expires_at"] > now + MARGIN:
                return row
            if await self._note(row, now):
                return row
        current = await self._records.find(row["id"])
        if current is None:
            raise NotFound("sandbox not found")
        if current["state"] == Stage.PAUSED:
            return await self.resume(current)
        check_alive(current)
        if not await self._note(current, now):
            raise Unavailable("this sandbox is just being paused; try again", retry_after=1)
        return current

    async def resume(self, row: Row) -> Row:
        """Have a paused one run again, with a new lease of the length that its maker chose.

        Raises as :meth:`use`.
        """
        async with self._lock(row["id"]):
            current = await self._records.find(row["id"])
            if current is None:
                raise NotFound("sandbox not found")
            if current["state"] != Stage.PAUSED:
                check_alive(current)
                return current
            async with self._engines.using(current) as provider:
                await provider.resume(current["ref"])
                await provider.extend(current["ref"], current["life_seconds"])
            now = self._runtime.now()
            until = now + timedelta(seconds=current["life_seconds"])
            await self._records.lease(
                current, until, Stage.PAUSED, Stage.RUNNING, state=Stage.RUNNING, used_at=now
            )
            return await self._current(row["id"])

    async def pause(self, row: Row) -> Row:
        """Freeze it now. Raises PreconditionFailed if its engine cannot, or it is busy."""
        if not self._engines.of(row).features.pause:
            raise PreconditionFailed(f"sandboxes of {row['provider']} cannot be paused")
        if self.busy(row["id"]):
            raise PreconditionFailed("something runs in this sandbox: end it first")
        async with self._lock(row["id"]):
            if await self._records.change(row["id"], Stage.RUNNING, state=Stage.PAUSED):
                await self._freeze(row)
            return await self._current(row["id"])

    async def extend(self, row: Row, seconds: int) -> Row:
        """A lease of so many seconds from now on, also after it was paused and resumed."""
        until = self._runtime.now() + timedelta(seconds=seconds)
        async with self._engines.using(row) as provider:
            await provider.extend(row["ref"], seconds)
        await self._records.lease(row, until, Stage.RUNNING, Stage.PAUSED, life_seconds=seconds)
        return await self._current(row["id"])

    async def beat(self) -> None:
        """Write down what is busy, and move ends of leases on."""
        for sandbox_id in list(self._busy):
            row = await self._records.find(sandbox_id)
            if row is None or row["state"] != Stage.RUNNING:
                continue
            try:
                await self._note(row, self._runtime.now())
            except WitError as error:
                log.warn("{id}: {error}", id=sandbox_id, error=error.message)

    async def _note(self, row: Row, now: datetime) -> bool:
        """It is in use now; false if it does not run any more."""
        until = now + MARGIN
        if row["expires_at"] > until:
            return await self._records.change(row["id"], Stage.RUNNING, used_at=now)
        if not await self._records.lease(row, until, Stage.RUNNING, used_at=now):
            return False
        async with self._engines.using(row) as provider:
            await provider.extend(row["ref"], int(MARGIN.total_seconds()))
        return True

    # Ends

    async def reap(self) -> None:
        """One round: pause, or end, what nobody uses, and remove what is over."""
        now = self._runtime.now()
        for row in await self._records.of_here(Stage.RUNNING):
            if _due(row, now) and not self.busy(row["id"]):
                await self._rest(row, now)
        kept = now - timedelta(seconds=self._config.keep_seconds)
        for row in await self._records.of_here(Stage.PAUSED):
            if row["used_at"] <= kept and await self._records.forget(
                row, kept, state=Stage.ENDED, ended_at=now,
                reason=f"it was paused for {_words(self._config.keep_seconds)}",
            ):  # fmt: skip
                await self._engines.remove(row)
        for row in await self._records.of_here(Stage.WARM, Stage.CREATING):
            old = (now - row["created_at"]).total_seconds() > CREATING_SECONDS
            if (row["state"] == Stage.WARM and row["expires_at"] <= now + MARGIN) or (
                row["state"] == Stage.CREATING and old and not self.busy(row["id"])
            ):
                await self._records.over(row["id"], Stage.ENDED, "it was never used", row["state"])
        for row in await self._records.left_behind(AT_ONCE):
            await self._engines.remove(row)

    async def _rest(self, row: Row, now: datetime) -> None:
        """The lease is over: pause it or, where that cannot be, end it."""
        try:
            provider = self._engines.of(row)
        except WitError as error:
            log.warn("{id} cannot be paused yet: {error}", id=row["id"], error=error.message)
            return
        async with self._lock(row["id"]):
            if provider.features.pause:
                if await self._records.rest(row, now, state=Stage.PAUSED):
                    await self._freeze(row)
                return
            why = "its time was over" if row["expires_at"] <= now else "nobody used it"
            if row["expires_at"] > now:
                why += f" for {_words(row['idle_seconds'])}"
            if await self._records.rest(row, now, state=Stage.ENDED, reason=why, ended_at=now):
                await self._engines.remove(row)

    async def _freeze(self, row: Row) -> None:
        """The row says that it is paused: make it true, or take the word back."""
        try:
            async with self._engines.using(row) as provider:
                await provider.pause(row["ref"])
                current = await self._records.find(row["id"])
                if current is not None and current["state"] == Stage.RUNNING:
                    # Another daemon has resumed it while the engine was pausing.
                    await provider.resume(row["ref"])
        except SandboxOver:
            return
        except BaseException:
            await shielded(self._thaw(row))
            raise

    async def _thaw(self, row: Row) -> None:
        await self._records.change(row["id"], Stage.PAUSED, state=Stage.RUNNING)

    async def _current(self, sandbox_id: str) -> Row:
        row = await self._records.find(sandbox_id)
        if row is None:
            raise NotFound("sandbox not found")
        check_alive(row)
        return row

    @asynccontextmanager
    async def _lock(self, sandbox_id: str) -> AsyncIterator[None]:
        """One at a time within this daemon."""
        lock = self._locks[sandbox_id]
        await lock.acquire()
        try:
            yield
        finally:
            lock.release()
            if not lock.locked and not lock.waiting:
                self._locks.pop(sandbox_id, None)


def check_alive(row: Row) -> None:
    """Raises SandboxOver if it is lost or has ended, Unavailable while it is being made."""
    if row["state"] in OVER:
        raise over(row)
    if row["state"] in (Stage.CREATING, Stage.WARM):
        raise Unavailable("this sandbox is being made; try again in a moment", retry_after=2)


def _due(row: Row, now: datetime) -> bool:
    idle = timedelta(seconds=row["idle_seconds"])
    return bool(row["expires_at"] <= now or row["used_at"] + idle <= now)


def _words(seconds: int) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} seconds"
