"""Stopping: what runs may finish, nothing new begins, and in the end it ends (attack line 69)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.daemon.clients import HeldGit, RawClone
from tests.daemon.support import kill_all, leftovers
from tests.support.daemon import Daemon, git, wait_until

NAME = "ada/big"
REAL = [(kind, what) for kind in ("http", "ssh") for what in ("clone", "clone", "push")]


def make_work(folder: Path) -> str:
    """A work tree that does not compress, more than the buffers of a connection take."""
    git("init", "-q", str(folder))
    (folder / "random").write_bytes(os.urandom(8_000_000))
    git("add", ".", cwd=folder)
    git("commit", "-q", "-m", "random", cwd=folder)
    return git("rev-parse", "HEAD", cwd=folder).stdout.strip()


class World:
    def __init__(self, folder: Path, grace: float) -> None:
        self.folder = folder
        self.daemon = Daemon(
            folder / "data", environment={"WIT_SERVER_GRACE_SECONDS": str(grace)}
        ).start()
        self.token = self.daemon.user("ada")
        self.env = {**os.environ, **self.daemon.ssh_environment(self.daemon.key("ada", folder))}
        self.daemon.wit("repo", "create", NAME)
        self.work = folder / "work"
        self.tip = make_work(self.work)
        git("push", "-q", self.daemon.url(NAME, "ada", self.token), "main", cwd=self.work)
        self.bare = self.daemon.data_dir / "repos" / f"{NAME}.git"

    def begin(self, number: int, kind: str, what: str) -> HeldGit:
        """A real client in the middle of a clone, or of a push of new content."""
        if what == "clone":

            def clone(base: str) -> list[str]:
                return ["clone", "-q", "--bare", f"{base}/{NAME}", f"clone{number}"]

            return HeldGit(self.daemon, kind, "down", self.folder, clone, self.env)
        work = self.folder / f"push{number}"
        make_work(work)

        def push(base: str) -> list[str]:
            base = base.replace("http://", f"http://ada:{self.token}@")
            return ["push", "-q", f"{base}/{NAME}", f"HEAD:refs/heads/push{number}"]

        return HeldGit(self.daemon, kind, "up", work, push, self.env)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self.daemon.process is not None
        return self.daemon.process

    def refused(self) -> bool:
        """Whether both doors are closed."""
        ports = (self.daemon.http_port, self.daemon.ssh_port)
        return all(not connects(port) for port in ports)


def connects(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path, request.param)
    yield world
    kill_all(world.daemon)


@pytest.mark.attack(69)
@pytest.mark.parametrize("world", [60.0], indirect=True)
def test_running_work_completes(world: World) -> None:
    raw = [RawClone(world.daemon, NAME, world.tip) for _ in range(46)]
    real = [world.begin(number, *what) for number, what in enumerate(REAL)]
    idle = socket.create_connection(("127.0.0.1", world.daemon.http_port), 20)
    world.process.send_signal(signal.SIGTERM)
    wait_until(world.refused, what="both doors closed")
    assert idle.recv(1) == b"", "an idle connection is closed at once"
    world.process.send_signal(signal.SIGTERM)
    world.process.send_signal(signal.SIGINT)
    assert world.process.poll() is None
    with ThreadPoolExecutor(len(raw)) as threads:
        whole = list(threads.map(RawClone.finish, raw))
    assert all(whole) and min(client.received for client in raw) > 8_000_000
    assert world.process.poll() is None, "the others are waited for"
    for client in real:
        assert client.finish() == (0, "")
    assert world.process.wait(30) == 0
    for number, (_, what) in enumerate(REAL):
        if what == "clone":
            git("fsck", "--connectivity-only", cwd=world.folder / f"clone{number}")
        else:
            pushed = git("rev-parse", f"push{number}", cwd=world.bare).stdout
            local = git("rev-parse", "HEAD", cwd=world.folder / f"push{number}").stdout
            assert pushed == local
    assert leftovers(world.daemon, NAME) == []
    assert "Traceback" not in world.daemon.log()


@pytest.mark.attack(69)
@pytest.mark.parametrize("world", [0.5], indirect=True)
def test_what_does_not_end_in_time_is_cut(world: World) -> None:
    raw = [RawClone(world.daemon, NAME, world.tip) for _ in range(4)]
    real = [world.begin(number, *what) for number, what in enumerate(REAL)]
    children = psutil.Process(world.process.pid).children(recursive=True)
    assert len(children) >= 2, "the pushes at least"
    assert world.daemon.stop() == 0
    assert psutil.wait_procs(children, timeout=20)[1] == []
    assert not any(client.finish() for client in raw)
    for client in real:
        status, said = client.finish()
        assert status != 0 and said
    git("fsck", "--connectivity-only", cwd=world.bare)
    refs = git("for-each-ref", "--format=%(refname)", cwd=world.bare).stdout
    assert refs == "refs/heads/main\n"
    assert "Traceback" not in world.daemon.log()
    world.daemon.start()
    assert leftovers(world.daemon, NAME) == [], "the start tidies up after what was cut"
    git("clone", "-q", "--bare", world.daemon.url(NAME), "after", cwd=world.folder)
