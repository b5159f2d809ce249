"""Pushes with the real git through ReceivePack and Pushes, on both databases."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest
from sqlalchemy import func, insert, select, update
from twisted.internet.defer import Deferred

from tests.git.pushing import (
    Gate,
    PushServer,
    commit,
    eventually,
    git,
    in_background,
    ok,
    work_tree,
)
from wit.access.actor import Actor, Origin
from wit.config import Config
from wit.config import Repositories as RepositoriesConfig
from wit.db.port import Database, Row
from wit.db.tables import branch_protection_rules, namespaces, pushes, repositories
from wit.events.bus import EventBus
from wit.events.journal import Journal
from wit.git import push_directory
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
KILLS = int(os.environ.get("WIT_TEST_KILLS", "6"))
NAME = "ada/r.git"
ROOT = Path(__file__).parents[2]

_INTENTS = select(func.count()).select_from(pushes)
_REPOSITORY = update(repositories)


@attrs.frozen
class Request:
    id: str = "request-1"


class World(PushServer):
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
        count: int = self.run(self.db.fetch_value(_INTENTS))
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


@pytest.fixture
def world(tmp_path: Path, database: Database, runtime: Runtime, run: Any) -> Iterator[World]:
    config = Config(tmp_path / "data", repositories=RepositoriesConfig(max_file_bytes=1_000_000))
    world = World(config, runtime, database, run)
    run(world.start())
    world.bare(NAME)
    run(world.add_repository())
    yield world
    world.idle()
    run(world.stop())


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return work_tree(tmp_path / "work")


def test_a_push_becomes_events(world: World, work: Path) -> None:
    first = ok("rev-parse", "HEAD", cwd=work)
    ok("push", "-o", "ci.skip", world.address, "main", "main:refs/tags/v1", cwd=work)
    world.idle()
    (payload,) = world.pushed()
    (push,) = world.pushes
    assert payload == {
        "repoId": world.row["id"],
        "repoFullName": "ada/r",
        "pushId": push.id,
        "updates": [
            {"ref": "refs/heads/main", "before": None, "after": first},
            {"ref": "refs/tags/v1", "before": None, "after": first},
        ],
        "pushOptions": ["ci.skip"],
    }
    assert world.intents() == 0
    assert world.run(world.reload())["pushed_at"] is not None
    (entry,) = world.run(world.journal.list())
    assert entry.actor_id == ADA.user_id and entry.repo_id == world.row["id"]
    about = {"repoId": world.row["id"], "repoFullName": "ada/r"}
    assert world.expanded() == [
        ("branch.created", {**about, "ref": "refs/heads/main", "name": "main", "sha": first}),
        (
            "repo.pushed",
            {
                **about,
                "ref": "refs/heads/main",
                "beforeSha": None,
                "afterSha": first,
                "commits": [{"sha": first, "message": "one", "author": "Test"}],
            },
        ),
        ("tag.created", {**about, "ref": "refs/tags/v1", "name": "v1", "sha": first}),
    ]


def test_commits_of_a_push_newest_last(world: World, work: Path) -> None:
    ok("push", world.address, "main", cwd=work)
    tips = [commit(work, f"number {n}\n\nwith a body") for n in range(25)]
    ok("push", world.address, "main", "main:side", cwd=work)
    ok("push", world.address, ":side", cwd=work)
    world.idle()
    made = world.expanded()
    (pushed,) = [p for kind, p in made if kind == "repo.pushed" and p["beforeSha"] is not None]
    assert [c["sha"] for c in pushed["commits"]] == tips[-20:]
    assert pushed["commits"][-1]["message"] == "number 24\n\nwith a body"
    (side,) = [p for kind, p in made if kind == "repo.pushed" and p["ref"] == "refs/heads/side"]
    assert side["commits"] == [], "nothing that the default branch has not"
    assert [p["sha"] for kind, p in made if kind == "branch.deleted"] == [tips[-1]]


@pytest.mark.attack(20)
def test_protected_branches(world: World, work: Path) -> None:
    first = ok("rev-parse", "HEAD", cwd=work)
    second = commit(work, "two")
    ok("push", world.address, "main", "main:free", cwd=work)
    world.run(world.protect("main"))
    world.run(world.protect("refs/tags/v*", allowed_pushers=[BOB.user_id]))
    done = git("push", "--force", world.address, f"{first}:refs/heads/main", cwd=work)
    assert "remote: main is protected: force-push is not allowed" in done.err
    done = git("push", world.address, ":free", f"+{first}:refs/heads/main", cwd=work)
    assert done.code != 0 and "remote: main is protected" in done.err
    done = git("push", world.address, ":main", cwd=work)
    assert "remote: main is the default branch" in done.err
    done = git("push", world.address, "main:refs/tags/v1", cwd=work)
    assert "not among those who may push" in done.err
    world.actor = BOB
    ok("push", world.address, "main:refs/tags/v1", cwd=work)
    third = commit(work, "three")
    ok("push", world.address, "main", cwd=work)
    refs = ok("for-each-ref", "--format=%(refname) %(objectname)", cwd=world.bare_path)
    assert refs.splitlines() == [f"refs/heads/main {third}", f"refs/tags/v1 {second}"]
    world.idle()
    assert [u["ref"] for p in world.pushed() for u in p["updates"]] == [
        "refs/heads/main",
        "refs/heads/free",
        "refs/heads/free",
        "refs/tags/v1",
        "refs/heads/main",
    ]


def test_a_read_only_repository(world: World, work: Path) -> None:
    world.run(
        world.db.execute(_REPOSITORY.values(read_only_reason="it is damaged; repair it first"))
    )
    done = git("push", world.address, "main", cwd=work)
    assert "remote: this repository is read-only: it is damaged" in done.err
    assert world.intents() == 0


@pytest.mark.attack(17)
@pytest.mark.parametrize("files", [1, 30])
def test_a_file_that_is_too_large(world: World, work: Path, files: int) -> None:
    """Loose and packed; a file of zeros, which weighs nothing on the way."""
    (work / "zeros").write_bytes(bytes(2_000_000))
    commit(work, "zeros", files=files)
    done = git("push", world.address, "main", cwd=work)
    assert done.code != 0
    assert "has 2000000 bytes; a file may have 1000000 here" in done.err
    world.idle()
    assert world.leftovers(NAME) == []
    assert world.intents() == 0
    ok("push", world.address, "HEAD~1:refs/heads/main", cwd=work)


@pytest.mark.attack(19)
def test_names_are_judged_against_what_is_there(world: World, work: Path) -> None:
    ok("push", world.address, "main", cwd=work)
    done = git("push", world.address, "main:refs/heads/Main", cwd=work)
    assert "main differs from it by upper and lower case alone" in done.err
    ok("symbolic-ref", "refs/heads/alias", "refs/heads/main", cwd=world.bare_path)
    commit(work, "two")
    done = git("push", world.address, "main:refs/heads/alias", cwd=work)
    assert "alias is another name of main; push to that" in done.err
    done = git("push", world.address, "main:refs/replace/" + "1" * 40, cwd=work)
    assert "only branches" in done.err


@pytest.mark.attack(21)
def test_of_two_racing_pushes_one_is_told_to_fetch(
    world: World, work: Path, tmp_path: Path, runtime: Runtime
) -> None:
    """Both have read the same advertisement; the second is decided after the first was made."""
    ok("push", world.address, "main", cwd=work)
    ok("clone", "-q", world.bare_path, tmp_path / "other")
    gates = [Gate(runtime), Gate(runtime)]
    waiting = iter(gates)
    world.make_push = lambda repo: _Gated(
        world.service.begin(ADA, world.row, Request()), next(waiting)
    )
    tips, clients = [], []
    for clone, gate in zip((work, tmp_path / "other"), gates, strict=True):
        tips.append(commit(clone, f"from {clone.name}"))
        clients.append(in_background("push", world.address, "main", cwd=clone))
        assert gate.reached.wait(20)
    gates[0].open()
    assert clients[0].wait(20) == 0
    gates[1].open()
    _, error = clients[1].communicate(timeout=20)
    assert clients[1].returncode != 0
    assert b"main was changed by somebody else meanwhile; fetch first" in error
    clients[0].communicate()
    assert ok("rev-parse", "main", cwd=world.bare_path) == tips[0]
    world.idle()
    assert len(world.pushed()) == 2


class _Gated:
    """A push that is decided when the test says so."""

    def __init__(self, push: Any, gate: Gate) -> None:
        self._push = push
        self._gate = gate

    def __getattr__(self, name: str) -> Any:
        return getattr(self._push, name)

    async def decide(self, *args: Any) -> Any:
        await self._gate.wait()
        return await self._push.decide(*args)


def test_too_many_push_options(world: World, work: Path) -> None:
    options = [f"--push-option={n}" for n in range(101)]
    done = git("push", *options, world.address, "main", cwd=work)
    assert "a push may have 100 options" in done.err
    assert world.intents() == 0


class Dead:
    """A push of a daemon that dies after its decision: nobody ever settles it."""

    def __init__(self, world: World, updates: list[tuple[str, str, str]]) -> None:
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


@pytest.mark.attack(24, 26)
def test_reconciliation_finds_what_came_true(world: World, work: Path, run: Any) -> None:
    one = ok("rev-parse", "HEAD", cwd=work)
    two = commit(work, "two")
    ok("push", world.address, f"{one}:refs/heads/main", f"{one}:refs/heads/old", cwd=work)
    ok("push", world.address, f"{one}:refs/heads/side", f"{two}:refs/heads/keep", cwd=work)
    world.idle()
    updates = [
        ("refs/heads/main", one, two),
        ("refs/heads/new", ZERO, two),
        ("refs/heads/old", one, ZERO),
        ("refs/heads/side", one, two),
    ]
    dead = Dead(world, updates)
    assert not dead.verdict.refused
    dead.update_refs(*updates[:3])
    (world.bare_path / "refs/heads/side.lock").write_text("git was killed here")
    assert world.run(world.service.reconcile()) == 0, "it still lives"
    dead.die()
    others = [world.service, world.new_pushes()]

    async def together() -> int:
        return sum([await d for d in [Deferred.fromCoroutine(o.reconcile()) for o in others]])

    assert run(together()) >= 1
    assert len(world.pushed()) == 3, "once, though two daemons found it"
    last = world.pushed()[-1]
    assert last["pushId"] == dead.push.id
    assert [(u["ref"], u["before"], u["after"]) for u in last["updates"]] == [
        ("refs/heads/main", one, two),
        ("refs/heads/new", None, two),
        ("refs/heads/old", one, None),
    ]
    assert world.intents() == 0
    assert world.leftovers(NAME) == []
    assert run(world.service.reconcile()) == 0


def test_a_push_that_changed_nothing_makes_no_event(world: World, work: Path, run: Any) -> None:
    one = ok("rev-parse", "HEAD", cwd=work)
    dead = Dead(world, [("refs/heads/main", ZERO, one)])
    dead.die()
    assert run(world.service.reconcile()) == 1
    assert world.pushed() == [] and world.intents() == 0
    assert push_directory.find(world.root) == []


def test_a_deletion_settles_the_pushes_before_it(world: World, work: Path) -> None:
    """The reflog goes with the branch, so a dead push to it is settled first, a live one waited
    for."""
    one = ok("rev-parse", "HEAD", cwd=work)
    two = commit(work, "two")
    ok("push", world.address, f"{one}:refs/heads/side", f"{two}:refs/heads/keep", cwd=work)
    dead = Dead(world, [("refs/heads/side", one, two)])
    dead.update_refs(("refs/heads/side", one, two))
    client = in_background("push", world.address, ":side", cwd=work)
    eventually(lambda: len(world.pushes) == 2 and world.pushes[1].id in world.service._live)
    assert client.poll() is None
    dead.die()
    _, error = client.communicate(timeout=20)
    assert client.returncode == 0, error
    world.idle()
    updates = [u for payload in world.pushed() for u in payload["updates"]]
    side = [(u["before"], u["after"]) for u in updates if u["ref"] == "refs/heads/side"]
    assert side == [(None, one), (one, two), (two, None)]
    assert world.intents() == 0


def test_a_deletion_of_nothing_is_no_event(world: World, work: Path) -> None:
    one = ok("rev-parse", "HEAD", cwd=work)
    ok("push", world.address, "main", cwd=work)
    world.idle()
    dead = Dead(world, [("refs/heads/none", one, ZERO)])
    assert "does not exist" in dead.verdict.refused[b"refs/heads/none"]
    dead.die()
    world.run(world.service.reconcile())
    assert len(world.pushed()) == 1


def test_drain_waits_for_decided_pushes(world: World, work: Path, run: Any) -> None:
    assert run(world.service.drain(0.01))
    dead = Dead(world, [("refs/heads/main", ZERO, ok("rev-parse", "HEAD", cwd=work))])
    assert not run(world.service.drain(0.01))

    async def finish() -> bool:
        waiting = Deferred.fromCoroutine(world.service.drain(30))
        await dead.push.finished()
        return await waiting

    assert run(finish())
    dead.die()


def test_the_service_reconciles_at_its_start(world: World, work: Path, run: Any) -> None:
    one = ok("rev-parse", "HEAD", cwd=work)
    ok("push", world.address, "main:side", cwd=work)
    world.idle()
    dead = Dead(world, [("refs/heads/main", ZERO, one)])
    dead.update_refs(("refs/heads/main", ZERO, one))
    dead.die()
    service = world.new_pushes()
    run(service.start())
    run(service.stop())
    assert len(world.pushed()) == 2


@pytest.mark.attack(24, 26)
def test_git_killed_at_random_moments(world: World, work: Path, run: Any) -> None:
    """Each push either happened and has one event, or did not happen and has none."""
    dice = random.Random(7)
    expected: list[tuple[str | None, str]] = []
    value: str | None = None
    for number in range(12):
        tip = commit(work, f"number {number}", files=1 + number % 3 * 8)
        client = in_background("push", "--force", world.address, "main", cwd=work)
        time.sleep(dice.uniform(0, 0.06))
        for process in psutil.Process().children(recursive=True):
            try:
                if process.pid != client.pid and "receive-pack" in process.cmdline():
                    process.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                pass
        client.communicate(timeout=30)
        world.idle()
        now = git("rev-parse", "--verify", "-q", "main", cwd=world.bare_path).out or None
        if now != value:
            assert now == tip
            expected.append((value, tip))
            value = tip
    run(world.service.reconcile())
    updates = [u for payload in world.pushed() for u in payload["updates"]]
    assert [(u["before"], u["after"]) for u in updates] == expected
    assert world.intents() == 0
    assert world.leftovers(NAME) == []
    ok("fsck", "--connectivity-only", cwd=world.bare_path)
    commit(work, "at last")
    ok("push", "--force", world.address, "main", cwd=work)


@pytest.mark.attack(24, 26)
def test_the_daemon_killed_at_random_moments(
    world: World, database_url: str, tmp_path: Path, run: Any
) -> None:
    """kill -9 under several pushers: what the refs went through and what the events tell agree."""
    dice = random.Random(11)
    clones = [work_tree(tmp_path / f"clone{number}") for number in range(3)]
    program = [sys.executable, "-m", "tests.repositories.push_daemon"]
    arguments = [database_url, str(world.config.data_dir), world.row["id"]]
    for number in range(KILLS):
        daemon = subprocess.Popen(
            [*program, *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        assert daemon.stdout is not None
        address = daemon.stdout.readline().strip()
        clients = []
        for clone in clones:
            commit(clone, f"{clone.name} {number}", files=dice.choice((1, 20)))
            refs = [f"+HEAD:refs/heads/{clone.name}", "+HEAD:refs/heads/shared"]
            if dice.random() < 0.3:
                refs[0] = f":refs/heads/{clone.name}"
            clients.append(in_background("push", address, *refs, cwd=clone))
        time.sleep(dice.uniform(0.02, 0.25))
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()
        for client in clients:
            client.communicate(timeout=30)
        eventually(lambda: not any(p.alive for p in push_directory.find(world.root)))
        run(world.service.reconcile())
        assert world.leftovers(NAME) == []
    assert world.intents() == 0
    listing = ok("for-each-ref", "--format=%(refname) %(objectname)", cwd=world.bare_path)
    there = dict(line.split() for line in listing.splitlines())
    balance: Counter[tuple[str, str]] = Counter()
    for payload in world.pushed():
        for made in payload["updates"]:
            ref, before, after = made["ref"], made["before"], made["after"]
            balance.update([(ref, after)] if after else [])
            balance.subtract([(ref, before)] if before else [])
    # Whatever a ref became it was moved away from, but for what it is now.
    assert +balance == Counter(there.items()) and not -balance
    ok("fsck", "--connectivity-only", cwd=world.bare_path)


def test_sha256(tmp_path: Path, database: Database, runtime: Runtime, run: Any) -> None:
    world = World(Config(tmp_path / "data"), runtime, database, run)
    run(world.start())
    world.bare(NAME, "sha256")
    run(world.add_repository("sha256"))
    work = work_tree(tmp_path / "work256", "sha256")
    ok("push", world.address, "main", cwd=work)
    run(world.protect("main"))
    first = ok("rev-parse", "HEAD", cwd=work)
    second = commit(work, "two")
    ok("push", world.address, "main", "main:side", cwd=work)
    assert git("push", "-f", world.address, f"{first}:refs/heads/main", cwd=work).code != 0
    ok("push", world.address, ":side", cwd=work)
    world.idle()
    updates = [u for payload in world.pushed() for u in payload["updates"]]
    assert [(u["ref"], u["before"], u["after"]) for u in updates] == [
        ("refs/heads/main", None, first),
        ("refs/heads/main", first, second),
        ("refs/heads/side", None, second),
        ("refs/heads/side", second, None),
    ]
    run(world.stop())
