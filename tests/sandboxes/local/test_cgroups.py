"""Version 2 of control groups: with the kernel's own where it gives us some.

Where memory, pids and cpu belong to trees of version 1, as in CI, ``hugetlb`` stands for them: that
controllers are handed on, and that what is in a group is found, frozen and killed, is real then; that
the limits hold is not.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandboxes.local.cgroup_trees import new_tree
from tests.support.daemon import wait_until
from wit.sandboxes.local import cgroups
from wit.sandboxes.local.cgroups import DAEMON, Cgroups, Group
from wit.sandboxes.provider import Limits

LIMITS = Limits(memory_bytes=1 << 26, cpus=0.5, processes=50, disk_bytes=1 << 26)
FILES = ("memory.max", "memory.swap.max", "pids.max", "cpu.max")


@pytest.fixture
def unit(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A group such as systemd hands to a service with ``Delegate=yes``."""
    with new_tree() as tree:
        offered = (tree.parent / "cgroup.controllers").read_text().split()
        if not set(cgroups.CONTROLLERS) <= set(offered):
            if "hugetlb" not in offered:
                pytest.skip("the tree of version 2 has no controllers here")
            monkeypatch.setattr(cgroups, "CONTROLLERS", ("hugetlb",))
        try:
            cgroups._hand_on(tree.parent)
        except OSError as error:
            pytest.skip(f"the tree of version 2 hands nothing on here: {error}")
        cgroups._hand_on(tree)
        unit = tree / "wit.service"
        unit.mkdir()
        yield unit


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    sleeper = subprocess.Popen(["sleep", "60"])
    yield sleeper
    sleeper.kill()
    sleeper.wait()


def join(group: Path, process: subprocess.Popen[bytes]) -> None:
    (group / "cgroup.procs").write_text(str(process.pid))


def test_a_service_goes_one_down_to_hand_its_controllers_on(
    unit: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    join(unit, sleeper)
    ours = cgroups._open_tree(unit, "wit-sandboxes-test")
    assert ours == unit / "wit-sandboxes-test"
    assert cgroups._pids(unit) == []
    assert cgroups._pids(unit / DAEMON) == [sleeper.pid]
    assert set(cgroups.CONTROLLERS) <= set((unit / "cgroup.subtree_control").read_text().split())

    found = cgroups._claimed(2, {"": ours})
    assert set(cgroups.CONTROLLERS) <= set((ours / "cgroup.subtree_control").read_text().split())
    found.remove()
    assert not ours.exists()


def test_a_service_without_delegation_is_told_what_is_lacking(unit: Path) -> None:
    (unit / "cgroup.subtree_control").write_text("")
    inner = unit / "inner"
    inner.mkdir()
    with pytest.raises(FileNotFoundError, match="no controller"):
        cgroups._open_tree(inner, "wit-sandboxes-test")


def test_what_is_in_a_group_is_frozen_and_killed(
    unit: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    folder = unit / "sandbox"
    folder.mkdir()
    group = Group({"": folder})
    join(folder, sleeper)
    group.freeze(True)
    wait_until(lambda: "frozen 1" in (folder / "cgroup.events").read_text(), what="frozen")
    assert group.cpu_seconds() is not None
    group.remove()
    assert sleeper.wait(10) == -9
    assert not folder.exists()


def test_limits_as_the_kernel_wants_them(tmp_path: Path) -> None:
    folder = tmp_path / "sandbox"
    folder.mkdir()
    for name in FILES:
        (folder / name).touch()
    Cgroups(2, {"": tmp_path}).make("sandbox", LIMITS)
    values = {name: (folder / name).read_text() for name in FILES}
    assert values == {
        "memory.max": str(1 << 26),
        "memory.swap.max": "0",
        "pids.max": str(50 + cgroups.MORE_PROCESSES),
        "cpu.max": "50000 100000",
    }
