"""Housekeeping: notes become jobs, jobs become work, and nobody waits for either."""

from __future__ import annotations

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wit.db.port import DatabaseUnavailable
from wit.errors import NotFound
from wit.git import maintenance
from wit.git.command import Git
from wit.git.repository import BareRepository
from wit.repositories import housekeeping
from wit.repositories.housekeeping import KIND, Housekeeping


class Jobs:
    def __init__(self) -> None:
        self.queued: list[tuple[str, Any, str | None]] = []
        self.workers: dict[str, Any] = {}

    async def enqueue(self, kind: str, payload: Any, key: str | None = None) -> str:
        self.queued.append((kind, payload, key))
        return "id"

    def register(self, kind: str, worker: Any) -> None:
        self.workers[kind] = worker


class Repos:
    """Repositories in a folder, named by their number."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder = folder
        self.rows = [{"id": f"id{n}", "full_name": f"o/r{n:03}"} for n in range(count)]
        self.asked: list[str] = []
        self.failures: list[Exception] = []

    async def by_id(self, repo_id: str) -> Any:
        self.asked.append(repo_id)
        for row in self.rows:
            if row["id"] == repo_id:
                return row
        raise NotFound("repository not found")

    async def list(self, after: str = "", limit: int = 100) -> list[Any]:
        if self.failures:
            raise self.failures.pop()
        return [row for row in self.rows if row["full_name"] > after][:limit]

    def bare(self, row: Any) -> BareRepository:
        return BareRepository(row["id"], str(self.folder / row["id"]))

    def make(self, repo_id: str, *, needy: bool) -> Path:
        path = self.folder / repo_id
        subprocess.run(["git", "init", "-q", "--bare", path], check=True)
        if needy:
            stream = "commit refs/heads/main\ncommitter T <t@e> 1700000000 +0000\ndata 1\nx\n"
            words: list[Any] = ["git", "--git-dir", path, "-c", "fastimport.unpackLimit=1"]
            subprocess.run([*words, "fast-import", "--quiet"], input=stream, text=True, check=True)
        return path


@pytest.fixture
def world(tmp_path: Path, runtime: Any) -> Any:
    def world(count: int, every: float = 0) -> Any:
        jobs, repos = Jobs(), Repos(tmp_path, count)
        keeper = Housekeeping(jobs, Git.find(), runtime, repos, every=every)
        return SimpleNamespace(jobs=jobs, repos=repos, keeper=keeper, runtime=runtime)

    return world


def job(repo_id: str) -> tuple[str, Any, str]:
    return KIND, {"repo_id": repo_id}, repo_id


def test_a_look_at_all_queues_what_is_needed(world: Any, run: Any) -> None:
    here = world(2 * housekeeping.PAGE + 1)
    here.repos.make("id0", needy=False)
    here.repos.make("id1", needy=True)
    here.repos.make(f"id{2 * housekeeping.PAGE}", needy=True)
    run(here.keeper.look_at_all())  # the others are missing on disk, which stops nothing
    assert here.jobs.queued == [job("id1"), job(f"id{2 * housekeeping.PAGE}")]


def test_the_worker_does_it(world: Any, run: Any) -> None:
    here = world(1)
    path = here.repos.make("id0", needy=True)
    worker = here.jobs.workers[KIND]
    run(worker({"repo_id": "id0"}))
    assert (path / "objects/info/commit-graphs/commit-graph-chain").exists()
    run(here.keeper.look_at_all())
    assert here.jobs.queued == []
    run(worker({"repo_id": "id0"}))
    run(worker({"repo_id": "deleted meanwhile"}))


def test_many_pushes_make_one_look(world: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "SETTLE_SECONDS", 0.05)
    here = world(3)
    here.repos.make("id0", needy=True)
    here.repos.make("id1", needy=False)
    bus = SimpleNamespace(register=lambda *words: handlers.append(words))
    handlers: list[Any] = []
    here.keeper.register(bus)
    ((name, types, handle),) = handlers
    assert name == "housekeeping" and "push" in types

    async def scenario() -> None:
        await here.keeper.start()
        for repo_id in ["id0", "id1", "id0", "deleted", None, "id0"]:
            await handle(SimpleNamespace(repo_id=repo_id), None)
        while len(here.repos.asked) < 3 or not here.jobs.queued:
            await here.runtime.sleep(0.01)
        assert sorted(here.repos.asked) == ["deleted", "id0", "id1"]
        await handle(SimpleNamespace(repo_id="id0"), None)  # and it goes on
        while len(here.jobs.queued) < 2:
            await here.runtime.sleep(0.01)
        await here.keeper.stop()

    run(scenario())
    assert here.jobs.queued == [job("id0"), job("id0")]


def test_the_timer_survives_a_lost_database(world: Any, run: Any) -> None:
    here = world(1, every=0.02)
    here.repos.make("id0", needy=True)
    here.repos.failures = [DatabaseUnavailable("gone")]

    async def scenario() -> None:
        await here.keeper.start()
        while not here.jobs.queued:
            await here.runtime.sleep(0.01)
        await here.keeper.stop()
        count = len(here.jobs.queued)
        await here.runtime.sleep(0.1)
        assert len(here.jobs.queued) == count

    run(scenario())
    assert here.repos.failures == []


def test_stopping_forgets_and_starting_again_works(
    world: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = world(1)
    here.repos.make("id0", needy=True)

    async def scenario() -> None:
        await here.keeper.start()
        here.keeper.note("id0")
        await here.keeper.stop()  # ten seconds before the look
        assert here.repos.asked == []
        monkeypatch.setattr(housekeeping, "SETTLE_SECONDS", 0.0)
        await here.keeper.start()
        here.keeper.note("id0")
        while not here.jobs.queued:
            await here.runtime.sleep(0.01)
        await here.keeper.stop()

    run(scenario())


def test_notes_are_bounded(world: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "MAX_NOTED", 5)
    here = world(0)

    async def scenario() -> int:
        for number in range(50):
            here.keeper.note(str(number))
        noted = len(here.keeper._noted)
        await here.keeper.stop()
        return noted

    assert run(scenario()) == 5


def test_a_failing_job_says_why(world: Any, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    here = world(1)
    path = here.repos.make("id0", needy=True)
    for pack in (path / "objects/pack").glob("*.pack"):
        pack.chmod(0o644)
        pack.write_bytes(b"PACK")
    monkeypatch.setattr(maintenance, "MANY_PACKS", 0)
    with pytest.raises(Exception, match=r"git \S+ failed"):
        run(here.jobs.workers[KIND]({"repo_id": "id0"}))
