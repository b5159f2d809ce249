"""What can be changed about a repository: its name, description, visibility, default branch."""

from __future__ import annotations

from typing import Any

import attrs
from sqlalchemy import bindparam, select, update

from wit.access.ref_rules import BRANCHES
from wit.db.port import Connection, Database, Row
from wit.db.tables import repositories
from wit.errors import Forbidden, Invalid, Unavailable
from wit.git.command import Git
from wit.git.names import RepoName, check_repo
from wit.git.process import run
from wit.git.refs import RefReader
from wit.repositories.branches import branch_ref
from wit.repositories.manager import RepoManager, check_description
from wit.repositories.rows import lock_repository
from wit.runtime import Runtime, shielded

MAX_HOMEPAGE = 500

_SET = (
    update(repositories)
    .where(repositories.c.id == bindparam("repo"))
    .values(
        description=bindparam("new_description"),
        homepage=bindparam("new_homepage"),
        is_private=bindparam("private"),
        is_archived=bindparam("archived"),
        default_branch=bindparam("branch"),
        updated_at=bindparam("now"),
    )
)
_IS_PRIVATE = select(repositories.c.is_private).where(repositories.c.id == bindparam("repo"))


@attrs.frozen(kw_only=True)
class Changes:
    """None: leave it as it is. An empty description or homepage removes it."""

    name: str | None = None
    description: str | None = None
    homepage: str | None = None
    is_private: bool | None = None
    is_archived: bool | None = None
    default_branch: str | None = None

    def of(self, repo: Row) -> dict[str, Any]:
        """The values that the row has afterwards, by the parameters of the statement."""

        def text(new: str | None, old: str | None) -> str | None:
            return old if new is None else new.strip() or None

        return {
            "new_description": text(self.description, repo["description"]),
            "new_homepage": text(self.homepage, repo["homepage"]),
            "private": repo["is_private"] if self.is_private is None else self.is_private,
            "archived": repo["is_archived"] if self.is_archived is None else self.is_archived,
            "branch": self.default_branch or repo["default_branch"],
        }


class Settings:
    """The caller has asked the gate for Level.ADMIN."""

    def __init__(
        self, db: Database, git: Git, runtime: Runtime, *, refs: RefReader, manager: RepoManager
    ) -> None:
        self._db = db
        self._git = git
        self._runtime = runtime
        self._refs = refs
        self._manager = manager

    async def change(self, repo: Row, changes: Changes, actor_id: str) -> Row:
        """The row as it is then. The name is changed first: if that fails, nothing is changed.

        Raises Invalid, NotFound; Conflict if the name is taken; Forbidden for making the fork of
        somebody's private repository public.
        """
        check_description(changes.description)
        _check_homepage(changes.homepage)
        if changes.name is not None:
            check_repo(changes.name)
        if changes.default_branch is not None:
            await self._check_branch(repo, changes.default_branch)
        if changes.name is not None and changes.name != repo["name"]:
            target = RepoName(repo["owner_name"], changes.name)
            await self._manager.relocate(repo["id"], target, actor_id)
        await shielded(self._apply(repo["id"], changes))
        return await self._manager.by_id(repo["id"])

    async def _apply(self, repo_id: str, changes: Changes) -> None:
        async with self._db.transaction() as tx:
            repo = await lock_repository(tx, repo_id)
            if changes.is_private is False and repo["is_private"]:
                await _check_origin(tx, repo)
            values = changes.of(repo)
            await tx.execute(_SET, repo=repo_id, now=self._runtime.now(), **values)
            if values["branch"] != repo["default_branch"]:
                await self._point_head(repo, values["branch"])

    async def _check_branch(self, repo: Row, name: str) -> None:
        """An empty repository may have any name for the branch to come."""
        ref = branch_ref(name)
        snapshot = await self._refs.snapshot(self._manager.bare(repo))
        has_branches = any(known.name.startswith(BRANCHES) for known in snapshot.refs)
        if has_branches and ref not in snapshot.by_name:
            raise Invalid(f"there is no branch {name[:80]!r}; make it first")

    async def _point_head(self, repo: Row, branch: str) -> None:
        """Last in the transaction: if it fails, the row stays as it was."""
        command = self._git.command(
            "symbolic-ref",
            git_dir=self._manager.bare(repo).path,
            operands=["HEAD", f"refs/heads/{branch}"],
        )
        done = await run(self._runtime, command)
        if done.code != 0:
            raise Unavailable("the default branch could not be changed on disk; try again")


async def _check_origin(tx: Connection, repo: Row) -> None:
    """What somebody showed to a few is not for one of them to show to all."""
    if repo["forked_from_id"] is None:
        return
    if await tx.fetch_value(_IS_PRIVATE, repo=repo["forked_from_id"]):
        raise Forbidden(
            "this is a fork of a private repository, so it stays private as long as that one is"
        )


def _check_homepage(homepage: str | None) -> None:
    if not homepage:
        return
    if (
        len(homepage) > MAX_HOMEPAGE
        or not homepage.isprintable()
        or not homepage.startswith(("https://", "http://"))
    ):
        raise Invalid(
            f"a homepage is an http or https address of at most {MAX_HOMEPAGE} characters"
        )
