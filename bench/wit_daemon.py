"""wit as the README starts it, with the bench repositories in its folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from bench.fixtures import environment
from bench.peers import free_port, wait_for_port

BIN = Path(sys.executable).parent
UNLIMITED = {
    f"WIT_LIMITS_{name}": "0"
    for name in ("STRICT", "STANDARD", "STANDARD_ANONYMOUS", "AUTH", "API", "API_ANONYMOUS")
} | {f"WIT_ACCOUNTS_{name}_PER_MINUTE": "100000" for name in ("FAILURES", "ATTEMPTS")}
"""One client stands for many: how often it may ask is not what is measured."""
OWNER = "bench"
PASSWORD = "a long bench password"


class Wit:
    """One daemon; ``public`` repositories belong to the user ``bench``."""

    def __init__(
        self, folder: Path, repositories: dict[str, Path], database_url: str | None = None
    ) -> None:
        folder.mkdir(parents=True)
        self.data = folder / "data"
        self.port = free_port()
        self.ssh_port = free_port()
        self.log = folder / "log"
        self.environment = {
            **environment(),
            "WIT_METRICS_LISTEN": "none",
            **UNLIMITED,
            "PATH": os.environ["PATH"],
            **({"DATABASE_URL": database_url} if database_url else {}),
        }
        self.first_answer = self._start()
        try:
            self._fill(folder, repositories)
        except BaseException:
            self.stop()
            raise

    def _fill(self, folder: Path, repositories: dict[str, Path]) -> None:
        self.cli(
            "user",
            "create",
            OWNER,
            "--email",
            "bench@example.org",
            "--password-stdin",
            "--admin",
            stdin=PASSWORD + "\n",
        )
        self.token = self.cli(
            "token", "create", OWNER, "--name", "bench", "--scopes", "repo:read,repo:write"
        ).strip()
        self.key = folder / "client"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.key)], check=True
        )
        self.cli("key", "add", OWNER, f"{self.key}.pub")
        for name, source in repositories.items():
            self.add(name, source)

    def add(self, name: str, source: Path) -> None:
        """Register a copy of ``source`` as bench/``name``, public, files and packs as they are."""
        self.cli("repo", "create", f"{OWNER}/{name}")
        target = self.data / "repos" / OWNER / f"{name}.git"
        for part in ("objects", "refs", "packed-refs", "HEAD"):
            if (target / part).is_dir():
                shutil.rmtree(target / part)
            if (source / part).is_dir():
                shutil.copytree(source / part, target / part, copy_function=os.link)
            elif (source / part).exists():
                shutil.copy(source / part, target / part)

    def create(self, name: str) -> None:
        self.cli("repo", "create", f"{OWNER}/{name}")

    def _start(self) -> float:
        started = time.perf_counter()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(BIN / "twistd"),
                    "-n",
                    "--pidfile=",
                    "wit",
                    "--data-dir",
                    str(self.data),
                    "--http",
                    f"tcp:{self.port}:interface=127.0.0.1",
                    "--ssh",
                    f"tcp:{self.ssh_port}:interface=127.0.0.1",
                ],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for_port(self.port)
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}/livez", timeout=10).read()
        return time.perf_counter() - started

    def restart(self) -> float:
        """Stop, start; seconds to the first answer."""
        self.stop()
        return self._start()

    def cli(self, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [str(BIN / "wit"), "--data-dir", str(self.data), *arguments],
            input=stdin,
            text=True,
            capture_output=True,
            env=self.environment,
        )
        if done.returncode != 0:
            raise RuntimeError(f"wit {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def sign_in(self) -> str:
        """The token of a new session of OWNER, who is an administrator: tokens have less power."""
        address = f"http://127.0.0.1:{self.port}"
        request = urllib.request.Request(
            f"{address}/api/auth/sign-in/username",
            json.dumps({"username": OWNER, "password": PASSWORD}).encode(),
            {"Content-Type": "application/json", "Origin": address},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return str(json.load(answer)["token"])

    @property
    def pids(self) -> list[int]:
        return [self.process.pid]

    def url(self, name: str, signed_in: bool = False) -> str:
        who = f"{OWNER}:{self.token}@" if signed_in else ""
        return f"http://{who}127.0.0.1:{self.port}/{OWNER}/{name}"

    def ssh_url(self, name: str) -> str:
        return f"ssh://git@127.0.0.1:{self.ssh_port}/{OWNER}/{name}"

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
