"""Who is marked as damaged, how often is looked, and what stays as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.task import Clock

from wit.config import Git as GitConfig
from wit.errors import NotFound, Unavailable
from wit.git.command import Git
from wit.git.governor import Governor
from wit.git.public_text import ServerPaths
from wit.git.repository import BareRepository
from wit.metrics import Metrics
from wit.repositories import damage
from wit.repositories.damage import KIND, QUIET_SECONDS, SOUND_SECONDS, DamageWatch
from wit.runtime import Runtime


@attrs.define
class Jobs:
    queued: list[tuple[str, Any, str | None]] = attrs.field(factory=list)
    workers: dict[str, Any] = attrs.field(factory=dict)
    error: Exception | None = None

    async def enqueue(self, kind: str, payload: Any, key: str | None = None) -> str:
        if self.error is not None:
            raise self.error
        self.queued.append((kind, payload, key))
        return "job"

    def register(self, kind: str, worker: Any) -> None:
        self.workers[kind] = worker


@attrs.define(slots=False)
class Repos:
    row: dict[str, Any]
    gone: bool = False

    async def by_id(self, repo_id: str) -> Any:
        if self.gone:
            raise NotFound("repository not found")
        return self.row

    async def mark_damaged(self, repo_id: str, reason: str) -> bool:
        if self.row["read_only_reason"]:
            return False
        self.row["read_only_reason"] = reason
        return True

    def bare(self, row: Any) -> BareRepository:
        return BareRepository(row["id"], "/srv/repos/a/b.git")


@attrs.define
class World:
    """A watch whose examinations give what the test wrote down."""

    watch: DamageWatch
    jobs: Jobs
    repos: Repos
    clock: Clock
    findings: list[Any]
    looked: list[str]

    @property
    def reason(self) -> str | None:
        reason: str | None = self.repos.row["read_only_reason"]
        return reason


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, runtime: Runtime) -> World:
    monkeypatch.setattr(damage, "AGAIN_SECONDS", 0.0)
    findings: list[Any] = []
    looked: list[str] = []

    async def examine(git: Git, runtime: Runtime, repo: BareRepository) -> str | None:
        looked.append(repo.key)
        found = findings.pop(0)
        if isinstance(found, Exception):
            raise found
        text: str | None = found
        return text

    monkeypatch.setattr(damage, "examine", examine)
    clock = Clock()
    jobs = Jobs()
    repos = Repos({"id": "r1", "full_name": "a/b", "read_only_reason": None})
    governor = Governor(GitConfig(), runtime, Metrics())
    paths = ServerPaths(Path("/srv/repos"))
    world_runtime = attrs.evolve(runtime, reactor=_Reactor(clock, runtime.reactor))
    watch = DamageWatch(
        jobs, Git.find(), world_runtime, repos, governor=governor, paths=paths, metrics=Metrics()
    )
    return World(watch, jobs, repos, clock, findings, looked)


class _Reactor:
    """The test's own time for what is measured, the real one for what is waited for."""

    def __init__(self, clock: Clock, reactor: Any) -> None:
        self.seconds = clock.seconds
        self.callLater = reactor.callLater


PAYLOAD = {"repo_id": "r1", "why": "is corrupt"}


def test_found_twice_it_is_marked(world: World, run: Any) -> None:
    world.findings += ["missing blob 1 in /srv/repos/a/b.git/x", "missing blob 2"] * 2
    run(world.watch.work(PAYLOAD))
    assert world.reason == "damaged: missing blob 2"
    assert len(world.looked) == 2


def test_the_reason_names_no_path(world: World, run: Any) -> None:
    world.findings += ["packfile /srv/repos/a/b.git/objects/pack/p.pack is corrupt"] * 2
    run(world.watch.work(PAYLOAD))
    assert world.reason == "damaged: packfile a/b.git/objects/pack/p.pack is corrupt"


@pytest.mark.parametrize("findings", [[None], ["missing blob 1", None]])
def test_found_once_it_is_not(world: World, run: Any, findings: list[str | None]) -> None:
    world.findings += findings
    run(world.watch.work(PAYLOAD))
    assert world.reason is None and world.findings == []


def test_no_telling_is_tried_again(world: World, run: Any) -> None:
    """The queue does, as the worker fails."""
    for findings in ([Unavailable("busy")], ["missing blob 1", Unavailable("killed")]):
        world.findings[:] = findings
        with pytest.raises(Unavailable):
            run(world.watch.work(PAYLOAD))
        assert world.reason is None


def test_what_is_locked_or_gone_is_not_looked_at(world: World, run: Any) -> None:
    world.repos.row["read_only_reason"] = "moving house"
    run(world.watch.work(PAYLOAD))
    world.repos.gone = True
    run(world.watch.work(PAYLOAD))
    assert world.looked == []
    assert world.reason == "moving house"


def test_a_folder_that_is_not_there_marks_nothing(world: World, run: Any) -> None:
    world.findings.append(NotFound("the folder of the repository is not there"))
    run(world.watch.work(PAYLOAD))
    assert world.reason is None


def test_a_lock_set_meanwhile_stays(world: World, run: Any, monkeypatch: Any) -> None:
    async def mark(repo_id: str, reason: str) -> bool:
        world.repos.row["read_only_reason"] = "moving house"
        return False

    monkeypatch.setattr(world.repos, "mark_damaged", mark, raising=False)
    world.findings += ["missing blob 1"] * 2
    run(world.watch.work(PAYLOAD))
    assert world.reason == "moving house"


def test_a_suspicion_is_looked_into_once_in_a_while(world: World, run: Any) -> None:
    async def suspect(*repo_ids: str) -> None:
        for repo_id in repo_ids:
            world.watch.suspect(repo_id, "is corrupt")

    def kinds() -> list[str | None]:
        return [key for kind, _, key in world.jobs.queued if kind == KIND]

    run(suspect("r1", "r1", "r2", "r1"))
    assert kinds() == ["r1", "r2"]
    assert world.jobs.queued[0][1] == {"repo_id": "r1", "why": "is corrupt"}
    world.clock.advance(QUIET_SECONDS)
    run(suspect("r1", "r1"))
    assert kinds() == ["r1", "r2", "r1"]
    world.findings.append(None)
    run(world.jobs.workers[KIND](PAYLOAD))
    world.clock.advance(SOUND_SECONDS - 1)
    run(suspect("r1"))
    assert len(kinds()) == 3
    world.clock.advance(1)
    run(suspect("r1"))
    assert len(kinds()) == 4


def test_a_database_that_is_away_loses_a_suspicion_and_no_more(world: World, run: Any) -> None:
    async def suspect() -> None:
        world.watch.suspect("r1", "is corrupt")

    world.jobs.error = Unavailable("no database")
    run(suspect())
    world.jobs.error = None
    world.clock.advance(QUIET_SECONDS)
    run(suspect())
    assert len(world.jobs.queued) == 1


def test_memory_is_bounded(world: World, run: Any) -> None:
    async def suspect() -> None:
        for number in range(damage.MAX_REMEMBERED + 10):
            world.watch.suspect(f"r{number}", "is corrupt")

    run(suspect())
    assert len(world.watch._quiet_until) == damage.MAX_REMEMBERED
