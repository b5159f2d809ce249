"""Which packs are read again, by whom, and what follows if one is not what it was."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from tests.git.conftest import Children, children  # noqa: F401 - a fixture
from tests.git.test_scrub import add, flip, make, packs
from wit.errors import Unavailable
from wit.git.repository import BareRepository
from wit.git.scrub import MARK, look
from wit.metrics import Metrics
from wit.repositories import scrubbing
from wit.repositories.scrubbing import DAY, KEY, KIND, Scrubbing
from wit.runtime import Runtime


@attrs.define
class Jobs:
    queued: list[tuple[str, Any, str | None]] = attrs.field(factory=list)
    workers: dict[str, Any] = attrs.field(factory=dict)
    heard: Deferred[None] = attrs.field(factory=Deferred)

    async def enqueue(self, kind: str, payload: Any, key: str | None = None) -> str:
        self.queued.append((kind, payload, key))
        if not self.heard.called:
            self.heard.callback(None)
        return "job"

    def register(self, kind: str, worker: Any) -> None:
        self.workers[kind] = worker


@attrs.define
class Repos:
    folder: Path
    rows: list[Any] = attrs.field(factory=list)

    def make(self, name: str, **more: Any) -> BareRepository:
        row = {"id": name, "full_name": f"o/{name}", "read_only_reason": None, **more}
        self.rows.append(row)
        return make(self.folder / name)

    async def list(self, after: str = "", limit: int = 100) -> list[Any]:
        return [row for row in self.rows if row["full_name"] > after][:limit]

    def bare(self, row: Any) -> BareRepository:
        return BareRepository(row["id"], str(self.folder / row["id"]))


@attrs.define
class World:
    jobs: Jobs
    repos: Repos
    keeper: Scrubbing
    suspected: list[tuple[str, str]]
    metrics: Metrics
    now: float

    def verified(self, outcome: str) -> float:
        return float(self.metrics.packs_verified.labels(outcome)._value.get())

    def age(self, repo: BareRepository, *days: int) -> None:
        """As if its packs were verified so many days ago."""
        lines = [
            f"{path.name} {self.now - age * DAY:.0f}\n"
            for path, age in zip(packs(repo), days, strict=True)
        ]
        Path(repo.path, MARK).write_text("".join(lines))


@pytest.fixture
def world(tmp_path: Path, runtime: Runtime) -> Any:
    def world(every: float = 0, days: int = 30, rate: int = 0) -> World:
        jobs, repos, metrics = Jobs(), Repos(tmp_path), Metrics()
        suspected: list[tuple[str, str]] = []
        keeper = Scrubbing(
            jobs, runtime, repos, metrics,
            every=every, days=days, bytes_per_second=rate,
            suspect=lambda repo, why: suspected.append((repo, why)),
        )  # fmt: skip
        return World(jobs, repos, keeper, suspected, metrics, runtime.now().timestamp())

    return world


def test_what_is_due_is_verified_and_no_more(world: Any, run: Any) -> None:
    w = world()
    repo = w.repos.make("a")
    add(Path(repo.path), b"two")
    w.repos.make("b")
    w.age(repo, 31, 29)
    run(w.keeper.work({}))
    assert w.verified("sound") == 1
    assert w.suspected == []
    run(w.keeper.work({}))
    assert w.verified("sound") == 1, "it was noted"


@pytest.mark.attack(27)
def test_a_rotten_pack_makes_its_repository_suspect_and_no_other(world: Any, run: Any) -> None:
    w = world()
    good, bad, last = (w.repos.make(name) for name in ("a", "b", "c"))
    for repo in (good, bad, last):
        w.age(repo, 40)
    flip(packs(bad)[0], 20_000)
    run(w.keeper.work({}))
    name = packs(bad)[0].name
    assert w.suspected == [("b", f"{name}: pack checksum mismatch")]
    assert (w.verified("sound"), w.verified("damaged")) == (2, 1)
    run(w.keeper.work({}))
    assert len(w.suspected) == 2, "it stays due until somebody has said what it is"
    w.repos.rows[1]["read_only_reason"] = "damaged: it is known"
    run(w.keeper.work({}))
    assert len(w.suspected) == 2
    assert w.verified("sound") == 2


def test_a_locked_repository_is_verified_too(world: Any, run: Any) -> None:
    w = world()
    w.age(w.repos.make("a", read_only_reason="its administrator has locked it"), 40)
    run(w.keeper.work({}))
    assert w.verified("sound") == 1


def test_what_cannot_be_read_stops_nobody(
    world: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    w = world()
    for name in ("a", "b"):
        w.age(w.repos.make(name), 40)

    async def looked(runtime: Runtime, repo: BareRepository) -> Any:
        if repo.key == "a":
            raise Unavailable("the packs cannot be listed")
        return await look(runtime, repo)

    monkeypatch.setattr(scrubbing, "look", looked)
    run(w.keeper.work({}))
    assert w.verified("sound") == 1


def test_one_job_for_the_whole_site(world: Any, run: Any) -> None:
    w = world(every=0.001)

    async def until_queued() -> None:
        await w.keeper.start()
        await w.jobs.heard
        await w.keeper.stop()

    run(until_queued())
    assert w.jobs.queued[0] == (KIND, {}, KEY)
    assert w.jobs.workers[KIND] == w.keeper.work


@pytest.mark.parametrize("settings", [{"every": 0}, {"every": 0.001, "days": 0}])
def test_it_can_be_switched_off(world: Any, run: Any, runtime: Runtime, settings: Any) -> None:
    w = world(**settings)

    async def for_a_while() -> None:
        await w.keeper.start()
        await runtime.sleep(0.02)
        await w.keeper.stop()

    run(for_a_while())
    assert w.jobs.queued == []


def test_stopping_waits_for_nothing(
    world: Any,
    run: Any,
    runtime: Runtime,
    children: Children,  # noqa: F811
) -> None:
    """The job ends well: what it left is found due again."""
    w = world(rate=10)
    w.age(w.repos.make("a"), 40)

    async def stop() -> None:
        work = Deferred.fromCoroutine(w.keeper.work({}))
        while not children():
            await runtime.sleep(0.005)
        await w.keeper.stop()
        await work

    run(stop())
    assert children() == []
    assert w.verified("sound") == 0


def test_all_packs_at_once(world: Any, run: Any) -> None:
    w = world(days=0, rate=1)
    repo = w.repos.make("a")
    for content in (os.urandom(9_000_000), b"three"):
        add(Path(repo.path), content)
    told: list[tuple[int, ...]] = []
    row = w.repos.rows[0]
    assert run(w.keeper.verify_all(row, lambda *far: told.append(far))) == []
    size = sum(path.stat().st_size for path in packs(repo))
    assert {(packs, of) for _, packs, of, _ in told} == {(3, size)}
    assert {number for number, _, _, _ in told} == {1, 2, 3}
    read = [far for *_, far in told]
    assert read == sorted(read) and size - 100 <= read[-1] <= size
    flip(packs(repo)[1], -5)
    found = run(w.keeper.verify_all(row, lambda *far: None))
    assert found == [f"{packs(repo)[1].name}: pack checksum mismatch"]
