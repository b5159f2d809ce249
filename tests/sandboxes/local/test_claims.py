"""Folders of control groups: those of dead daemons go, those of the living stay."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.sandboxes.local.cgroup_trees import new_tree
from wit.sandboxes.local import cgroups
from wit.sandboxes.local.claims import claim, remove_dead

PREFIX = "wit-claims-"

HOLD = """
import sys
from pathlib import Path
from wit.sandboxes.local.claims import claim
claim(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["cgroups", "folders"])
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Where groups can be made: of the kernel's, and plain folders for those who may not."""
    if request.param == "folders":
        yield tmp_path
        return
    with new_tree() as tree:
        yield tree


def test_a_daemon_that_was_killed_leaves_its_folder_to_the_next(tree: Path) -> None:
    dead = tree / f"{PREFIX}dead"
    program = [sys.executable, "-c", HOLD, str(dead)]
    daemon = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert daemon.stdin is not None and daemon.stdout is not None
    assert daemon.stdout.readline() == b"held\n"
    (dead / "sandbox").mkdir()
    with pytest.raises(OSError, match="another wit"):
        claim(dead)
    remove_dead(tree, PREFIX)
    assert (dead / "sandbox").is_dir()

    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    daemon.stdin.close()
    daemon.stdout.close()
    remove_dead(tree, PREFIX)
    assert not dead.exists()


def test_one_of_a_dead_daemon_can_be_claimed_again(tree: Path) -> None:
    folder = tree / f"{PREFIX}again"
    os.close(claim(folder))
    lock = claim(folder)
    remove_dead(tree, PREFIX)
    assert folder.is_dir()
    os.close(lock)


def test_what_has_another_name_or_is_busy_stays(tree: Path) -> None:
    other, busy = tree / "other-dead", tree / f"{PREFIX}busy"
    for folder in (other, busy / "sandbox"):
        folder.mkdir(parents=True)
    sleeping = subprocess.Popen(["sleep", "60"])
    try:
        with suppress(FileNotFoundError):
            (busy / "sandbox" / "cgroup.procs").write_text(str(sleeping.pid))
        if not (busy / "sandbox" / "cgroup.procs").exists():
            (busy / "sandbox" / "cgroup.procs").touch()
        remove_dead(tree, PREFIX)
        assert other.is_dir()
        assert (busy / "sandbox").is_dir()
    finally:
        sleeping.kill()
        sleeping.wait()


def test_who_finds_its_groups_removes_those_of_the_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "OURS", PREFIX)
    found = cgroups.find("dead")
    if found.version == 0:
        pytest.skip(found.missing)
    for root in found.roots.values():
        (root / "sandbox").mkdir()
    for lock in found.claims:
        os.close(lock)

    again = cgroups.find("living")
    try:
        assert not [root for root in found.roots.values() if root.exists()]
        assert all(root.is_dir() for root in again.roots.values())
    finally:
        again.remove()
    assert not [root for root in again.roots.values() if root.exists()]
