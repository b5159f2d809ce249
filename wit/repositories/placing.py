"""Changes of a repository's row that go together with a move of its folder.

Both come true or neither: the folder is moved inside the transaction, just before its commit; if
that fails, or a kill cuts it off, the folder is put back to where the row then says. The other
order (commit first, move then) would for a moment promise a folder that is not there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import bindparam, select
from twisted.logger import Logger

from wit.db.port import Database
from wit.db.tables import repositories
from wit.errors import WitError
from wit.repositories.folders import Folders, Note
from wit.runtime import Runtime

_log = Logger()

_PLACE = (
    select(repositories.c.disk_path).where(repositories.c.id == bindparam("id")).with_for_update()
)
_PLACE_UNLOCKED = select(repositories.c.disk_path).where(repositories.c.id == bindparam("id"))


class Placing:
    """Keeps rows and folders together."""

    def __init__(self, db: Database, runtime: Runtime, folders: Folders) -> None:
        self._db = db
        self._runtime = runtime
        self._folders = folders

    async def open(self) -> Note:
        """A note, locked by this process. It ends in :meth:`moving` or in :meth:`abandon`."""
        return await self._runtime.in_thread(self._folders.new_note, self._runtime.new_id())

    @asynccontextmanager
    async def moving(self, note: Note) -> AsyncIterator[None]:
        """Around the transaction that moves a folder: finished when the block ends well.

        When it raises, the folder goes to where the row says. The block must not be cancelled
        (``shielded``), for then nobody would know what the row says.
        """
        try:
            yield
        except BaseException:
            await self.abandon(note)
            raise
        await self._runtime.in_thread(self._folders.finish, note)

    async def abandon(self, note: Note) -> None:
        """Undo what the note tells of, unless it became true; on failure the next sweep does."""
        try:
            await self._settle(note)
        except (WitError, OSError) as error:
            note.close()
            _log.error("a cut-off move of a repository could not be settled: {error}", error=error)

    async def sweep(self, alias_seconds: float) -> None:
        """Settle the moves that a killed process left, and empty the trash.

        Links that moves left behind go when they are older than ``alias_seconds``. Safe beside
        other daemons on the same folder: their moves are locked.
        """
        in_thread = self._runtime.in_thread
        for note in await in_thread(self._folders.cut_off_notes):
            await self.abandon(note)
        for repo_id in await in_thread(self._folders.trashed):
            if await self._db.fetch_value(_PLACE_UNLOCKED, id=repo_id) is None:
                await in_thread(self._folders.remove, self._folders.trash(repo_id))
        before = self._runtime.now().timestamp() - alias_seconds
        await in_thread(self._folders.drop_aliases, before)

    async def _settle(self, note: Note) -> None:
        in_thread = self._runtime.in_thread
        move = await in_thread(note.read)
        if move is not None:
            async with self._db.transaction() as tx:
                disk_path = await tx.fetch_value(_PLACE, id=move.repo_id)
                wanted = None if disk_path is None else self._folders.path(disk_path)
                await in_thread(self._folders.settle, move, wanted)
        await in_thread(self._folders.finish, note)
