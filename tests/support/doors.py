"""A sandbox of a running daemon from outside, by each door that runs programs in it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs

from tests.conftest import Run
from tests.sandboxes.docker.plug import engine_of
from tests.support.daemon import ssh_command
from tests.support.sandboxes import Boxes, open_boxes
from tests.support.unprivileged import new_user
from tests.support.websocket import Client

DOORS = ("rest", "ssh", "terminal")
HOSTS = ("local", "docker", "unprivileged")
"""Who walls them in: this machine for a daemon of root's, a container engine, and this machine for
an ordinary user's daemon."""
ALLOWED = "allowed.example"
SECONDS = 60.0
_ENVIRONMENT = {
    "WIT_SANDBOXES_MAX_PER_USER": "100",
    "WIT_SANDBOXES_ALLOWED_HOSTS": f"{ALLOWED},localhost,127.0.0.1,169.254.169.254",
    "WIT_LIMITS_UPLOAD": "0",
    "WIT_TERMINALS_MAX_PER_USER": "100",
    "WIT_TERMINALS_CHECK_SECONDS": "1",
}


@attrs.frozen
class Inside:
    """Alice's sandbox, as her clients use it."""

    boxes: Boxes
    id: str

    # programs

    def report(self, door: str, program: str, *arguments: str) -> Any:
        """The value of the one line of JSON that a Python program prints."""
        self.put("program.py", program.encode())
        said = self.run(door, "python3", "program.py", *arguments)
        (line,) = [line for line in said.splitlines() if line.startswith(("{", "["))]
        return json.loads(line)

    def run(self, door: str, *argv: str) -> str:
        """What a program prints, however it ends."""
        return str({"rest": self._rest, "ssh": self._ssh, "terminal": self._terminal}[door](*argv))

    def _rest(self, *argv: str) -> str:
        done = self.exec(*argv)
        return str(done["stdout"] + done["stderr"])

    def exec(self, *argv: str, **options: Any) -> dict[str, Any]:
        body = {"argv": argv, **options}
        status, done = self.boxes.ask("POST", f"sandboxes/{self.id}/exec", body)
        assert status == 200, done
        return dict(done)

    def _ssh(self, *argv: str) -> str:
        done = subprocess.run(
            [*self.ssh(), shlex.join(argv)], capture_output=True, timeout=SECONDS, input=b""
        )
        return (done.stdout + done.stderr).decode()

    def ssh(self, *options: str) -> list[str]:
        """The command line of a client, to which a command may be added."""
        site = self.boxes.site
        port = str(site.daemon.ssh_port)
        key = ssh_command(site.alice.key, *options)
        return [*key, "-p", port, "-l", f"sandbox:{self.id}", "127.0.0.1"]

    def _terminal(self, *argv: str) -> str:
        with self.terminal() as client:
            client.type(f"{shlex.join(argv)}; echo over-$((6*7))\r".encode())
            client.until_seen(b"over-42")
            return client.seen.decode().replace("\r\n", "\n")

    @contextmanager
    def terminal(self) -> Iterator[Client]:
        headers = {"Authorization": f"Bearer {self.boxes.tokens['alice']}"}
        port = self.boxes.site.daemon.http_port
        path = f"/ws/{self.id}?cols=200&rows=50"
        client = Client(port, path, headers=headers, subprotocols=["wit.term.v1"])
        try:
            client.until_message(t="replayed")
            yield client
        finally:
            client.close()

    # files

    def put(self, path: str, content: bytes) -> int:
        return self._bytes("PUT", "files", path, content)[0]

    def read(self, path: str) -> tuple[int, bytes]:
        return self._bytes("GET", "files", path)

    def upload(self, archive: bytes, path: str = ".") -> int:
        return self._bytes("PUT", "archive", path, archive)[0]

    def download(self, path: str) -> tuple[int, bytes]:
        return self._bytes("GET", "archive", path)

    def _bytes(
        self, method: str, what: str, path: str, body: bytes | None = None
    ) -> tuple[int, bytes]:
        kind = "application/x-tar" if what == "archive" else "application/octet-stream"
        headers = {"Authorization": f"Bearer {self.boxes.tokens['alice']}", "Content-Type": kind}
        place = f"api/v1/sandboxes/{self.id}/{what}?path={quote(path)}"
        status, _, answer = self.boxes.site.daemon.get(place, headers, method, body)
        return status, answer


@contextmanager
def open_host(
    host: str, run: Run, folder: Path, more: Mapping[str, str] | None = None
) -> Iterator[Boxes]:
    """A daemon whose sandboxes are walled in by one of HOSTS; ``more``: of its settings."""
    common = {**_ENVIRONMENT, **(more or {})}
    if host == "docker":
        environment = {
            **common,
            "WIT_SANDBOXES_PROVIDER": "docker",
            "WIT_SANDBOXES_DOCKER_HOST": engine_of("docker").host,
            "WIT_SANDBOXES_DOCKER_IMAGE": "wit-sandbox:test",
            "WIT_SANDBOXES_WARM": "0",
            # With files in memory, where the engine can limit them on any machine.
            "WIT_SANDBOXES_OPTIONS": "docker.workspace=memory",
        }
        with open_boxes(run, folder, environment) as boxes:
            yield boxes
    elif host == "unprivileged":
        with new_user() as user:
            environment = {**common, **user.environment}
            with open_boxes(run, user.folder, environment, user.python) as boxes:
                yield boxes
    else:
        with open_boxes(run, folder, common) as boxes:
            yield boxes


@contextmanager
def new_inside(boxes: Boxes, **wishes: Any) -> Iterator[Inside]:
    """A sandbox that goes with the test."""
    inside = Inside(boxes, boxes.create(**wishes)["id"])
    try:
        yield inside
    finally:
        assert boxes.ask("DELETE", f"sandboxes/{inside.id}")[0] in (200, 404, 422)


def processes_with(word: str) -> list[int]:
    """Processes of this machine, other than this one, with a word in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if word in line and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found
