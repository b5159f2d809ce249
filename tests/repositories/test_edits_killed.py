"""kill -9 while files and branches are changed through the API: as with pushes, nothing is lost."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from tests.git.pushing import eventually, ok
from wit import config_sources
from wit.core import Core
from wit.db.tables import pushes
from wit.git import push_directory
from wit.git.names import RepoName
from wit.runtime import Runtime

KILLS = int(os.environ.get("WIT_TEST_KILLS", "4"))
ROOT = Path(__file__).parents[2]
INTENTS = select(func.count()).select_from(pushes)


async def prepare(core: Core) -> tuple[str, list[str]]:
    await core.open()
    people = []
    for name in ("alice", "bob"):
        row = await core.users.create(name, f"{name}@example.org")
        people.append(f"{row['id']}:{name}")
    repo = await core.repos.create(RepoName("alice", "x"))
    return repo["id"], people


@pytest.mark.attack(24, 26)
def test_killed_at_random_moments(
    database_url: str, runtime: Runtime, run: Any, tmp_path: Path
) -> None:
    """What the refs went through and what the events tell agree, and git finds nothing wrong."""
    dice = random.Random(5)
    environment = {"DATABASE_URL": database_url}
    config = config_sources.load(tmp_path, {}, environment, write_default=False)
    core = Core(config, runtime)
    repo_id, people = run(prepare(core))
    disk = core.repos.folders.path("/repos/alice/x.git")
    program = [sys.executable, "-m", "tests.repositories.editor"]
    for _ in range(KILLS):
        editor = subprocess.Popen(
            [*program, database_url, str(tmp_path), repo_id, *people],
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert editor.stdout is not None
        assert editor.stdout.readline() == "editing\n"
        time.sleep(dice.uniform(0.2, 0.8))
        editor.kill()
        editor.wait()
        editor.stdout.close()
        eventually(lambda: not any(p.alive for p in push_directory.find(config.repos_dir)))
        run(core.pushes.reconcile())
        assert push_directory.find(config.repos_dir) == []
        assert push_directory.leftovers(str(disk)) == []
    assert run(core.db.fetch_value(INTENTS)) == 0
    listing = ok("for-each-ref", "--format=%(refname) %(objectname)", cwd=disk)
    there = dict(line.split() for line in listing.splitlines())
    balance: Counter[tuple[str, str]] = Counter()
    events = [event for event in run(core.journal.list(limit=1000)) if event.type == "push"]
    for made in (made for event in events for made in event.payload["updates"]):
        ref, before, after = made["ref"], made["before"], made["after"]
        balance.update([(ref, after)] if after else [])
        balance.subtract([(ref, before)] if before else [])
    assert len(events) > KILLS
    # Whatever a ref became it was moved away from, but for what it is now.
    assert +balance == Counter(there.items()) and not -balance
    ok("fsck", "--strict", "--no-dangling", cwd=disk)
    run(core.close())
