"""Programs in a sandbox that take all they can get: they get what the sandbox may, and no more."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import attrs
import psutil
import pytest

from tests.conftest import Run
from tests.sandboxes.local.fixtures import SMALL, NewBox
from tests.sandboxes.support import Box
from wit.sandboxes.local.provider import LocalProvider
from wit.sandboxes.provider import Command, SandboxSpec

pytestmark = pytest.mark.attack(60)


@pytest.fixture(autouse=True)
def still_well(new_box: NewBox, run: Run) -> Iterator[None]:
    """After every attack: nothing is left of it, and another sandbox works."""
    yield
    assert run(new_box().sh("echo works")) == "works\n"


def test_fork_bomb(new_box: NewBox, run: Run) -> None:
    box = new_box()
    before = len(psutil.pids())
    program = "f() { f | f & }; f; sleep 1000"

    async def bomb() -> tuple[int, int | None, int]:
        execution = await box.provider.execute(box.ref, Command(["/bin/bash", "-c", program]))
        most = 0
        for _ in range(50):
            now = await box.provider.usage(box.ref)
            most = max(most, now.processes or 0)
        host = len(psutil.pids())
        await execution.close()
        return host, most, (await box.provider.usage(box.ref)).processes or 0

    host, most, left = run(bomb())
    assert host - before < 150 and most is not None and most <= SMALL.processes + 8
    assert left == 0
    assert run(box.sh("echo works")) == "works\n"


def test_memory_bomb(new_box: NewBox, run: Run) -> None:
    box = new_box()
    ran = run(box.run(["python3", "-c", "x = []\nwhile True: x.append(bytearray(1 << 20))"]))
    assert ran.code != 0
    if "memory" in box.provider.features.limited:
        assert (ran.code, ran.exit.signal, ran.exit.reason) == (137, "KILL", "memory")
        usage = run(box.provider.usage(box.ref))
        assert usage.out_of_memory >= 1 and usage.memory_bytes < SMALL.memory_bytes
    assert run(box.sh("echo works")) == "works\n"


@pytest.mark.parametrize("place", ["/dev/shm", "/tmp", "/workspace", "/home/user"])
def test_disk_fill(new_box: NewBox, run: Run, place: str) -> None:
    box = new_box()
    script = f"cd {place}; n=0; while head -c 8000000 /dev/zero >$n.bomb; do n=$((n + 1)); done; du -sm ."
    ran = run(box.run(["/bin/sh", "-c", script], seconds=20))
    if "disk" in box.provider.features.limited or place == "/dev/shm":
        assert ran.exit.reason != "timeout"
        limit = 70 if place == "/dev/shm" else 33
        assert int(ran.text.split()[0]) <= limit
        assert run(box.provider.usage(box.ref)).disk_bytes <= SMALL.disk_bytes
    else:
        assert ran.exit.reason == "disk"


def test_one_huge_sparse_file(new_box: NewBox, run: Run) -> None:
    box = new_box()
    ran = run(box.run(["truncate", "-s", "100G", "huge"]))
    assert ran.code != 0


def test_inode_bomb(new_box: NewBox, run: Run) -> None:
    box = new_box()
    program = (
        "import os\nn = 0\n"
        "try:\n    while n < 200000:\n        open(f'{n}', 'w').close(); n += 1\n"
        "except OSError as error:\n    print(error.errno, n)"
    )
    ran = run(box.run(["python3", "-c", program], seconds=40))
    if "disk" in box.provider.features.limited:
        number, count = map(int, ran.text.split())
        assert number == 28 and count <= SMALL.disk_bytes // 8192
    else:
        assert ran.exit.reason == "disk"


def test_deep_folders_can_be_removed(new_box: NewBox, run: Run) -> None:
    program = "import os\nfor _ in range(3000):\n    os.mkdir('d'); os.chdir('d')"
    box = new_box()
    run(box.run(["python3", "-c", program]))
    run(box.provider.remove_file(box.ref, "d"))
    assert run(box.provider.list_files(box.ref, ".")) == []


def test_cpu_spin(new_box: NewBox, run: Run) -> None:
    box = new_box(limits=attrs.evolve(SMALL, cpus=0.2))
    if "cpu" not in box.provider.features.limited:
        pytest.skip("CPU time is not limited for this user on this machine")

    async def spin() -> tuple[float, float]:
        begin = os.times().elapsed
        spin = "for n in 1 2 3 4; do while :; do :; done & done; wait"
        await box.run(["/bin/sh", "-c", spin], seconds=2.0)
        used = (await box.provider.usage(box.ref)).cpu_seconds
        assert used is not None
        return used, os.times().elapsed - begin

    used, elapsed = run(spin())
    assert used <= 0.2 * elapsed + 0.3


def test_open_files(new_box: NewBox, run: Run) -> None:
    program = (
        "import os\nn = 0\n"
        "try:\n    while True: os.dup(0); n += 1\n"
        "except OSError as error: print(error.errno, n)"
    )
    number, count = map(int, run(new_box().run(["python3", "-c", program])).text.split())
    assert number == 24 and count < 5000


def test_many_are_made_and_nothing_is_left(local: LocalProvider, run: Run) -> None:
    def held() -> tuple[int, int, int]:
        mounts = Path("/proc/mounts").read_text().count("/dev/loop")
        return len(os.listdir("/proc/self/fd")), mounts, len(psutil.Process().children(True))

    async def one() -> None:
        ref = await local.create(SandboxSpec(uuid.uuid4().hex, SMALL))
        await Box(local, ref, "").sh("sleep 1000 & echo x")
        await local.destroy(ref)

    async def several(count: int) -> None:
        for _ in range(count):
            await one()

    run(several(3))
    before = held()
    run(several(15))
    assert held() == before
