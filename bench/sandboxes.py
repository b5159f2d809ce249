"""The lines about sandboxes, beside containers of a real engine and beside ``git clone``."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from bench import fixtures, measure
from bench.measure import MIB, Result, alternate, compare, timed
from bench.sandbox_driver import IMAGE, WORDS
from bench.side_by_side import Bench, git_seconds
from bench.wit_daemon import OWNER
from tests.support.engine import RealEngine, shared_engine

FIRST_OUTPUT = 30.0
"""Milliseconds."""
CHECKOUT_SECONDS = 0.030
"""What a checkout may take beyond git clone --shared."""

SEQUENCE, WARM_UP, AT_ONCE = 1000, 50, 200
GROWTH = 4 * MIB
"""Of resident memory, which Python does not give back to the page."""

FILES = 5000
LIMITS = ("--network", "none", "--memory", "2g", "--cpus", "1", "--pids-limit", "256")
"""Of a container, as a sandbox has them."""


def sandboxes(b: Bench) -> Iterator[Result]:
    engine = shared_engine("docker")
    folder = b.fresh()
    folder.mkdir()
    with driving(folder, engine) as driver:
        yield from starts(driver, engine, b.rounds * 4)
        yield from execs(driver, engine, b.rounds * 4)
        yield from growth(driver)
        yield at_once(driver)
        yield from checkouts(b)


class Driver:
    """The process of bench/sandbox_driver.py."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.process = process
        self.folder = folder

    def ask(self, what: str, **values: Any) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what, **values}).encode() + b"\n")
        self.process.stdin.flush()
        return self.answer()

    def answer(self) -> float:
        assert self.process.stdout is not None
        answer = json.loads(self.process.stdout.readline() or b'{"error": "it has ended"}')
        if "error" in answer:
            raise RuntimeError(f"the driver of sandboxes: {answer['error']}")
        return float(answer["ok"])


@contextmanager
def driving(folder: Path, engine: RealEngine) -> Iterator[Driver]:
    program = [sys.executable, "-m", "bench.sandbox_driver", str(folder), engine.host]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        )
    try:
        driver = Driver(process, folder)
        driver.answer()
        yield driver
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(120)


def starts(driver: Driver, engine: RealEngine, rounds: int) -> list[Result]:
    """From nothing to a command's first output."""
    for way in ("manager", "local", "docker"):
        driver.ask("create", way=way)
    with_database = compare(
        "a new sandbox's first output, with the database",
        "docker run, its client's start included",
        *in_milliseconds(
            rounds,
            lambda: driver.ask("create", way="manager"),
            lambda: first_word(engine, "run", "--rm", *LIMITS, IMAGE),
        ),
        at_most=1.0,
        unit="ms",
    )
    alone = compare(
        "a new sandbox's first output, at the provider alone",
        "a container by the engine's API",
        *in_milliseconds(
            rounds,
            lambda: driver.ask("create", way="local"),
            lambda: driver.ask("create", way="docker"),
        ),
        at_most=1.0,
        unit="ms",
    )
    goal = f"≤ {FIRST_OUTPUT:.0f} ms"
    return [
        attrs.evolve(line, goal=goal, met=float(line.ours.split()[0]) <= FIRST_OUTPUT)
        for line in (with_database, alone)
    ]


def execs(driver: Driver, engine: RealEngine, rounds: int) -> list[Result]:
    """A command's first output in what runs already."""
    name = f"wit-bench-{uuid.uuid4().hex[:8]}"
    docker(engine, "run", "--detach", "--name", name, *LIMITS, IMAGE, "sleep", "3600")
    try:
        for way in ("manager", "docker"):
            driver.ask("exec", way=way)
        work = "a command's first output in a sandbox that runs"
        peers = (
            ("docker exec, its client's start included", lambda: first_word(engine, "exec", name)),
            ("the engine's API", lambda: driver.ask("exec", way="docker")),
        )
        return [
            compare(
                work,
                against,
                *in_milliseconds(rounds, lambda: driver.ask("exec", way="manager"), peer),
                at_most=1.0,
                unit="ms",
            )
            for against, peer in peers
        ]
    finally:
        docker(engine, "rm", "--force", name)


def in_milliseconds(
    rounds: int, ours: Callable[[], float], peer: Callable[[], float]
) -> tuple[float, float]:
    mine, theirs = alternate(rounds, ours, peer)
    return mine * 1000, theirs * 1000


def growth(driver: Driver) -> list[Result]:
    """What is left of many sandboxes that were made, used and removed, one after another."""
    driver.ask("sequence", way="manager", count=WARM_UP)
    before = kept(driver)
    seconds = driver.ask("sequence", way="manager", count=SEQUENCE)
    after = kept(driver)
    more = after.memory - before.memory
    left = {
        name: getattr(after, name) - getattr(before, name)
        for name in ("descriptors", "processes", "groups", "mounts")
    }
    work = f"{SEQUENCE} sandboxes one after another, with the database: "
    return [
        Result(
            f"{work}each, in the mean",
            f"{seconds / SEQUENCE * 1000:.3g} ms",
            "–",
            "–",
            None,
            "–",
            True,
        ),
        Result(
            f"{work}more memory of daemon and keeper",
            f"{more / MIB:+.1f} MiB",
            "after the first",
            f"{before.memory / MIB:.0f} MiB",
            None,
            f"≤ +{GROWTH // MIB} MiB",
            more <= GROWTH,
        ),
        Result(
            f"{work}more {', '.join(left)}",
            ", ".join(f"{count:+}" for count in left.values()),
            "–",
            "–",
            None,
            "none",
            all(count <= 0 for count in left.values()),
        ),
    ]


def at_once(driver: Driver) -> Result:
    seconds = driver.ask("at_once", way="manager", count=AT_ONCE)
    return Result(
        f"{AT_ONCE} sandboxes at once: until all have said something",
        f"{seconds:.3g} s",
        "one after another",
        f"{driver.ask('sequence', way='manager', count=AT_ONCE):.3g} s",
        None,
        "all of them",
        True,
    )


@attrs.frozen
class Kept:
    """What the driver and its keepers have now."""

    memory: int
    """Resident bytes."""
    descriptors: int
    processes: int
    groups: int
    """Control groups of its sandboxes."""
    mounts: int
    """Of the host, and loop devices over its disks."""


def kept(driver: Driver) -> Kept:
    pid = driver.process.pid
    members = measure.family([pid])
    instance = (driver.folder / "data" / "sandboxes" / "instance").read_text().strip()[:32]
    names = (f"wit-sandboxes-{instance}-*", f"wit-sandboxes-{driver.folder.name}-*")
    groups = [
        group
        for name in names
        for ours in Path("/sys/fs/cgroup").glob(f"**/{name}")
        for group in ours.iterdir()
        if group.is_dir()
    ]
    loops = [
        file
        for file in Path("/sys/block").glob("loop*/loop/backing_file")
        if file.read_text().startswith(str(driver.folder))
    ]
    return Kept(
        memory=measure.memory([pid]).rss,
        descriptors=sum(member.num_fds() for member in members),
        processes=len(members),
        groups=len(groups),
        mounts=len(Path("/proc/self/mounts").read_text().splitlines()) + len(loops),
    )


def checkouts(b: Bench) -> list[Result]:
    """A sandbox with a repository's files in it, asked for at the daemon's own API."""
    name, source = "files", fixtures.files(FILES)
    b.wit.add(name, source)
    token = b.wit.cli(
        "token", "create", OWNER, "--name", "sandboxes", "--scopes", "repo:read,repo:write,sandbox"
    ).strip()
    api = f"http://127.0.0.1:{b.wit.port}/api/v1"

    def ours() -> float:
        began: list[str] = []
        url = f"{api}/repos/{OWNER}/{name}/sandboxes"
        took = timed(lambda: began.append(ask(url, token, {"ref": "main"})["id"]))
        ask(f"{api}/sandboxes/{began[0]}", token, method="DELETE")
        return took

    def peer() -> float:
        # Left until the end: ext4 is slow to make files where many have just been removed.
        return git_seconds("clone", "--quiet", "--shared", str(source), str(b.fresh()))

    first = ours()
    mine, theirs = alternate(b.rounds * 2, ours, peer)
    work = f"a sandbox with a checkout of {FILES} files, over HTTP"
    goal = f"≤ 1.00 × + {CHECKOUT_SECONDS * 1000:.0f} ms"
    met = mine <= theirs + CHECKOUT_SECONDS
    return [
        attrs.evolve(
            compare(work, "git clone --shared", mine, theirs, at_most=1.0), goal=goal, met=met
        ),
        Result(f"{work}, the first of a commit", f"{first:.3g} s", "–", "–", None, "–", True),
    ]


def ask(url: str, token: str, body: Any = None, method: str | None = None) -> Any:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=120) as answer:
        text = answer.read()
    return json.loads(text) if text else None


def docker(engine: RealEngine, *arguments: str) -> None:
    command = ["docker", "--host", engine.host, *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def first_word(engine: RealEngine, *arguments: str) -> float:
    """Seconds until Docker's own client shows what ``echo`` says in a container."""
    command = ["docker", "--host", engine.host, *arguments, "echo", WORDS]
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0
    ) as client:
        assert client.stdout is not None
        said = client.stdout.read(1)
        took = time.perf_counter() - began
    if not said or client.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {client.returncode}")
    return took
