"""kill -9 of git and of the daemon, at random moments."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.git.pushing import commit, eventually, git, in_background, ok, work_tree
from tests.repositories.pushes.world import NAME, PushWorld
from wit.git import push_directory

KILLS = int(os.environ.get("WIT_TEST_KILLS", "6"))
ROOT = Path(__file__).parents[3]


@pytest.mark.attack(24, 26)
def test_git_killed_at_random_moments(world: PushWorld, work: Path, run: Any) -> None:
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
    world: PushWorld, database_url: str, tmp_path: Path, run: Any
) -> None:
    """kill -9 under several pushers: what the refs went through and what the events tell agree."""
    dice = random.Random(11)
    clones = [work_tree(tmp_path / f"clone{number}") for number in range(3)]
    program = [sys.executable, "-m", "tests.repositories.pushes.daemon"]
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
