"""A core with people and a repository, and daemons over it that can be killed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
from sqlalchemy import delete, func, select

from tests.repositories.world import git, name
from tests.sandboxes.manager.fake import Engine
from wit.access.actor import Actor, Level, Origin
from wit.config import Config, Sandboxes
from wit.config import Database as DatabaseSettings
from wit.core import Core
from wit.db.port import Row
from wit.db.tables import sandbox_commands, sandboxes
from wit.runtime import Runtime
from wit.sandboxes.manager import NewSandbox, Sandbox
from wit.sandboxes.manager import Sandboxes as Manager
from wit.sandboxes.registry import Factories, Factory
from wit.sandboxes.service import SandboxService


@attrs.define
class Clock:
    """The wall clock of a test, which it turns on by hand."""

    time: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def turn(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@attrs.define
class World:
    core: Core
    engine: Engine
    clock: Clock
    factories: Factories
    ada: Actor
    bob: Actor
    admin: Actor
    repo_id: str
    repo_name: str
    service: SandboxService = attrs.field(init=False)

    @property
    def sandboxes(self) -> Manager:
        return self.service.sandboxes

    async def start(self) -> SandboxService:
        """A daemon of this place; its rounds are the test's to make."""
        core = self.core
        self.service = SandboxService(
            core.config,
            core.db,
            core.runtime,
            core.metrics,
            gate=core.gate,
            secrets=core.secrets,
            git=core.git,
            governor=core.governor,
            repos=core.repos,
            refs=core.refs,
            revisions=core.revisions,
            objects=core.objects,
            factories=self.factories,
        )
        await self.service.start()
        rounds = self.service._rounds
        assert rounds is not None
        rounds.addErrback(lambda _: None)
        rounds.cancel()
        await self.service.registry.probe_all()
        return self.service

    def kill(self) -> None:
        """As kill -9: what it was doing stands still for ever, the kernel drops its lock."""
        assert self.service._own is not None
        os.close(self.service._own.lock)
        self.engine.stops_at = ""

    async def restart(self) -> None:
        self.kill()
        await self.start()

    async def repo(self, actor: Actor | None = None) -> Row:
        return await self.core.gate.repository_by_id(actor or self.ada, self.repo_id, Level.READ)

    async def create(self, actor: Actor | None = None, **wishes: Any) -> Sandbox:
        new = NewSandbox(repo=await self.repo(), **{"checkout": False, **wishes})
        return await self.sandboxes.create(actor or self.ada, new)

    async def row(self, sandbox_id: str) -> Row:
        found = await self.service.records.find(sandbox_id)
        assert found is not None
        return found

    async def states(self) -> dict[str, int]:
        counted = select(sandboxes.c.state, func.count().label("n")).group_by(sandboxes.c.state)
        return {row["state"]: row["n"] for row in await self.core.db.fetch_all(counted)}

    async def commands(self) -> list[Row]:
        ordered = select(sandbox_commands).order_by(sandbox_commands.c.started_at)
        return await self.core.db.fetch_all(ordered)


@attrs.frozen
class Ground:
    """What the tests of a session share on one engine of the database."""

    core: Core
    clock: Clock
    people: Mapping[str, Actor]


async def make_ground(url: str, runtime: Runtime, folder: Path) -> Ground:
    clock = Clock()
    config = Config(
        data_dir=folder / "data",
        database=DatabaseSettings(url=url, pool_min=1, pool_max=8, readers=2),
        sandboxes=Sandboxes(provider="fake", warm=2),
    )
    core = Core(config, attrs.evolve(runtime, now=clock))
    await core.open()
    people = {}
    for person, role in (("ada", "user"), ("bob", "user"), ("root", "admin")):
        row = await core.users.create(person, f"{person}@example.org", role=role)
        people[person] = Actor(row["id"], person, Origin.SESSION, is_admin=role == "admin")
    return Ground(core, clock, people)


async def make_world(
    ground: Ground,
    folder: Path,
    make: Callable[[Engine], Factory] = lambda engine: engine.provider,
    provider: str = "fake",
) -> World:
    """Nobody's sandboxes yet, and an empty private repository of ada's."""
    core = ground.core
    await core.db.execute(delete(sandboxes))
    repo_name = f"project-{folder.name}"
    repo = await core.repos.create(name(f"ada/{repo_name}"), private=True)
    (folder / "engine").mkdir()
    engine = Engine(folder / "engine")
    world = World(
        core=core,
        engine=engine,
        clock=ground.clock,
        factories={provider: make(engine)},
        ada=ground.people["ada"],
        bob=ground.people["bob"],
        admin=ground.people["root"],
        repo_id=repo["id"],
        repo_name=repo_name,
    )
    await world.start()
    return world


def push_files(world: World, work: Path, count: int = 3) -> str:
    """Commits with so many files on main of ada/project, by a way around the doors; the last."""
    git("init", "-q", "--initial-branch=main", work)
    for number in range(count):
        file = work / f"dir{number % 10}" / f"file{number}.txt"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"content of {number}\n" * 20)
    git("add", ".", cwd=work)
    git("commit", "-q", "-m", "first", cwd=work)
    (work / "README").write_text("read me\n")
    git("add", ".", cwd=work)
    git("commit", "-q", "-m", "second", cwd=work)
    bare = world.core.repos.folders.root / "ada" / f"{world.repo_name}.git"
    git("push", "-q", bare, "main", cwd=work)
    return git("rev-parse", "HEAD", cwd=work)
