"""Under systemd: sockets that outlive the daemon, readiness, and the watchdog (attack line 69)."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.daemon.support import Notified, running, twistd
from tests.support.daemon import git
from wit.tap import Options

ROOT = Path(__file__).parents[2]

ACTIVATE = """
import os, sys
names, descriptors, command = sys.argv[1], sys.argv[2].split(","), sys.argv[3:]
for number, descriptor in enumerate(descriptors, 3):
    if int(descriptor) != number:
        os.dup2(int(descriptor), number)
    os.set_inheritable(number, True)
os.environ.update(LISTEN_FDS=str(len(descriptors)), LISTEN_FDNAMES=names)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(command[0], command)
"""
"""What systemd does for a service with sockets: sd_listen_fds(3)."""


class Activation:
    """Holds two listening sockets, as systemd does for wit.socket and wit-ssh.socket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.http = socket.create_server(("::1", 0), family=socket.AF_INET6, backlog=64)
        self.ssh = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://[::1]:{self.http.getsockname()[1]}"
        self.log = folder / "log"
        self.systemd = Notified(folder)

    def close(self) -> None:
        for held in (self.http, self.ssh, self.systemd):
            held.close()

    @contextmanager
    def daemon(self, *flags: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
        # Kept away from 3 and 4, where they have to end up in any order.
        copies = [os.dup(held.fileno()) for held in (self.http, self.ssh)]
        high = [fd if fd > 10 else os.dup2(fd, 100 + fd) for fd in copies]
        command = [
            sys.executable, "-c", ACTIVATE, "http:ssh", ",".join(map(str, high)),
            *twistd(
                "--data-dir", str(self.folder / "data"),
                "--http", "systemd:domain=INET6:name=http",
                "--ssh", "systemd:domain=INET:name=ssh", *flags,
            ),
        ]  # fmt: skip
        environment = {"NOTIFY_SOCKET": str(self.systemd.path), **environment}
        environment.setdefault("WIT_METRICS_LISTEN", "none")
        try:
            with running(command, self.log, environment, pass_fds=high) as process:
                yield process
        finally:
            for fd in {*copies, *high}:
                os.close(fd)


@pytest.fixture
def activation(tmp_path: Path) -> Iterator[Activation]:
    activation = Activation(tmp_path)
    yield activation
    activation.close()


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        return bytes(answer.read())


@pytest.mark.attack(69)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_backlog_survives_a_restart(activation: Activation, how: signal.Signals) -> None:
    answers: list[bytes] = []

    def ask() -> None:
        answers.append(get(activation.url + "/readyz"))

    with activation.daemon() as process:
        activation.systemd.wait_for("READY=1")
        assert b'"ready":true' in get(activation.url + "/readyz").replace(b" ", b"")
        process.send_signal(how)
        assert process.wait(30) == (0 if how == signal.SIGTERM else -signal.SIGKILL)
    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    with socket.create_connection(activation.ssh.getsockname(), 30) as ssh, activation.daemon():
        assert ssh.recv(4) == b"SSH-", "it waited in the backlog"
        for client in clients:
            client.join(60)
        assert len(answers) == 8 and all(b"true" in answer for answer in answers)
        assert "Traceback" not in activation.log.read_text()


def descriptors(pid: int) -> set[str]:
    """What the open files of a process are."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            found.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    return found


@pytest.mark.attack(69)
def test_git_does_not_inherit_the_sockets(activation: Activation, tmp_path: Path) -> None:
    """Else a git that outlives the daemon would hold the port."""
    git("init", "-q", str(tmp_path / "work"))
    (tmp_path / "work" / "x").write_bytes(os.urandom(1000))
    hook = tmp_path / "recording-git"
    seen = tmp_path / "seen"
    hook.write_text(f'#!/bin/sh\nls -l /proc/self/fd >> {seen}\nexec {shutil.which("git")} "$@"\n')
    hook.chmod(0o755)
    with activation.daemon(WIT_GIT_BINARY=str(hook)) as process:
        activation.systemd.wait_for("READY=1")
        inodes = [os.fstat(held.fileno()).st_ino for held in (activation.http, activation.ssh)]
        sockets = {f"socket:[{inode}]" for inode in inodes}
        assert sockets <= descriptors(process.pid)
        wit = [twistd()[0].replace("twistd", "wit"), "--data-dir", str(tmp_path / "data")]
        subprocess.run(
            [*wit, "user", "create", "ada", "--email", "a@b.c", "--password-stdin"],
            input="correct horse battery\n", text=True, check=True,
        )  # fmt: skip
        seen.unlink(missing_ok=True)
        work = tmp_path / "work"
        git("add", ".", cwd=work)
        git("commit", "-qm", "one", cwd=work)
        url = activation.url.replace("://", "://ada:correct%20horse%20battery@")
        git("push", "-q", f"{url}/ada/new", "HEAD:refs/heads/main", cwd=work)
    listing = seen.read_text()
    assert "->" in listing
    assert not [name for name in sockets if name in listing]


@pytest.mark.attack(69)
def test_systemd_is_told(activation: Activation) -> None:
    systemd = activation.systemd
    with activation.daemon(WATCHDOG_USEC="400000") as process:
        ready = systemd.wait_for("READY=1")
        assert ready["MAINPID"] == str(process.pid)
        assert ready["STATUS"] == "wit 2.0.0 is running"
        for _ in range(3):
            systemd.wait_for("WATCHDOG=1")
        process.send_signal(signal.SIGHUP)
        assert int(systemd.wait_for("RELOADING=1")["MONOTONIC_USEC"]) > 0
        systemd.wait_for("READY=1")
        process.send_signal(signal.SIGTERM)
        assert "finishing" in systemd.wait_for("STOPPING=1")["STATUS"]
        assert process.wait(30) == 0


@pytest.mark.attack(69)
def test_a_hung_daemon_stops_feeding_the_watchdog(activation: Activation) -> None:
    """It is the reactor that feeds it, not a thread."""
    with activation.daemon(WATCHDOG_USEC="200000") as process:
        activation.systemd.wait_for("READY=1")
        activation.systemd.wait_for("WATCHDOG=1")
        process.send_signal(signal.SIGSTOP)
        activation.systemd.drain()
        with pytest.raises(TimeoutError):
            activation.systemd.wait_for("WATCHDOG=1", seconds=0.5)
        process.send_signal(signal.SIGCONT)
        activation.systemd.wait_for("WATCHDOG=1")


def directive(unit: str, name: str) -> list[str]:
    text = (ROOT / "systemd" / unit).read_text().replace("\\\n", " ")
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


def endpoints(arguments: Sequence[str], flag: str) -> list[str]:
    return [part.partition("=")[2] for part in arguments if part.startswith(f"{flag}=")]


@pytest.mark.attack(69)
def test_the_units_fit_together(tmp_path: Path) -> None:
    """What wit.service asks for by name is what the two socket units give."""
    (start,) = directive("wit.service", "ExecStart")
    arguments = start.split()
    assert endpoints(arguments, "--http") == ["systemd:domain=INET6:name=http"]
    assert endpoints(arguments, "--ssh") == ["systemd:domain=INET6:name=ssh"]
    for unit, name in (("wit.socket", "http"), ("wit-ssh.socket", "ssh")):
        assert directive(unit, "FileDescriptorName") == [name]
        assert directive(unit, "Service") == ["wit.service"]
        (listen,) = directive(unit, "ListenStream")
        assert listen.isdigit(), "a bare port is an IPv6 socket that takes IPv4 as well"
    options = Options()
    ours = arguments[arguments.index("wit") + 1 :]
    options.parseOptions(["--data-dir", str(tmp_path)] + [a for a in ours if "data-dir" not in a])
    assert options["config"].server.http == ("systemd:domain=INET6:name=http",)
    (seconds,) = directive("wit.service", "TimeoutStopSec")
    assert int(seconds.removesuffix("s")) > options["config"].server.grace_seconds


@pytest.mark.attack(69)
def test_a_socket_that_was_not_handed_over(tmp_path: Path) -> None:
    """One sentence, not a stack."""
    command = twistd(
        "--data-dir",
        str(tmp_path / "data"),
        "--ssh",
        "none",
        "--http",
        "systemd:domain=INET:name=http",
    )
    log = tmp_path / "log"
    with running(command, log, {"WIT_METRICS_LISTEN": "none"}) as process:
        assert process.wait(30) == 1
    text = log.read_text()
    assert "Traceback" not in text
    assert text.splitlines()[-1].startswith("wit: 'systemd:domain=INET:name=http' is no endpoint")
