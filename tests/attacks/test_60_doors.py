"""Programs that take all they can get, started by each of the daemon's doors: the daemon answers,
another sandbox works, and nothing is left when the sandbox is gone."""

from __future__ import annotations

import io
import subprocess
import tarfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial

import pytest

from tests.support.daemon import wait_until
from tests.support.doors import DOORS, HOSTS, SECONDS, Inside, new_inside, processes_with
from tests.support.sandboxes import Boxes

pytestmark = pytest.mark.attack(60)

MIB = 1024 * 1024
SMALL = {"memoryBytes": 128 * MIB, "cpus": 0.5, "processes": 64, "diskBytes": 32 * MIB}


@pytest.fixture(scope="module", params=HOSTS)
def boxes(request: pytest.FixtureRequest, hosts: Callable[[str], Boxes]) -> Boxes:
    return hosts(request.param)


@pytest.fixture(scope="module")
def bystander(boxes: Boxes) -> Iterator[Inside]:
    """Somebody else's sandbox, as good as."""
    with new_inside(boxes) as inside:
        yield inside


@pytest.fixture
def victim(boxes: Boxes, bystander: Inside) -> Iterator[Inside]:
    """A small sandbox; when it is gone, so is all that ran in it, and the other one works."""
    with new_inside(boxes, **SMALL) as inside:
        yield inside
    assert bystander.run("rest", "echo", "works") == "works\n"


def limited(boxes: Boxes, what: str) -> bool:
    """Whether this engine has a limit on it, for this user on this machine."""
    providers = boxes.ask("GET", "sandboxes/providers")[1]
    (features,) = [
        one["features"]
        for one in providers
        if one["name"] == boxes.site.daemon.environment["WIT_SANDBOXES_PROVIDER"]
    ]
    return what in features["limited"]


@pytest.fixture
def start(victim: Inside) -> Iterator[Callable[..., None]]:
    """``start(door, *argv)``: have a program run, and go on."""
    with ExitStack() as stack:

        def start(door: str, *argv: str) -> None:
            if door == "ssh":
                # From its input, so that no marker is in the client's own command line.
                child = subprocess.Popen(
                    victim.ssh(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )  # fmt: skip
                stack.callback(child.wait)
                stack.callback(child.kill)
                assert child.stdin is not None
                child.stdin.write(f"exec {' '.join(argv)}\n".encode())
                child.stdin.close()
            elif door == "terminal":
                client = stack.enter_context(victim.terminal())
                client.type(f"{' '.join(argv)}\r".encode())
            else:
                # It ends with the sandbox.
                ask = partial(victim.boxes.ask, "POST", f"sandboxes/{victim.id}/exec")
                thread = threading.Thread(target=ask, args=({"argv": argv},))
                thread.start()
                stack.callback(thread.join)
                stack.callback(victim.boxes.ask, "DELETE", f"sandboxes/{victim.id}")

        yield start


@pytest.mark.parametrize("door", DOORS)
def test_fork_bombs(
    victim: Inside, bystander: Inside, start: Callable[..., None], door: str
) -> None:
    marker = f"bomb-{uuid.uuid4().hex}"
    victim.put("bomb", b"for n in 1 2; do sh ./bomb $1 & done; wait; sleep 1000\n")
    start(door, "sh", "./bomb", marker)
    wait_until(lambda: len(processes_with(marker)) > 20, what="the bomb")
    assert bystander.run("ssh", "echo", "works") == "works\n"
    assert len(processes_with(marker)) <= SMALL["processes"] + 8
    status, _, _ = victim.boxes.site.daemon.get("readyz")
    assert status == 200
    with new_inside(victim.boxes) as another:
        assert another.run("terminal", "printf", "%s-%s", "still", "works").count("still-works")
    victim.boxes.ask("DELETE", f"sandboxes/{victim.id}")
    wait_until(lambda: not processes_with(marker), what="the end of all of it")


def test_memory_bombs(victim: Inside) -> None:
    """The program is ended, the sandbox and who looks at it are not."""
    program = "x = []\nwhile True: x.append(bytearray(1 << 20))"
    if not limited(victim.boxes, "memory"):
        pytest.skip("an ordinary user without control groups of its own has no limit of memory")
    for door in DOORS:
        victim.run(door, "python3", "-c", program)
        assert "still-works" in victim.run(door, "printf", "%s-%s", "still", "works")
    done = victim.exec("python3", "-c", program)
    assert (done["code"], done["reason"]) == (137, "memory")
    status, usage = victim.boxes.ask("GET", f"sandboxes/{victim.id}/usage")
    assert status == 200 and usage["memoryBytes"] <= SMALL["memoryBytes"]


def test_a_hundred_gigabytes(victim: Inside) -> None:
    """There is no more room, or what runs is ended: where a folder is looked at every second."""
    has_limit = limited(victim.boxes, "disk")
    place = f"sandboxes/{victim.id}/files"
    for door in DOORS if has_limit else DOORS[:1]:
        said = victim.run(door, "sh", "-c", "head -c 100G /dev/zero >huge; echo ended-$?")
        assert "ended-0" not in said and ("ended-" in said or not has_limit)
        _, files = victim.boxes.ask("GET", f"{place}/list")
        (size,) = [one["size"] for one in files if one["name"] == "huge"]
        assert size <= SMALL["diskBytes"]
        assert victim.boxes.ask("DELETE", f"{place}?path=huge")[0] == 200
        assert victim.put("small", b"there is room again") == 200
        victim.run(door, "truncate", "-s", "100G", "sparse")  # takes no room, where it may be made
        assert victim.put("small", b"there is room still") == 200


def test_uploads_beyond_the_disk(victim: Inside) -> None:
    """A file and an archive, one that says how large it is and one that lies."""
    for number in range(4):
        victim.put(f"file-{number}", b"x" * 15 * MIB)
    assert victim.put("last", b"x" * 15 * MIB) in (400, 413, 422)
    victim.run("rest", "sh", "-c", "rm -f file-* last")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for number in range(3):
            info = tarfile.TarInfo(f"member-{number}")
            info.size = 15 * MIB
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    status = victim.upload(archive.getvalue())
    if not limited(victim.boxes, "disk"):  # the folder is looked at every second, and before a file
        status = victim.put("last", b"x")
    assert status in (400, 413, 422)
    victim.run("rest", "sh", "-c", "rm -f member-*")
    lying = tarfile.TarInfo("lying")
    lying.size = 100 * 1024**3
    assert 400 <= victim.upload(lying.tobuf() + b"x" * 4096) < 500
    victim.run("rest", "rm", "-f", "lying")
    assert victim.put("small", b"there is room again") == 200


def test_inode_bombs(victim: Inside) -> None:
    """There are no more, or what runs is ended: where a folder is looked at every second."""
    program = (
        "import os\nn = 0\nos.mkdir('many'); os.chdir('many')\n"
        "try:\n    while n < 200000: open(f'{n}', 'w').close(); n += 1\n"
        "except OSError as error: print('error-' + str(error.errno))\n"
        "else: print('all-' + 'of them')"
    )
    has_limit = limited(victim.boxes, "disk")
    for door in DOORS if has_limit else DOORS[:1]:
        said = victim.run(door, "python3", "-c", program)
        assert "error-28" in said if has_limit else "all-of them" not in said
        place = f"sandboxes/{victim.id}/files"
        status, files = victim.boxes.ask("GET", f"{place}/list?path=many&limit=5")
        assert status == 200 and len(files) == 5
        assert victim.boxes.ask("DELETE", f"{place}?path=many")[0] == 200
        assert victim.put("small", b"there is room again") == 200


def test_spinning(victim: Inside, bystander: Inside, start: Callable[..., None]) -> None:
    """By all doors at once; others are answered, and its time is bounded where it can be."""
    marker = f"spin-{uuid.uuid4().hex}"
    victim.put("spin", b"while :; do :; done\n")
    for door in DOORS * 2:
        start(door, "sh", "./spin", marker)
    wait_until(lambda: len(processes_with(marker)) >= 6, what="the spinning")
    for door in DOORS:
        said = bystander.run(door, "printf", "%s-%s", "still", "works")
        assert "still-works" in said
        assert victim.run(door, "printf", "%s-%s", "also", "here").count("also-here")
    victim.boxes.ask("DELETE", f"sandboxes/{victim.id}")
    wait_until(lambda: not processes_with(marker), SECONDS, "the end of all of it")
