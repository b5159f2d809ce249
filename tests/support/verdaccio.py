"""verdaccio: a real npm registry, the peer of ours. It has no upstream."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.request
from pathlib import Path

from tests.support.daemon import free_port, wait_until

FOLDER = Path(__file__).parent.parent / "real" / "npm_verdaccio"
USER, PASSWORD = "alice", "correct horse battery"

CONFIGURATION = """
storage: {folder}/storage
auth:
  htpasswd:
    file: {folder}/htpasswd
    algorithm: bcrypt
    rounds: 4
    max_users: 100
packages:
  '@private/*':
    access: $authenticated
    publish: $authenticated
    unpublish: $authenticated
  '**':
    access: $all
    publish: $authenticated
    unpublish: $authenticated
web:
  enable: false
max_body_size: 600mb
userRateLimit:
  windowMs: 1000
  max: 100000
log: {{type: stdout, format: json, level: error}}
"""


class Verdaccio:
    """One process with a folder of its own, and ``token``, the one of its user."""

    def __init__(self, folder: Path) -> None:
        install()
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        (folder / "config.yaml").write_text(CONFIGURATION.format(folder=folder))
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *("node", str(FOLDER / "node_modules" / "verdaccio" / "bin" / "verdaccio")),
                    *("--config", str(folder / "config.yaml")),
                    *("--listen", f"127.0.0.1:{self.port}"),
                ],
                env={**os.environ, "NODE_ENV": "production"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(self._answers, 60, "the start of verdaccio")
            self.token = self._sign_up()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/-/ping", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def _sign_up(self) -> str:
        body = json.dumps({"name": USER, "password": PASSWORD, "email": "alice@example.org"})
        request = urllib.request.Request(
            f"{self.url}/-/user/org.couchdb.user:{USER}",
            body.encode(),
            {"Content-Type": "application/json"},
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(json.load(answer)["token"])


def install() -> None:
    """Fetch verdaccio if ``scripts/setup`` has not; from the registry that npm is set up for."""
    if not (FOLDER / "node_modules" / ".installed").exists():
        command = ["npm", "ci", "--silent", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=FOLDER, check=True, timeout=600)
        (FOLDER / "node_modules" / ".installed").touch()
