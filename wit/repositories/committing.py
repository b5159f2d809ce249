"""Commits made through the API: one file, edited without a working copy."""

from __future__ import annotations

from datetime import datetime

import attrs
from sqlalchemy import bindparam, select

from wit.access.actor import Actor
from wit.accounts.authors import Authors
from wit.db.port import Database, Row
from wit.db.tables import users
from wit.errors import NotFound
from wit.git.new_objects import (
    Folder,
    Person,
    check_path,
    folders_on_the_way,
    new_commit,
    pack,
    with_file,
)
from wit.git.object_reader import ObjectReader
from wit.git.objects import parse_commit
from wit.git.push import RefUpdate
from wit.git.refname import is_zero, zero_oid
from wit.git.refs import RefReader
from wit.git.repository import BareRepository
from wit.repositories.branches import branch_ref
from wit.repositories.manager import RepoManager
from wit.repositories.own_pushes import OwnPushes
from wit.runtime import Runtime

MAX_OBJECT = 16 * 1024 * 1024
"""Bytes of a commit or tree that is read; 16 MiB hold a folder of 300 000 files."""

_PERSON = select(users).where(users.c.id == bindparam("user"))


@attrs.frozen
class FileEdit:
    """One file's new content, to be committed to a branch."""

    branch: str
    path: str
    content: bytes = attrs.field(repr=False)
    message: str


class Committing:
    """The caller has asked the gate for Level.WRITE; the ref rules are asked by the push."""

    def __init__(
        self,
        *,
        db: Database,
        authors: Authors,
        runtime: Runtime,
        refs: RefReader,
        manager: RepoManager,
        reader: ObjectReader,
        own_pushes: OwnPushes,
    ) -> None:
        self._db = db
        self._authors = authors
        self._runtime = runtime
        self._refs = refs
        self._manager = manager
        self._reader = reader
        self._own_pushes = own_pushes

    async def update_file(self, actor: Actor, repo: Row, edit: FileEdit, request_id: str) -> str:
        """One commit by ``actor`` on top of the branch; returns its id.

        A branch that does not exist begins with this commit. Raises Invalid for a path, message
        or branch that is none, or if the file has this content already; Conflict if somebody else
        changed the branch meanwhile; and what else :meth:`OwnPushes.push` raises.
        """
        ref = branch_ref(edit.branch)
        path = check_path(edit.path)
        person = await self._person(actor)
        bare = self._manager.bare(repo)
        found = (await self._refs.snapshot(bare)).by_name.get(ref)
        tip = zero_oid(bare.object_format) if found is None else found.oid
        folders = await self._folders(actor, bare, tip, path)
        base = _Base(bare.object_format, tip, folders)
        commit, packed = await self._runtime.in_thread(
            _build, base, path, edit, person, self._runtime.now()
        )
        await self._own_pushes.push(actor, repo, RefUpdate(ref, tip, commit), packed, request_id)
        return commit

    async def _folders(
        self, actor: Actor, repo: BareRepository, tip: str, path: bytes
    ) -> list[Folder]:
        """What is there now, where ``path`` leads through."""
        if is_zero(tip):
            return [{} for _ in path.split(b"/")]
        async with self._reader.open(repo, f"user:{actor.user_id}") as objects:
            commit = parse_commit(tip, await objects.expect(tip, "commit", MAX_OBJECT))
            return await folders_on_the_way(
                lambda oid: objects.expect(oid, "tree", MAX_OBJECT),
                commit.tree,
                path,
                repo.object_format,
            )

    async def _person(self, actor: Actor) -> Person:
        row = await self._db.fetch_one(_PERSON, user=actor.user_id)
        if row is None:
            raise NotFound("user not found")
        return Person(row["name"] or actor.username, self._authors.address(row))


@attrs.frozen
class _Base:
    """What a commit is made on."""

    object_format: str
    tip: str
    """All zeros if there is nothing yet."""
    folders: list[Folder]


def _build(
    base: _Base, path: bytes, edit: FileEdit, person: Person, now: datetime
) -> tuple[str, bytes]:
    """The new commit's id, and the pack that holds it. In a thread: content may be long."""
    objects = with_file(base.folders, path, edit.content, base.object_format)
    parents = [] if is_zero(base.tip) else [base.tip]
    commit = new_commit(
        objects[-1].oid, parents, person, now, edit.message, object_format=base.object_format
    )
    return commit.oid, pack([*objects, commit], base.object_format)
