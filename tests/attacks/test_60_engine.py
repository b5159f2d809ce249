"""Bombs in a container: each is bounded, and the sandbox or its neighbour goes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Run
from tests.sandboxes.docker.plug import boxed
from tests.sandboxes.support import Box, finish
from wit.errors import TooLarge
from wit.sandboxes.provider import Exit, Limits

pytestmark = pytest.mark.attack(60)

MIB = 1024 * 1024
LIMITS = Limits(memory_bytes=128 * MIB, cpus=0.5, processes=64, disk_bytes=16 * MIB)


@pytest.fixture(scope="module")
def box(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    """With its files in memory, where the engine can limit them on any machine."""
    settings = {"workspace": "memory"}
    with boxed(run, tmp_path_factory.mktemp("engine"), LIMITS, settings) as box:
        yield box


@pytest.fixture(scope="module")
def on_disk(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with boxed(run, tmp_path_factory.mktemp("engine"), LIMITS) as box:
        yield box


@pytest.mark.parametrize(
    "script",
    [
        ":() { : | : & }; :; sleep 1000",
        "while :; do sleep 1000 & done",
        "while :; do setsid sh -c 'while :; do sleep 1000 & done' & done",
    ],
    ids=["doubling", "sleepers", "in sessions of their own"],
)
def test_fork_bombs(on_disk: Box, run: Run, script: str) -> None:
    """It cannot be outrun for ever: at the latest everything in the sandbox is stopped."""

    async def explode() -> None:
        ran = await finish(await on_disk.start("/bin/bash", "-c", script, seconds=1.0))
        assert ran.code != 0
        assert await on_disk.sh("echo works") == "works\n"
        assert int(await on_disk.sh("ls -d /proc/[0-9]* | wc -l")) < 16

    run(explode())


def test_a_memory_bomb(box: Box, run: Run) -> None:
    assert run(box.run(["tail", "/dev/zero"])).exit == Exit(137, "KILL", "memory")
    assert run(box.sh("echo works")) == "works\n"


def test_a_huge_file(box: Box, run: Run) -> None:
    ran = run(box.run(["/bin/sh", "-c", "head -c 100G /dev/zero >huge"]))
    assert ran.code != 0 and b"No space" in ran.stderr
    with pytest.raises(TooLarge):
        run(box.provider.write_file(box.ref, "more", b"x" * MIB))
    run(box.provider.remove_file(box.ref, "huge"))
    run(box.provider.write_file(box.ref, "more", b"x" * MIB))
    ran = run(box.run(["/bin/sh", "-c", "head -c 100G /dev/zero >/tmp/huge"]))
    assert ran.code != 0
    run(box.sh("rm -f /tmp/huge more"))


def test_a_huge_file_on_disk(on_disk: Box, run: Run) -> None:
    """Without quotas at least no single file grows beyond the limit."""
    assert run(on_disk.run(["/bin/sh", "-c", "head -c 1G /dev/zero >huge"])).code != 0
    assert run(on_disk.sh("stat -c %s huge; rm huge")) == f"{16 * MIB}\n"


def test_an_inode_bomb(box: Box, run: Run) -> None:
    ran = run(box.run(["/bin/sh", "-c", "mkdir many; cd many; seq 1 20000 | xargs touch"]))
    assert ran.code != 0 and b"No space" in ran.stderr
    assert int(run(box.sh("ls many | wc -l; rm -r many"))) < 5000


def test_a_spinning_one_has_its_share(box: Box, run: Run) -> None:
    async def spin() -> tuple[float, float]:
        spinning = [await box.start("/bin/sh", "-c", "while :; do :; done") for _ in range(4)]
        before = await _cpu(box)
        await (await box.start("sleep", "1")).wait()
        after = await _cpu(box)
        for one in spinning:
            await one.close()
        return before, after

    before, after = run(spin())
    limit = run(box.sh("cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>&-; :"))
    assert limit.split()[0] == "50000", "microseconds in each 100000"
    assert after > before


async def _cpu(box: Box) -> float:
    used = (await box.provider.usage(box.ref)).cpu_seconds
    assert used is not None
    return used
