"""A push server with a database, and pushes whose daemon died."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from sqlalchemy import func, insert, select

from tests.git.pushing import PushServer, ok
from wit.access.actor import Actor, Origin
from wit.config import Config
from wit.db.port import Database, Row
from wit.db.tables import branch_protection_rules, namespaces, pushes, repositories
from wit.events.bus import EventBus
from wit.events.journal import Journal
from wit.git.push import Quarantine, RefUpdate
from wit.git.push_directory import PushDirectory
from wit.git.repository import BareRepository
from wit.repositories.folders import Folders
from wit.repositories.push_events import PushEvents
from wit.repositories.pushes import Pushes
from wit.repositories.rows import BY_ID
from wit.runtime import Runtime

ADA = Actor("a" * 32, "ada", Origin.PASSWORD)
BOB = Actor("b" * 32, "bob", Origin.TOKEN)
ZERO = "0" * 40
NAME = "ada/r.git"
INTENTS = select(func.count()).select_from(pushes)


@attrs.frozen
class Request:
    id: str = "request-1"


class PushWorld(PushServer):
    """A push server with a database behind it and one repository in it."""

    def __init__(self, config: Config, runtime: Runtime, database: Database, run: Any) -> None:
        super().__init__(config, runtime)
        self.db = database
        self.run = run
        self.journal = Journal(database, runtime)
        self.folders = Folders(config.repos_dir)
        self.service = self.new_pushes()
        self.actor = ADA
        self.make_push = self._begin
        self.row: Row = {}

    def new_pushes(self) -> Pushes:
        return Pushes(
            db=self.db,
            journal=self.journal,
            git=self.git,
            refs=self.refs,
            folders=self.folders,
            runtime=self.runtime,
            config=self.config,
        )

    def _begin(self, repo: BareRepository) -> Any:
        return self.service.begin(self.actor, self.row, Request())

    def repo(self, name: str) -> BareRepository:
        return BareRepository(
            self.row["id"], str(self.root / NAME), self.row.get("object_format", "sha1")
        )

    async def add_repository(self, object_format: str = "sha1") -> None:
        now = self.runtime.now()
        repo_id = self.runtime.new_id()
        await self.db.execute(
            insert(namespaces), name_key="ada", name="ada", owner_type="user", owner_id=ADA.user_id
        )
        await self.db.execute(
            insert(repositories),
            id=repo_id,
            owner_id=ADA.user_id,
            owner_type="user",
            name="r",
            name_key="r",
            default_branch="main",
            object_format=object_format,
            disk_path=f"/repos/{NAME}",
            created_at=now,
            updated_at=now,
        )
        await self.reload(repo_id)

    async def reload(self, repo_id: str | None = None) -> Row:
        row = await self.db.fetch_one(BY_ID, id=repo_id or self.row["id"])
        assert row is not None
        self.row = row
        return row

    async def protect(self, pattern: str, **rule: Any) -> None:
        now = self.runtime.now()
        await self.db.execute(
            insert(branch_protection_rules),
            id=self.runtime.new_id(),
            repo_id=self.row["id"],
            pattern=pattern,
            require_pull_request=rule.pop("require_pull_request", False),
            created_at=now,
            updated_at=now,
            **rule,
        )

    @property
    def address(self) -> str:
        return self.url(NAME)

    @property
    def bare_path(self) -> Path:
        return self.root / NAME

    def pushed(self) -> list[dict[str, Any]]:
        """The payloads of all ``push`` events."""
        entries = self.run(self.journal.list(limit=1000))
        return [entry.payload for entry in entries if entry.type == "push"]

    def intents(self) -> int:
        count: int = self.run(self.db.fetch_value(INTENTS))
        return count

    def expanded(self) -> list[tuple[str, dict[str, Any]]]:
        """All other events, once the bus has made them."""
        bus = EventBus(self.db, self.journal, self.runtime, self.metrics)
        PushEvents(self.db, self.git, self.refs, self.folders, self.runtime).register(bus)

        async def deliver() -> None:
            while await bus.deliver_due():
                pass

        self.run(deliver())
        entries = self.run(self.journal.list(limit=1000))
        return [(entry.type, entry.payload) for entry in entries if entry.type != "push"]


class Dead:
    """A push of a daemon that dies after its decision: nobody ever settles it."""

    def __init__(self, world: PushWorld, updates: list[tuple[str, str, str]]) -> None:
        self.world = world
        self.push = world.service.begin(ADA, world.row, Request())
        self.updates = [RefUpdate(ref.encode(), old, new) for ref, old, new in updates]
        self.directory = PushDirectory.create(world.root, self.push.id, world.row["id"])
        quarantine = Quarantine(world.repo(NAME), "", "")
        self.verdict = world.run(self.push.decide(quarantine, self.updates, []))

    def update_refs(self, *updates: tuple[str, str, str]) -> None:
        lines = "".join(f"update {ref} {new} {old}\n" for ref, old, new in updates)
        ok(
            "update-ref", "--stdin", "--create-reflog", "-m", "push",
            cwd=self.world.bare_path, data=lines.encode(),
            GIT_COMMITTER_EMAIL=f"{self.push.id}@push.wit",
        )  # fmt: skip

    def die(self) -> None:
        self.directory.release()
