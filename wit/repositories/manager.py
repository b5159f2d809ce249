"""Repositories: making, finding, moving and removing them, on disk and in the database alike.

Authorisation is not asked here: doors ask the gate first, and the command line needs none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from wit.config import Config
from wit.db.port import Connection, Database, Row, UniqueViolation
from wit.errors import Conflict, Invalid, NotFound, Unavailable
from wit.events.journal import Journal
from wit.events.types import SYSTEM
from wit.git.command import Git
from wit.git.importer import import_mirror
from wit.git.names import RepoName, check_repo
from wit.git.repository import BareRepository, create_bare, object_format
from wit.repositories import rows
from wit.repositories.folders import Folders, Note, head_branch
from wit.repositories.placing import Placing
from wit.runtime import Runtime, shielded

MAX_DESCRIPTION = 1000
MAX_PAGE = 1000

Fill = Callable[[Path], Awaitable[None]]
"""Makes a bare repository at the path that it is given."""


class RepoManager:
    """Rows that are returned have the columns of ``repositories``, owner_name and full_name."""

    def __init__(
        self, db: Database, git: Git, config: Config, runtime: Runtime, journal: Journal
    ) -> None:
        self._db = db
        self._git = git
        self._config = config
        self._runtime = runtime
        self._journal = journal
        self.folders = Folders(config.repos_dir)
        self._placing = Placing(db, runtime, self.folders)

    # Finding

    async def get(self, name: RepoName) -> Row:
        """The repository of that name, in any case. Raises NotFound."""
        row = await self._find(name)
        if row is None:
            raise NotFound(f"there is no repository {name}")
        return row

    async def by_id(self, repo_id: str) -> Row:
        """Raises NotFound."""
        row = await self._db.fetch_one(rows.BY_ID, id=repo_id)
        if row is None:
            raise NotFound("repository not found")
        return row

    async def exists(self, name: RepoName) -> bool:
        return await self._find(name) is not None

    async def list(self, after: str = "", limit: int = 100, owner: str = "") -> list[Row]:
        """Repositories by full name: ``limit`` of those after the full name ``after``."""
        after_owner, _, after_name = after.lower().partition("/")
        return await self._db.fetch_all(
            rows.PAGE,
            after_owner=after_owner,
            after_name=after_name,
            owner=owner.lower(),
            limit=max(1, min(limit, MAX_PAGE)),
        )

    async def _find(self, name: RepoName) -> Row | None:
        return await self._db.fetch_one(
            rows.BY_NAME, owner=name.owner.lower(), name=name.name.lower()
        )

    def bare(self, repo: Row) -> BareRepository:
        """What the git engine calls this repository."""
        path = self.folders.path(repo["disk_path"])
        return BareRepository(repo["id"], str(path), repo["object_format"])

    # Making

    async def create(
        self,
        name: RepoName,
        *,
        private: bool = False,
        description: str | None = None,
        object_format: str = "sha1",
        default_branch: str | None = None,
        actor_id: str = SYSTEM,
    ) -> Row:
        """A new, empty repository. Raises Invalid; NotFound without such an owner; Conflict."""

        async def fill(path: Path) -> None:
            branch = default_branch or self._config.repositories.default_branch
            await create_bare(self._git, self._runtime, str(path), object_format, branch)

        values = {"is_private": private, "description": description}
        return await self._make(name, values, fill, actor_id)

    async def import_(
        self,
        name: RepoName,
        source: str,
        *,
        private: bool = False,
        description: str | None = None,
        allow_local: bool = False,
        progress: Callable[[str], object] | None = None,
        actor_id: str = SYSTEM,
    ) -> Row:
        """A new repository with what is at ``source``, a URL or (``allow_local``) a path.

        Raises Invalid; NotFound without such an owner; Conflict; and what the importer raises.
        """

        async def fill(path: Path) -> None:
            await import_mirror(
                self._git,
                self._runtime,
                source,
                str(path),
                allow_local=allow_local,
                progress=progress,
                max_delta_depth=self._config.repositories.max_delta_depth,
            )

        values = {"is_private": private, "description": description}
        return await self._make(name, values, fill, actor_id)

    async def fork(
        self, source: RepoName, name: RepoName, *, private: bool = False, actor_id: str = SYSTEM
    ) -> Row:
        """A copy of what clients can see of ``source``; of a private one, a private copy.

        It goes through git's own upload-pack, so that nothing unreachable or hidden comes along,
        and shares no objects on disk. Raises Invalid, NotFound, Conflict.
        """
        return await self.fork_of(await self.get(source), name, private=private, actor_id=actor_id)

    async def fork_of(
        self, origin: Row, name: RepoName, *, private: bool = False, actor_id: str = SYSTEM
    ) -> Row:
        """As :meth:`fork`, of a repository that was found already."""

        async def fill(path: Path) -> None:
            await import_mirror(
                self._git,
                self._runtime,
                self.bare(origin).path,
                str(path),
                allow_local=True,
                progress=None,
                max_delta_depth=self._config.repositories.max_delta_depth,
            )

        values = {
            "is_private": private or origin["is_private"],
            "description": origin["description"],
            "is_fork": True,
            "forked_from_id": origin["id"],
        }
        return await self._make(name, values, fill, actor_id, origin)

    async def _make(
        self,
        name: RepoName,
        values: dict[str, Any],
        fill: Fill,
        actor_id: str,
        origin: Row | None = None,
    ) -> Row:
        check_repo(name.name)
        check_description(values["description"])
        owner = await rows.lock_owner(self._db, name.owner)
        name = RepoName(owner["name"], name.name)
        if await self.exists(name):
            raise taken(name)
        repo_id = self._runtime.new_id()
        note = await self._placing.open()
        try:
            staged = await self._runtime.in_thread(self.folders.stage, note, repo_id)
            await fill(staged)
            values |= await self._runtime.in_thread(facts_on_disk, staged)
        except BaseException:
            await self._placing.abandon(note)
            raise
        await shielded(self._adopt(note, name, {"id": repo_id, **values}, actor_id, origin))
        return await self.by_id(repo_id)

    async def _adopt(
        self,
        note: Note,
        name: RepoName,
        values: Mapping[str, Any],
        actor_id: str,
        origin: Row | None,
    ) -> None:
        """Give the folder that was made its row and its place."""
        repo_id = values["id"]
        async with self._placing.moving(note), self.changes(name) as tx:
            await self.insert(tx, name, values, actor_id)
            if origin is not None:
                await tx.execute(rows.COUNT_FORK, repo=origin["id"])
                await self._journal.append(tx, rows.forked(repo_id, name, origin, actor_id))
            target = self.folders.path(self.folders.disk_path(name))
            await self._move(note, repo_id, self.folders.staging(repo_id), target)

    async def insert(
        self, tx: Connection, name: RepoName, values: Mapping[str, Any], actor_id: str
    ) -> None:
        """The row and the journal entry of a new repository; its folder is the caller's matter.

        ``values`` has ``id``, ``is_private`` and more columns. Raises NotFound without such an
        owner, UniqueViolation.
        """
        owner = await rows.lock_owner(tx, name.owner)
        now = self._runtime.now()
        row = {
            **values,
            "owner_id": owner["owner_id"],
            "owner_type": owner["owner_type"],
            "name": name.name,
            "name_key": name.name.lower(),
            "disk_path": self.folders.disk_path(name),
            "created_at": now,
            "updated_at": now,
        }
        await tx.execute(rows.INSERT, **row)
        await self._journal.append(tx, rows.created(row, actor_id))

    # Moving and removing

    async def rename(self, name: RepoName, new_name: str) -> Row:
        """Raises Invalid, NotFound, Conflict."""
        repo = await self.get(name)
        target = RepoName(repo["owner_name"], check_repo(new_name))
        return await self.relocate(repo["id"], target, SYSTEM)

    async def transfer(self, name: RepoName, new_owner: str, actor_id: str = SYSTEM) -> Row:
        """Give the repository to another user or organization. Raises NotFound, Conflict."""
        repo = await self.get(name)
        return await self.relocate(repo["id"], RepoName(new_owner, repo["name"]), actor_id)

    async def relocate(self, repo_id: str, target: RepoName, actor_id: str) -> Row:
        """Another name or owner, or both; the name has been checked. Raises NotFound, Conflict."""
        await shielded(self._relocate(repo_id, target, actor_id))
        return await self.by_id(repo_id)

    async def _relocate(self, repo_id: str, target: RepoName, actor_id: str) -> None:
        note = await self._placing.open()
        async with self._placing.moving(note), self.changes(target) as tx:
            repo = await rows.lock_repository(tx, repo_id)
            owner = await rows.lock_owner(tx, target.owner)
            target = RepoName(owner["name"], target.name)
            if repo["full_name"] == str(target):
                return
            disk_path = self.folders.disk_path(target)
            await tx.execute(
                rows.PLACE,
                repo=repo_id,
                owner_id=owner["owner_id"],
                owner_type=owner["owner_type"],
                name=target.name,
                name_key=target.name.lower(),
                disk_path=disk_path,
                now=self._runtime.now(),
            )
            if owner["owner_id"] != repo["owner_id"]:
                await tx.execute(rows.NO_COLLABORATOR, repo=repo_id, user=owner["owner_id"])
                await tx.execute(rows.NO_TEAMS, repo=repo_id)
                await self._journal.append(tx, rows.transferred(repo, owner, actor_id))
            source = self.folders.path(repo["disk_path"])
            await self._move(note, repo_id, source, self.folders.path(disk_path), alias=True)

    async def delete(self, name: RepoName) -> None:
        """Remove the repository for good. Raises NotFound."""
        repo = await self.get(name)
        await self.delete_by_id(repo["id"])

    async def delete_by_id(self, repo_id: str) -> None:
        """Raises NotFound."""
        await shielded(self._delete(repo_id))
        await self._runtime.in_thread(self.folders.remove, self.folders.trash(repo_id))

    async def _delete(self, repo_id: str) -> None:
        note = await self._placing.open()
        async with self._placing.moving(note), self._db.transaction() as tx:
            # The origin is locked before the fork: so does whoever deletes the origin.
            await tx.execute(rows.COUNT_FORK_GONE, repo=repo_id)
            repo = await rows.lock_repository(tx, repo_id)
            source = self.folders.path(repo["disk_path"])
            if await self._runtime.in_thread(source.is_dir):
                await self._move(note, repo_id, source, self.folders.trash(repo_id))
            await tx.execute(rows.DELETE, repo=repo_id)

    async def _move(
        self, note: Note, repo_id: str, source: Path, target: Path, alias: bool = False
    ) -> None:
        try:
            await self._runtime.in_thread(
                self.folders.move, note, repo_id, source, target, alias=alias
            )
        except FileNotFoundError:
            raise Unavailable("the folder of this repository is missing; see wit doctor") from None
        except OSError as error:
            raise Unavailable(f"the repository cannot be moved: {error.strerror}") from error

    @asynccontextmanager
    async def changes(self, name: RepoName) -> AsyncIterator[Connection]:
        """A transaction that gives a repository its name, and journals. Raises Conflict."""
        try:
            async with self._db.transaction() as tx:
                yield tx
        except UniqueViolation:
            raise taken(name) from None
        await self._journal.announce()

    async def set_read_only(self, repo_id: str, reason: str | None) -> None:
        """Refuse pushes and say why, until called with None. Raises NotFound."""
        if not await self._db.execute(
            rows.READ_ONLY, repo=repo_id, reason=reason, now=self._runtime.now()
        ):
            raise NotFound("repository not found")

    async def mark_damaged(self, repo_id: str, reason: str) -> bool:
        """Refuse pushes from now on; false if they are refused already, or it is gone."""
        async with self._db.transaction() as tx:
            repo = await tx.fetch_one(rows.BY_ID, id=repo_id)
            marked = await tx.execute(
                rows.DAMAGED, repo=repo_id, reason=reason, now=self._runtime.now()
            )
            if repo is None or not marked:
                return False
            await self._journal.append(tx, rows.damaged(repo, reason))
        await self._journal.announce()
        return True

    async def sweep(self) -> None:
        """Settle what a killed process left half-done; at start, before a sync, now and then."""
        git = self._config.git
        await self._placing.sweep(alias_seconds=max(git.fetch_seconds, git.push_seconds))


def facts_on_disk(folder: Path) -> dict[str, Any]:
    """What the row repeats of a bare repository. Blocks. Raises Invalid."""
    facts: dict[str, Any] = {"object_format": object_format(str(folder))}
    branch = head_branch(folder)
    if branch is not None:
        facts["default_branch"] = branch
    return facts


def taken(name: RepoName) -> Conflict:
    return Conflict(f"there is a repository {name} already (upper and lower case are the same)")


def check_description(description: str | None) -> None:
    if description is not None and len(description) > MAX_DESCRIPTION:
        raise Invalid(f"a description has at most {MAX_DESCRIPTION} characters")
