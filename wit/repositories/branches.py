"""Branches made and removed through the API."""

from __future__ import annotations

from wit.access.actor import Actor
from wit.access.ref_rules import BRANCHES
from wit.db.port import Row
from wit.errors import Conflict, Invalid, NotFound
from wit.git.new_objects import pack
from wit.git.object_reader import ObjectReader
from wit.git.push import RefUpdate
from wit.git.refname import check_refname, zero_oid
from wit.git.refs import RefReader
from wit.git.revisions import Revisions, read_commit
from wit.repositories.manager import RepoManager
from wit.repositories.own_pushes import OwnPushes


class Branches:
    """The caller has asked the gate for Level.WRITE; the ref rules are asked by the push."""

    def __init__(
        self,
        own_pushes: OwnPushes,
        refs: RefReader,
        manager: RepoManager,
        *,
        reader: ObjectReader,
        revisions: Revisions,
    ) -> None:
        self._own_pushes = own_pushes
        self._refs = refs
        self._manager = manager
        self._reader = reader
        self._revisions = revisions

    async def names(self, repo: Row) -> list[str]:
        """In their order."""
        snapshot = await self._refs.snapshot(self._manager.bare(repo))
        return [
            ref.name.removeprefix(BRANCHES).decode("utf-8", "replace")
            for ref in snapshot.refs
            if ref.name.startswith(BRANCHES)
        ]

    async def create(
        self, actor: Actor, repo: Row, name: str, *, from_ref: str, request_id: str
    ) -> str:
        """A new branch at the commit of ``from_ref``, which is returned.

        Raises Invalid for a name that is none and an unknown ``from_ref``, Conflict if the branch
        exists, and what :meth:`OwnPushes.push` raises.
        """
        ref = branch_ref(name)
        bare = self._manager.bare(repo)
        if ref in (await self._refs.snapshot(bare)).by_name:
            raise Conflict(f"there is a branch {name} already")
        commit = await self._commit(actor, repo, from_ref)
        update = RefUpdate(ref, zero_oid(bare.object_format), commit)
        nothing = pack([], bare.object_format)
        await self._own_pushes.push(actor, repo, update, nothing, request_id)
        return commit

    async def delete(self, actor: Actor, repo: Row, name: str, request_id: str) -> None:
        """Raises NotFound, Invalid for the default branch, and what :meth:`OwnPushes.push` does."""
        ref = BRANCHES + name.encode("utf-8", "surrogatepass")
        bare = self._manager.bare(repo)
        found = (await self._refs.snapshot(bare)).by_name.get(ref)
        if found is None:
            raise NotFound(f"there is no branch {name[:80]!r}")
        if name == repo["default_branch"]:
            raise Invalid(f"{name} is the default branch; make another branch the default first")
        update = RefUpdate(ref, found.oid, zero_oid(bare.object_format))
        await self._own_pushes.push(actor, repo, update, b"", request_id)

    async def _commit(self, actor: Actor, repo: Row, text: str) -> str:
        """The commit that ``text`` names: HEAD, a branch, a tag, or a commit's full id.

        An id counts only if a walk from the visible refs finds it: naming a commit must not bring
        back what is hidden or was deleted. Raises Invalid.
        """
        bare, key = self._manager.bare(repo), f"user:{actor.user_id}"
        oid = await self._revisions.find(bare, text, repo["default_branch"], key)
        if oid is not None:
            async with self._reader.open(bare, key) as objects:
                commit = await read_commit(objects, oid)
            if commit is not None:
                return commit.oid
        raise Invalid(f"{text[:80]!r} is no branch, tag or commit of this repository")


def branch_ref(name: str) -> bytes:
    """The full name of a branch that may be made. Raises Invalid."""
    return check_refname(BRANCHES + name.encode("utf-8", "surrogatepass"))
