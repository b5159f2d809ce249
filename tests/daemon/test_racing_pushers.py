"""kill -9 of the daemon under eight racing pushers: what the clients were told, what each ref went
through and what the journal tells must be one and the same history.

More rounds: WIT_TEST_KILLS=200 pytest tests/daemon/test_racing_pushers.py
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.daemon.support import ZERO, Tables, kill_all, leftovers
from tests.support.daemon import Daemon, git, wait_until
from wit.git.reflog import parse_reflog

NAME = "ada/race"
SHARED = ("refs/heads/shared0", "refs/heads/shared1")
PUSHERS = 8
ROUNDS = {"sqlite": 6, "postgresql": 3}
SEED = int(os.environ.get("WIT_TEST_SEED", "0")) or random.randrange(1 << 30)

Update = tuple[str | None, str | None]
"""Before and after; None: no such ref."""


@attrs.frozen
class Claim:
    """What a client was told about one ref."""

    ref: str
    new: str
    """ZERO: deleted."""


class Pusher(threading.Thread):
    """One client with a clone and a branch of its own, which pushes until it is told to stop."""

    def __init__(
        self, number: int, folder: Path, base: Path, url: str, env: dict[str, str]
    ) -> None:
        super().__init__(name=f"pusher{number}", daemon=True)
        self.dice = random.Random(SEED + number)
        self.folder = folder
        self.url = url
        self.env = env
        self.own = f"refs/heads/own{number}"
        self.told_ok: list[Claim] = []
        self.told_no: list[Claim] = []
        self.pushes = 0
        self.error: BaseException | None = None
        self.stop = threading.Event()
        self.count = 0
        git("clone", "-q", "--bare", str(base), str(folder))
        self.base = git("rev-parse", "main", cwd=folder).stdout.strip()
        self.tree = git("rev-parse", "main^{tree}", cwd=folder).stdout.strip()
        self.tips: dict[str, str] = {}

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                self.push()
        except BaseException as error:
            self.error = error

    def commit(self, parent: str) -> str:
        """A commit like no other, so that every value of every ref occurs once."""
        self.count += 1
        message = f"{self.name} {self.count}"
        arguments = ("commit-tree", "-p", parent, "-m", message, self.tree)
        return git(*arguments, cwd=self.folder).stdout.strip()

    def push(self) -> None:
        specs = []
        if self.dice.random() < 0.6:
            ref = self.dice.choice(SHARED)
            specs.append(f"{self.commit(self.tips.get(ref, self.base))}:{ref}")
        if self.dice.random() < 0.6 or not specs:
            kind = self.dice.choice(("forward", "forward", "force", "delete"))
            tip = self.tips.get(self.own)
            if kind == "delete" and tip is not None:
                specs.append(f":{self.own}")
            elif kind == "force" or tip is None:
                specs.append(f"+{self.commit(self.base)}:{self.own}")
            else:
                specs.append(f"{self.commit(tip)}:{self.own}")
        atomic = ["--atomic"] if self.dice.random() < 0.2 else []
        done = self.git("push", "--porcelain", *atomic, self.url, *specs)
        self.pushes += 1
        wanted = {spec.rpartition(":")[2]: spec.partition(":")[0].lstrip("+") for spec in specs}
        certain = True
        for ref, flag, summary in porcelain(done):
            if flag in " +*-":
                self.told_ok.append(Claim(ref, wanted[ref] or ZERO))
                self.tips[ref] = wanted[ref]
                if not wanted[ref]:
                    del self.tips[ref]
            elif "[rejected]" in summary or "[remote rejected]" in summary:
                self.told_no.append(Claim(ref, wanted[ref] or ZERO))
                certain = False
        if not certain or done == "" or "Done" not in done:
            self.look()

    def look(self) -> None:
        """Ask again what the refs are, and get what they point to."""
        fetched = self.git("fetch", "-q", "--prune", self.url, "+refs/heads/*:refs/seen/*")
        if fetched is None:
            return
        lines = self.git("for-each-ref", "--format=%(refname) %(objectname)", "refs/seen")
        tips = dict(line.split() for line in lines.splitlines())
        self.tips = {ref.replace("refs/seen", "refs/heads"): tip for ref, tip in tips.items()}

    def git(self, *arguments: str) -> str:
        return git("-c", "gc.auto=0", *arguments, cwd=self.folder, env=self.env, check=False).stdout


def porcelain(text: str) -> Iterator[tuple[str, str, str]]:
    """Ref, flag and summary of each line of ``git push --porcelain`` (git-push(1), OUTPUT)."""
    for line in text.splitlines():
        parts = line.split("\t")
        if len(parts) == 3 and len(parts[0]) == 1:
            yield parts[1].rpartition(":")[2], parts[0], parts[2]


@pytest.fixture
def daemon(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Daemon]:
    url = ""
    if request.param == "postgresql":
        server = request.getfixturevalue("postgres_server")
        url = server.new_database()
    # A push must not be refused because eight clients of one user are too many.
    limits = {"WIT_GIT_MAX_PER_USER": "16", "WIT_GIT_MAX_PER_REPOSITORY": "16"}
    daemon = Daemon(tmp_path / "data", database_url=url, environment=limits)
    daemon.start()
    yield daemon
    kill_all(daemon)
    if url:
        server.drop_database(url)


@pytest.mark.attack(21, 24, 26)
@pytest.mark.parametrize(
    ("daemon", "engine"),
    [
        pytest.param("sqlite", "sqlite", id="sqlite"),
        pytest.param("postgresql", "postgresql", id="postgresql", marks=pytest.mark.postgres),
    ],
    indirect=["daemon"],
)
@pytest.mark.timeout(0 if "WIT_TEST_KILLS" in os.environ else 300)
def test_racing_pushers(daemon: Daemon, engine: str, tmp_path: Path) -> None:
    print(f"WIT_TEST_SEED={SEED}")
    dice = random.Random(SEED)
    token = daemon.user("ada")
    key = daemon.key("ada", tmp_path)
    daemon.wit("repo", "create", NAME)
    base = tmp_path / "base"
    git("init", "-q", str(base))
    git("commit", "-q", "--allow-empty", "-m", "base", cwd=base)
    doors = (daemon.url(NAME, "ada", token), daemon.ssh_url(NAME))
    git("push", "-q", doors[0], *(f"main:{ref}" for ref in ("main", *SHARED)), cwd=base)
    pushers = [
        Pusher(n, tmp_path / f"clone{n}", base, doors[n % 2], daemon.ssh_environment(key))
        for n in range(PUSHERS)
    ]
    for pusher in pushers:
        pusher.start()
    rounds = int(os.environ.get("WIT_TEST_KILLS", ROUNDS[engine]))
    for _ in range(rounds):
        time.sleep(dice.uniform(0.2, 1.0))
        (daemon.kill if dice.random() < 0.6 else lambda: kill_all(daemon))()
        daemon.start()
    told = sum(len(pusher.told_ok) for pusher in pushers)
    wait_until(
        lambda: sum(len(pusher.told_ok) for pusher in pushers) > told or not any(alive(pushers)),
        what="pushes after the last start",
    )
    for pusher in pushers:
        pusher.stop.set()
    for pusher in pushers:
        pusher.join(60)
        assert not pusher.is_alive()
        assert pusher.error is None, pusher.error
    tables = Tables(daemon)
    wait_until(lambda: not tables.intents(), what="settling")
    tables.end_leases()
    wait_until(lambda: not tables.unprocessed(), 20.0 + 4 * rounds, "delivery of all events")
    wait_until(lambda: not leftovers(daemon, NAME), what=f"tidiness: {leftovers(daemon, NAME)}")
    check_histories(daemon, tables, pushers)
    tables.close()
    git("fsck", "--connectivity-only", cwd=bare(daemon))
    assert daemon.stop() == 0
    assert leftovers(daemon, NAME) == []


def alive(pushers: list[Pusher]) -> list[bool]:
    return [pusher.is_alive() for pusher in pushers]


def bare(daemon: Daemon) -> Path:
    return daemon.data_dir / "repos" / f"{NAME}.git"


def check_histories(daemon: Daemon, tables: Tables, pushers: list[Pusher]) -> None:
    listing = git("for-each-ref", "--format=%(refname) %(objectname)", cwd=bare(daemon)).stdout
    values = dict(line.split() for line in listing.splitlines())
    history: dict[str, list[Update]] = defaultdict(list)
    for ref, before, after in tables.updates():
        history[ref].append((before, after))
    assert set(values) <= set(history)
    for ref, updates in history.items():
        assert updates == in_order(updates), f"{ref}: events out of order"
        assert updates[-1][1] == values.get(ref), f"{ref}: the last event is not its value"
        assert made_according_to_reflog(bare(daemon), ref, values.get(ref)) == since_made(updates)

    was = {(ref, after) for ref, updates in history.items() for _, after in updates}
    deleted = Counter(ref for ref, updates in history.items() for _, after in updates if not after)
    for pusher in pushers:
        for claim in pusher.told_ok:
            assert claim.new == ZERO or (claim.ref, claim.new) in was, f"a false ok: {claim}"
        for claim in pusher.told_no:
            assert claim.new == ZERO or (claim.ref, claim.new) not in was, f"a false no: {claim}"
        told = sum(claim.new == ZERO for claim in pusher.told_ok)
        assert told <= deleted[pusher.own], "a deletion that did not happen"
    assert sum(len(pusher.told_ok) for pusher in pushers) >= PUSHERS
    assert any(len({u[1] for u in history[ref]}) > 1 for ref in SHARED)

    # What the bus made of the pushes: once for each update, though it was killed as well.
    made = [(ref, update) for ref, updates in history.items() for update in updates]
    expected = {
        "branch.created": Counter((r, after) for r, (before, after) in made if not before),
        "branch.deleted": Counter((r, before) for r, (before, after) in made if not after),
        "repo.pushed": Counter((r, after) for r, (_, after) in made if after),
    }
    for kind, wanted in expected.items():
        sha = "afterSha" if kind == "repo.pushed" else "sha"
        assert Counter((p["ref"], p[sha]) for p in tables.events(kind)) == wanted, kind


def in_order(updates: list[Update]) -> list[Update]:
    """The updates as one chain from the making of the ref to its present value.

    Every value occurs once, so there is only one way to chain them, but for the order of the
    lives of a ref that was deleted and made again: those stay as they are.
    """
    follows = {before: (before, after) for before, after in updates if before is not None}
    starts = [update for update in updates if update[0] is None]
    assert len(follows) + len(starts) == len(updates), f"a value was left twice: {updates}"
    chain = []
    for start in starts:
        update: Update | None = start
        while update is not None:
            chain.append(update)
            update = None if update[1] is None else follows.pop(update[1], None)
    assert not follows, f"updates that nothing leads to: {follows}"
    return chain


def since_made(updates: list[Update]) -> list[Update]:
    """The updates of the present life of a ref; none if it is gone."""
    if updates[-1][1] is None:
        return []
    start = max(n for n, (before, _) in enumerate(updates) if before is None)
    return updates[start:]


def made_according_to_reflog(repo: Path, ref: str, value: str | None) -> list[Update]:
    """git writes an entry before it moves the ref, so one that a kill left is not confirmed by the
    next entry, or by the ref."""
    if value is None:
        return []
    entries = parse_reflog((repo / "logs" / ref).read_bytes())
    confirmed: list[Update] = []
    for number, entry in enumerate(entries):
        after = entries[number + 1].old if number + 1 < len(entries) else value
        if entry.new == after:
            confirmed.append((None if entry.old == ZERO else entry.old, entry.new))
    return confirmed
