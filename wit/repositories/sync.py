"""Registering repositories that were put into the repository folder by hand.

``<owner>/<name>.git``, bare, is what is looked for. What has a row already is skipped; what cannot
be registered, and rows whose folder is missing, are reported and left alone.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import attrs
from sqlalchemy import bindparam, select

from wit.accounts.users import insert_user
from wit.db.port import Connection, Row
from wit.db.tables import namespaces
from wit.errors import NotFound, WitError
from wit.events.types import SYSTEM
from wit.git.names import RepoName, check_new_owner, check_repo
from wit.repositories.folders import SUFFIX, is_healthy
from wit.repositories.manager import RepoManager, facts_on_disk, taken
from wit.runtime import Runtime, shielded

PAGE = 100

_OWNER_EXISTS = select(namespaces.c.name_key).where(namespaces.c.name_key == bindparam("key"))


@attrs.frozen
class SyncResult:
    """What became of one folder (contract, rest.md, POST /sync)."""

    owner: str
    name: str
    action: str
    """created, skipped or error"""
    message: str | None = None


Progress = Callable[[SyncResult], object]


def _silent(result: SyncResult) -> None:
    return None


class Sync:
    """One scan of the whole folder; it can be cancelled between any two repositories."""

    def __init__(self, runtime: Runtime, manager: RepoManager) -> None:
        self._runtime = runtime
        self._manager = manager
        self._folders = manager.folders

    async def run(self, *, private: bool = False, progress: Progress = _silent) -> list[SyncResult]:
        """Register what is on disk; ``private`` says how. ``progress`` hears of each result."""
        await self._manager.sweep()
        results = []
        for owner in await self._runtime.in_thread(_subfolders, self._folders.root):
            for name in await self._runtime.in_thread(_subfolders, self._folders.root / owner):
                result = await self._look_at(owner, name, private)
                if result is not None:
                    results.append(result)
                    progress(result)
        async for result in self._missing():
            results.append(result)
            progress(result)
        return results

    async def _look_at(self, owner: str, folder: str, private: bool) -> SyncResult | None:
        """None for what is no repository."""
        path = self._folders.root / owner / folder
        name = folder.removesuffix(SUFFIX)
        if not folder.endswith(SUFFIX):
            return None
        try:
            if await self._runtime.in_thread(_has_link, self._folders.root, path):
                if await self._runtime.in_thread(self._folders.contains, path):
                    return None
                message = "a symbolic link to outside of the repository folder is not followed"
                return SyncResult(owner, name, "error", message)
            repo = RepoName(check_new_owner(owner), check_repo(name))
            if not await self._runtime.in_thread(is_healthy, path):
                return SyncResult(owner, name, "error", "this is not a bare repository")
            return await shielded(self._register(repo, path, private))
        except WitError as error:
            return SyncResult(owner, name, "error", error.message)

    async def _register(self, name: RepoName, path: Path, private: bool) -> SyncResult:
        disk_path = self._folders.disk_path(name)
        try:
            row = await self._manager.get(name)
        except NotFound:
            row = None
        if row is not None:
            if row["disk_path"] == disk_path:
                return SyncResult(name.owner, name.name, "skipped")
            raise taken(name)
        facts = await self._runtime.in_thread(facts_on_disk, path)
        values = {"id": self._runtime.new_id(), "is_private": private, **facts}
        message = None
        async with self._manager.changes(name) as tx:
            if await tx.fetch_value(_OWNER_EXISTS, key=name.owner.lower()) is None:
                await self._insert_placeholder(tx, name.owner)
                message = f"the owner {name.owner} is a placeholder"
            await self._manager.insert(tx, name, values, SYSTEM)
        return SyncResult(name.owner, name.name, "created", message)

    async def _insert_placeholder(self, tx: Connection, owner: str) -> None:
        """A user that nobody can sign in as; an administrator gives it credentials, or its
        repositories to somebody else."""
        email = f"{owner.lower()}@placeholder.local"
        await insert_user(tx, self._runtime, owner, email, role="user", name=owner)

    async def _missing(self) -> AsyncIterator[SyncResult]:
        """Rows that have no good folder."""
        after = ""
        while page := await self._manager.list(after, PAGE):
            after = page[-1]["full_name"]
            for row in await self._runtime.in_thread(self._without_folder, page):
                message = f"the folder {row['disk_path']} is missing or damaged"
                yield SyncResult(row["owner_name"], row["name"], "error", message)

    def _without_folder(self, page: list[Row]) -> list[Row]:
        return [row for row in page if not is_healthy(self._folders.path(row["disk_path"]))]


def _subfolders(folder: Path) -> list[str]:
    """Names of the folders (and links) in ``folder``, sorted, but those that begin with a dot."""
    try:
        with os.scandir(folder) as entries:
            names = [
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and (entry.is_symlink() or entry.is_dir())
            ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(names)


def _has_link(root: Path, path: Path) -> bool:
    """Whether any component of ``path`` below ``root`` is a symbolic link."""
    return any(
        place.is_symlink()
        for place in (path, *path.parents)
        if place.is_relative_to(root) and place != root
    )
