"""A real container engine that the tests start for themselves: Docker's or Podman's.

It has its own socket and keeps all it has in its own folder. One engine serves all processes of a
test run: each holds a lock on a file while it needs it, and the engine's keeper (this module, run
as a program) ends it when the kernel says that nobody holds the lock any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import IO, Any

from tests.support.sandbox_image import IMAGES, write_image

START_SECONDS = 60.0
_PODMAN_SETTINGS = """
[containers]
netns="none"
cgroupns="private"
default_ulimits=["nofile=4096:4096","nproc=32768:32768"]
[engine]
runtime="runc"
cgroup_manager="cgroupfs"
events_logger="file"
# Podman's own default keeps two processes of each command for five minutes.
exit_command_delay=10
"""


_held: list[IO[str]] = []
"""Locks of this process, held until it ends."""


def shared_engine(kind: str) -> RealEngine:
    """The test run's engine, started by whoever needs it first."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))[:12]
    folder = Path(tempfile.gettempdir()) / f"wit-{kind}-{run}"
    _held.append(_locked(folder.with_suffix(".users")))
    with folder.with_suffix(".starting").open("w") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            _start_keeper(kind, folder)
    return RealEngine(kind, folder)


def _locked(path: Path) -> IO[str]:
    """The file, with a lock that others share; not the one that a keeper has just removed."""
    while True:
        users = path.open("a")
        fcntl.flock(users, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(users.fileno()).st_ino:
                return users
        users.close()


def _start_keeper(kind: str, folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    with folder.with_suffix(".log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.support.engine", kind, str(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + 2 * START_SECONDS
    while not (folder / "ready").exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"no engine:\n{folder.with_suffix('.log').read_text()}")
        time.sleep(0.02)


def _keep(kind: str, folder: Path) -> None:
    engine = RealEngine(kind, folder)
    try:
        engine.start()
        (folder / "ready").touch()
        with folder.with_suffix(".users").open("a") as users:
            # Granted when the last test process has closed the file, or died.
            fcntl.flock(users, fcntl.LOCK_EX)
            engine.remove()
            for suffix in (".users", ".starting", ".log"):
                folder.with_suffix(suffix).unlink(missing_ok=True)
    except BaseException:
        engine.remove()
        raise


class RealEngine:
    """One engine. ``start`` may follow ``kill`` and ``stop``; ``remove`` leaves nothing."""

    def __init__(self, kind: str, folder: Path, *flags: str) -> None:
        self.kind = kind
        self.folder = folder
        self.flags = flags
        self.socket = folder / "docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """As DOCKER_HOST has it."""
        return f"unix://{self.socket}"

    # life

    def start(self) -> None:
        """Returns when it answers and has the tests' images."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        self._clear()
        with (self.folder / "log").open("ab") as log:
            # Without whoever started it, it ends. Podman's conmon writes files where it is started.
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *self._argv()],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "CONTAINERS_CONF": str(self.folder / "containers.conf")},
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"no engine:\n{(self.folder / 'log').read_text()[-3000:]}")
            time.sleep(0.02)
        for name in IMAGES:
            if self.ask("GET", f"/images/{name}/json")[0] != 200:
                self._import(name)

    def kill(self) -> None:
        """As a crash does: without a word to anybody."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def remove(self) -> None:
        with contextlib.suppress(OSError):
            for container in self.ask("GET", "/containers/json?all=1")[1]:
                self.ask("DELETE", f"/containers/{container['Id']}?force=1&v=1")
        self.stop()
        self._clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_SECONDS)
            self._process = None

    def _argv(self) -> list[str]:
        if self.kind == "podman":
            (self.folder / "containers.conf").write_text(_PODMAN_SETTINGS)
            (self.folder / "podman").mkdir(exist_ok=True)
            return [
                *("podman", "--root", str(self.folder / "podman/root")),
                *("--runroot", str(self.folder / "podman/run"), "--storage-driver", "overlay"),
                *("system", "service", "--time=0", self.host),
            ]
        return [
            *("dockerd", "--host", self.host, "--data-root", str(self.folder / "data")),
            *("--exec-root", str(self.folder / "exec")),
            *("--pidfile", str(self.folder / "docker.pid"), "--bridge=none"),
            *("--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
            *("--userland-proxy=false", "--log-driver", "json-file"),
            *self.flags,
        ]

    def _clear(self) -> None:
        """What a killed engine leaves: those who watch its containers, processes in containers,
        mounts, and files that name processes which are no more."""
        watching = "podman/run" if self.kind == "podman" else "exec/containerd/"
        while watchers := _processes_with(f" {self.folder}/{watching}"):  # they may start others
            for process in watchers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.02)
        for container in (self.folder / "data/containers").glob("*"):
            for group in Path("/sys/fs/cgroup").glob(f"**/docker/{container.name}"):
                _empty(group)
        mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for mount in sorted(mounts, reverse=True):
            if mount.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "-l", mount], check=False)
        shutil.rmtree(self.folder / "exec", ignore_errors=True)
        (self.folder / "docker.pid").unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)

    def _import(self, name: str) -> None:
        repository, _, tag = name.partition(":")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            write_image(name, tar)
        path = f"/images/create?fromSrc=-&repo={repository}&tag={tag}"
        status, said = self.ask("POST", path, archive.getvalue())
        assert status == 200, said
        if self.ask("GET", f"/images/{name}/json")[0] != 200:
            # Podman 4.3 does not look at the tag.
            self.ask("POST", f"/images/{repository}/tag?repo={repository}&tag={tag}")

    # asking it

    def answers(self) -> bool:
        try:
            return self.ask("GET", "/_ping")[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of an answer, without any of wit's own code."""
        connection = _UnixConnection(str(self.socket))
        try:
            kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
            data = body if isinstance(body, bytes) or body is None else json.dumps(body)
            # An engine that refuses a body answers, and reads no more of it.
            with contextlib.suppress(BrokenPipeError):
                connection.request(method, path, data, {"Content-Type": kind})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text)
        except ValueError:
            return answer.status, text

    def names(self, what: str) -> list[str]:
        """Of all ``containers`` or ``volumes``."""
        if what == "volumes":
            return [one["Name"] for one in self.ask("GET", "/volumes")[1]["Volumes"] or []]
        found = self.ask("GET", "/containers/json?all=1")[1]
        return [one["Names"][0].lstrip("/") for one in found]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("engine", timeout=START_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _processes_with(words: str) -> list[int]:
    """Who has this in its command line."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if words.encode() in command.read_bytes().replace(b"\0", b" "):
                found.append(int(command.parent.name))
    return found


def _empty(group: Path) -> None:
    """Kill what is in a control group and remove it."""
    with contextlib.suppress(OSError):
        deadline = time.monotonic() + 5
        while processes := (group / "cgroup.procs").read_text().split():
            for process in processes:
                with contextlib.suppress(OSError):
                    os.kill(int(process), signal.SIGKILL)
            if time.monotonic() > deadline:
                return
        group.rmdir()


if __name__ == "__main__":
    _keep(sys.argv[1], Path(sys.argv[2]))
