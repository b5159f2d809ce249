"""The events that a push makes: ``push`` itself, and what it means for branches and tags.

``push`` is journaled in the transaction that ends the push. The others follow from it: the bus
calls :meth:`PushEvents.expand`, which may look at the repository, and appends what it gives
exactly once. Their payloads are listed in docs/events.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from twisted.logger import Logger

from wit.access.ref_rules import BRANCHES, TAGS
from wit.db.port import Database, Row
from wit.errors import WitError
from wit.events.bus import EventBus
from wit.events.types import ANONYMOUS, Event, NewEvent
from wit.git.command import Git
from wit.git.process import run
from wit.git.push import RefUpdate
from wit.git.refname import is_zero
from wit.git.refs import RefReader
from wit.git.repository import BareRepository
from wit.repositories.folders import Folders
from wit.repositories.rows import BY_ID
from wit.runtime import Runtime

MAX_COMMITS = 20
"""Commits listed in one ``repo.pushed``."""

MAX_MESSAGE = 4096
"""Characters of a commit message that are kept."""

_COMMIT = re.compile(rb"([0-9a-f]{40,64})\0([^\0]*)\0([^\0]*)\0\n?")


def push_event(repo: Row, intent: Row, made: Sequence[RefUpdate]) -> NewEvent:
    """The journal's entry for a push of which ``made`` came true."""
    return NewEvent(
        type="push",
        actor_id=intent["actor_id"] or ANONYMOUS,
        repo_id=repo["id"],
        payload={
            "repoId": repo["id"],
            "repoFullName": repo["full_name"],
            "pushId": intent["id"],
            "updates": [
                {
                    "ref": update.ref.decode("utf-8", "replace"),
                    "before": None if is_zero(update.old) else update.old,
                    "after": None if is_zero(update.new) else update.new,
                }
                for update in made
            ],
            "pushOptions": intent["push_options"],
        },
    )


class PushEvents:
    """Makes ``repo.pushed``, ``branch.*`` and ``tag.*`` of ``push``."""

    log = Logger()

    def __init__(
        self, db: Database, git: Git, refs: RefReader, folders: Folders, runtime: Runtime
    ) -> None:
        self._db = db
        self._git = git
        self._refs = refs
        self._folders = folders
        self._runtime = runtime

    def register(self, bus: EventBus) -> None:
        bus.expand("push-events", ["push"], self.expand)

    async def expand(self, event: Event) -> list[NewEvent]:
        payload = event.payload
        about = {"repoId": payload["repoId"], "repoFullName": payload["repoFullName"]}
        made: list[NewEvent] = []

        def add(kind: str, **details: Any) -> None:
            made.append(NewEvent(kind, event.actor_id, {**about, **details}, event.repo_id))

        for update in payload["updates"]:
            ref, before, after = update["ref"], update["before"], update["after"]
            for prefix, thing in ((BRANCHES.decode(), "branch"), (TAGS.decode(), "tag")):
                if ref.startswith(prefix) and before is None:
                    add(f"{thing}.created", ref=ref, name=ref.removeprefix(prefix), sha=after)
                elif ref.startswith(prefix) and after is None:
                    add(f"{thing}.deleted", ref=ref, name=ref.removeprefix(prefix), sha=before)
            if ref.startswith(BRANCHES.decode()) and after is not None:
                commits = await self._commits(payload["repoId"], ref, before, after)
                add("repo.pushed", ref=ref, beforeSha=before, afterSha=after, commits=commits)
        return made

    async def _commits(
        self, repo_id: str, ref: str, before: str | None, after: str
    ) -> list[dict[str, str]]:
        """What the update brought, newest last; of a new branch, what the default one lacks.

        Empty if the repository or the commits are gone by now.
        """
        row = await self._db.fetch_one(BY_ID, id=repo_id)
        if row is None:
            return []
        path = str(self._folders.path(row["disk_path"]))
        repo = BareRepository(repo_id, path, row["object_format"])
        try:
            if before is None:
                snapshot = await self._refs.snapshot(repo)
                if snapshot.head != ref.encode():
                    before = snapshot.head_oid
            command = self._git.command(
                "rev-list",
                "--no-commit-header",
                "--topo-order",
                ("--max-count", MAX_COMMITS),
                ("--format", "%H%x00%an%x00%B%x00"),
                git_dir=path,
                operands=[after, *([] if before is None else [f"^{before}"])],
            )
            done = await run(self._runtime, command)
        except WitError as error:
            self.log.warn("no commits for {ref}: {error}", ref=ref, error=error, repo=repo_id)
            return []
        commits = [
            {
                "sha": match[1].decode(),
                "message": match[3].decode("utf-8", "replace").rstrip("\n")[:MAX_MESSAGE],
                "author": match[2].decode("utf-8", "replace"),
            }
            for match in _COMMIT.finditer(done.stdout)
        ]
        return commits[::-1]
