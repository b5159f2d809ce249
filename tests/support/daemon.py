"""The daemon, started the way the README says, and the clients that people point at it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from email.message import Message
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, select

from wit.db.tables import events, repositories

BIN = Path(sys.executable).parent
START_SECONDS = 30.0
PASSWORD = "correct horse battery"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until(condition, seconds: float = 20.0, what: str = "the condition"):  # type: ignore[no-untyped-def]
    """Ask until ``condition()`` is truthy and return it; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true in {seconds} s")
        time.sleep(0.02)


class Daemon:
    """``twistd -n wit`` on free ports with a data folder of its own."""

    def __init__(
        self,
        data_dir: Path,
        *,
        database_url: str = "",
        flags: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        python: Sequence[str] = (),
    ) -> None:
        """``python``: runs it instead of our own interpreter, as somebody else say."""
        self.data_dir = data_dir
        self.python = list(python)
        self.http_port = free_port()
        self.ssh_port = free_port()
        self.metrics_port = free_port()
        self.flags = list(flags)
        self.environment = {
            **os.environ,
            "WIT_METRICS_LISTEN": f"tcp:{self.metrics_port}:interface=127.0.0.1",
            **(environment or {}),
        }
        if database_url:
            self.environment["DATABASE_URL"] = database_url
        self.process: subprocess.Popen[bytes] | None = None
        self.log_file = data_dir.with_name(data_dir.name + ".log")

    # life

    def start(self, wait: bool = True) -> Daemon:
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *self.python,
                    str(BIN / "twistd"),
                    "-n",
                    "--pidfile=",
                    "wit",
                    "--data-dir",
                    str(self.data_dir),
                    "--http",
                    f"tcp:{self.http_port}:interface=127.0.0.1",
                    "--ssh",
                    f"tcp:{self.ssh_port}:interface=127.0.0.1",
                    *self.flags,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                start_new_session=True,
            )
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"the daemon ended:\n{self.log()}")
            try:
                with urllib.request.urlopen(self.url("readyz"), timeout=5) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                return False

        wait_until(ready, START_SECONDS, f"readiness of {self.url('')}")

    def stop(self, sig: int = signal.SIGTERM, seconds: float = 60.0) -> int:
        """Send ``sig`` and wait; the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(seconds)

    def kill(self) -> None:
        self.stop(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    # addresses

    def url(self, path: str = "", user: str = "", password: str = "") -> str:
        credentials = f"{user}:{password.replace(' ', '%20')}@" if user else ""
        return f"http://{credentials}127.0.0.1:{self.http_port}/{path}"

    def ssh_url(self, path: str, user: str = "git") -> str:
        return f"ssh://{user}@127.0.0.1:{self.ssh_port}/{path}"

    # the command line

    def wit(
        self, *arguments: str, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(BIN / "wit"), "--data-dir", str(self.data_dir), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=120,
        )
        if check:
            assert done.returncode == 0, f"wit {arguments}: {done.stdout}{done.stderr}"
        return done

    def user(self, name: str, *, admin: bool = False) -> str:
        """A new user; returns a token with the repository scopes."""
        self.wit(
            "user",
            "create",
            name,
            "--email",
            f"{name}@example.org",
            "--password-stdin",
            *(["--admin"] if admin else []),
            stdin=PASSWORD + "\n",
        )
        return self.token(name)

    def token(self, name: str, scopes: str = "repo:read,repo:write") -> str:
        return self.wit(
            "token", "create", name, "--name", "test", "--scopes", scopes
        ).stdout.strip()

    def key(self, name: str, folder: Path, kind: str = "ed25519") -> Path:
        """A new SSH key of the user; returns the private key's file."""
        file = make_key(name, folder, kind)
        self.wit("key", "add", name, f"{file}.pub")
        return file

    def ssh_environment(self, key: Path) -> dict[str, str]:
        """GIT_SSH_COMMAND for git that signs in with ``key``."""
        return {"GIT_SSH_COMMAND": " ".join(ssh_command(key))}

    # HTTP

    def get(
        self,
        path: str,
        headers: Mapping[str, str] | None = None,
        method: str = "GET",
        body: bytes | None = None,
    ) -> tuple[int, Message, bytes]:
        request = urllib.request.Request(
            self.url(path), data=body, headers=dict(headers or {}), method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.headers, refused.read()

    def metric(self, name: str, **labels: str) -> float:
        """The value of one sample on the metrics endpoint; 0.0 when it is not there."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10
        ) as answer:
            text = answer.read().decode()
        for line in text.splitlines():
            sample, _, value = line.rpartition(" ")
            found, _, rest = sample.partition("{")
            if found == name and all(f'{key}="{val}"' in rest for key, val in labels.items()):
                return float(value)
        return 0.0

    def events(self, name: str) -> list[dict[str, Any]]:
        """The journal's events of one repository, oldest first."""
        owner, _, repo = name.partition("/")
        found = (
            select(events)
            .join(repositories, repositories.c.id == events.c.repo_id)
            .where(repositories.c.disk_path == f"/repos/{owner}/{repo}.git")
            .order_by(events.c.seq)
        )
        url = self.environment.get("DATABASE_URL") or f"sqlite:///{self.data_dir / 'wit.db'}"
        engine = create_engine(url.replace("postgresql:", "postgresql+psycopg2:"))
        try:
            with engine.connect() as connection:
                return [dict(row) for row in connection.execute(found).mappings()]
        finally:
            engine.dispose()


def make_key(name: str, folder: Path, kind: str = "ed25519") -> Path:
    """The private key's file of ``name``; it is made if it is not there."""
    file = folder / f"{name}_{kind}"
    if not file.exists():
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", str(file)], check=True
        )
    return file


def ssh_command(key: Path, *options: str) -> list[str]:
    return [
        "ssh",
        "-F",
        "none",
        "-i",
        str(key),
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
        *options,
    ]


def talkative(command: list[str]) -> list[str]:
    """The ssh command that says why it fails."""
    return [word.replace("LogLevel=ERROR", "LogLevel=INFO") for word in command]


def git(
    *arguments: str,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    timeout: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run the git client; fails with its output unless it succeeds or ``check`` is false."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout,
    )
    if check:
        assert done.returncode == 0, f"git {' '.join(arguments)}:\n{done.stdout}{done.stderr}"
    return done


def commit(work: Path, name: str = "file", text: str = "", message: str = "") -> str:
    """Write a file and commit it; the new commit's id."""
    target = work / name
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text or f"{time.monotonic_ns()}\n")
    git("add", "--", name, cwd=work)
    git("commit", "-q", "-m", message or f"change {name}", cwd=work)
    return git("rev-parse", "HEAD", cwd=work).stdout.strip()
