"""The machine fails the daemon: no descriptors, no disk, no database, another time (attack lines
25 and 70). It says so, refuses cleanly, and goes on when the machine does."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from tests.conftest import Run
from tests.daemon.support import Tables, kill_all, leftovers
from tests.support.daemon import Daemon, commit, git, wait_until
from tests.support.postgres import PostgresServer
from wit.core import Core
from wit.daemon import Daemon as Served
from wit.runtime import Runtime, utc_now
from wit.server import ServerOptions

NAME = "ada/faults"
MIB = 1024 * 1024


class Watch:
    """Connections opened in good times, to ask how the daemon is in bad ones."""

    def __init__(self, daemon: Daemon) -> None:
        self._http = HTTPConnection("127.0.0.1", daemon.http_port, timeout=30)
        self._metrics = HTTPConnection("127.0.0.1", daemon.metrics_port, timeout=30)
        self.ready()
        self.degraded("fd")

    def get(self, path: str) -> tuple[int, bytes]:
        return self._get(self._http, path)

    def ready(self) -> set[str]:
        """The reasons why it is not; none if it is."""
        status, body = self.get("/readyz")
        problems = json.loads(body)["problems"]
        assert status == (503 if problems else 200)
        return set(problems)

    def degraded(self, reason: str) -> bool:
        """What the metric says."""
        text = self._get(self._metrics, "/metrics")[1].decode()
        return f'wit_degraded{{reason="{reason}"}} 1.0' in text

    @staticmethod
    def _get(connection: HTTPConnection, path: str) -> tuple[int, bytes]:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


class World:
    """A daemon with one public repository and a clone of it to push from."""

    def __init__(self, data: Path, work: Path, database_url: str = "") -> None:
        self.daemon = Daemon(data, database_url=database_url).start()
        self.token = self.daemon.user("ada")
        self.daemon.wit("repo", "create", NAME)
        self.bare = data / "repos" / f"{NAME}.git"
        self.work = work
        git("init", "-q", str(work))
        commit(work)
        assert self.push().returncode == 0

    def push(self) -> subprocess.CompletedProcess[str]:
        url = self.daemon.url(NAME, "ada", self.token)
        return git("push", "-q", url, "HEAD:refs/heads/main", cwd=self.work, check=False)

    def clone(self, to: Path) -> subprocess.CompletedProcess[str]:
        return git("clone", "-q", "--bare", self.daemon.url(NAME), str(to), check=False)

    @property
    def pid(self) -> int:
        assert self.daemon.process is not None
        return self.daemon.process.pid

    def served(self) -> str:
        return git("rev-parse", "main", cwd=self.bare).stdout.strip()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path / "data", tmp_path / "work")
    yield world
    kill_all(world.daemon)


@pytest.mark.attack(70)
def test_no_file_descriptors(world: World, tmp_path: Path) -> None:
    watch = Watch(world.daemon)
    used = len(os.listdir(f"/proc/{world.pid}/fd"))
    resource.prlimit(world.pid, resource.RLIMIT_NOFILE, (used + 100, used + 100))
    assert watch.ready() == set()
    address = ("127.0.0.1", world.daemon.http_port)
    crowd = [socket.create_connection(address, 20) for _ in range(150)]

    wait_until(lambda: watch.ready() == {"fd"}, what="degraded readiness")
    assert watch.degraded("fd")
    assert watch.get("/livez")[0] == 200
    assert world.clone(tmp_path / "none").returncode != 0
    assert len(os.listdir(f"/proc/{world.pid}/fd")) <= used + 100

    for connection in crowd:
        connection.close()
    wait_until(lambda: watch.ready() == set(), what="readiness")
    assert not watch.degraded("fd")
    assert world.clone(tmp_path / "clone").returncode == 0, "the accept loop is alive"
    tip = commit(world.work)
    assert world.push().returncode == 0
    assert world.served() == tip
    assert world.daemon.stop() == 0


class Disk:
    """A small disk at ``path``. Where nothing can be mounted, files are limited instead."""

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path = path
        self._size = megabytes * MIB
        path.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(path)]
        self.mounted = subprocess.run(mount, capture_output=True).returncode == 0
        self._ballast = path / "ballast"

    def fill(self, pid: int) -> None:
        """To the last byte."""
        if not self.mounted:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            return
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while file.write(bytes(MIB)):
                pass
        with suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while file.write(bytes(512)):
                pass

    def free(self, pid: int) -> None:
        if self.mounted:
            self._ballast.unlink()
        else:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, unlimited)

    def remove(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "data", 160)
    yield disk
    disk.remove()


@pytest.mark.attack(25, 70)
def test_a_full_disk(disk: Disk, tmp_path: Path) -> None:
    """Database, repositories and caches, all on it."""
    world = World(disk.path, tmp_path / "work")
    try:
        watch = Watch(world.daemon)
        assert watch.ready() == set()
        before = world.served()
        disk.fill(world.pid)
        (world.work / "large").write_bytes(os.urandom(3 * MIB))
        large = commit(world.work)
        refused = world.push()
        assert refused.returncode != 0
        assert refused.stderr.strip() and "internal error" not in refused.stderr, refused.stderr
        git("reset", "-q", "--hard", before, cwd=world.work)
        tiny = commit(world.work, text="tiny")
        refused = world.push()
        assert refused.returncode != 0 and "internal error" not in refused.stderr, refused.stderr
        if disk.mounted:
            assert watch.ready() >= {"disk"}
            assert watch.degraded("disk")
        assert watch.get("/livez")[0] == 200
        assert world.served() == before
        git("fsck", "--connectivity-only", cwd=world.bare)

        disk.free(world.pid)
        wait_until(lambda: watch.ready() == set(), what="readiness")
        assert not watch.degraded("disk")
        pushed = world.push()
        assert pushed.returncode == 0, pushed.stderr
        assert world.served() == tiny
        git("push", "-q", "-f", world.daemon.url(NAME, "ada", world.token), f"{large}:main",
            cwd=world.work)  # fmt: skip
        assert world.clone(tmp_path / "clone").returncode == 0
        git("fsck", "--full", cwd=world.bare)
        tables = Tables(world.daemon)
        wait_until(lambda: not tables.intents() and not leftovers(world.daemon, NAME))
        assert [after for _, _, after in tables.updates()] == [before, tiny, large]
        tables.close()
        assert world.daemon.stop() == 0
    finally:
        kill_all(world.daemon)


@pytest.mark.attack(25, 70)
@pytest.mark.postgres
def test_the_database_is_lost_and_comes_back(tmp_path: Path) -> None:
    server = PostgresServer()
    server.start()
    world = None
    try:
        world = World(tmp_path / "data", tmp_path / "work", server.new_database(migrated=False))
        watch = Watch(world.daemon)
        assert watch.ready() == set()
        before = world.served()
        tip = commit(world.work)
        server.stop()
        assert watch.ready() == {"database"}
        assert watch.degraded("database")
        assert json.loads(watch.get("/health")[1])["status"] == "degraded"
        for failed in (world.push(), world.clone(tmp_path / "none")):
            assert failed.returncode != 0
            assert "503" in failed.stderr, failed.stderr
        assert world.served() == before
        server.start()
        wait_until(lambda: watch.ready() == set(), what="readiness")
        pushed = world.push()
        assert pushed.returncode == 0, pushed.stderr
        assert world.served() == tip
        tables = Tables(world.daemon)
        # What was being delivered when the database went is free again when its lease is over.
        wait_until(lambda: not tables.intents() and not tables.unprocessed(), 75, what="delivery")
        assert [after for _, _, after in tables.updates()] == [before, tip]
        tables.close()
        assert world.daemon.stop() == 0
    finally:
        if world is not None:
            kill_all(world.daemon)
        server.remove()


@pytest.mark.attack(70)
def test_the_clock_jumps(tmp_path: Path, run: Run) -> None:
    """A year ahead, and back: what is open stays open, and pushes and their events go on."""
    offset = timedelta()
    options = ServerOptions(port=0, repos_dir=str(tmp_path / "repos"), host="127.0.0.1")
    core = Core(options.config(), Runtime(reactor, now=lambda: utc_now() + offset))
    served = Served(core)
    run(start(served))
    try:
        run(core.users.create("ada", "ada@example.org", "correct horse battery"))
        port = int(served.http.addresses[0].rpartition(":")[2])
        url = f"http://ada:correct%20horse%20battery@127.0.0.1:{port}/ada/clock"
        connection = HTTPConnection("127.0.0.1", port, timeout=30)
        work = tmp_path / "work"
        git("init", "-q", str(work))
        tips = []
        for days in (0, 365, -365, 0):
            offset = timedelta(days=days)
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (200, True)
            tips.append(commit(work))
            git("push", "-q", url, "HEAD:refs/heads/main", cwd=work)
        socket_used = connection.sock
        connection.request("GET", "/livez")
        assert connection.getresponse().read() == b"ok\n"
        assert connection.sock is socket_used is not None

        def pushed() -> list[Any]:
            entries = run(core.journal.list(limit=1000))
            return [e.payload["updates"][0]["after"] for e in entries if e.type == "push"]

        wait_until(lambda: pushed() == tips, what="the events")
    finally:
        run(stop(served))


async def start(served: Served) -> None:
    served.tree.startService()
    await served.tree.started


async def stop(served: Served) -> None:
    await served.tree.stopService()
