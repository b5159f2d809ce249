"""The servers side by side, and what each line of the table needs of them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import attrs

from bench import fixtures, measure
from bench.measure import timed
from bench.peers import HttpBackend, OpenSsh
from bench.wit_daemon import Wit


def git_seconds(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> float:
    """Seconds that one git command took."""
    return timed(lambda: fixtures.git(*arguments, cwd=cwd, env=env))


@attrs.define
class Bench:
    """The servers side by side, and a folder that goes away."""

    folder: Path
    rounds: int
    large: Path
    small: Path
    wit: Wit
    http: HttpBackend
    ssh: OpenSsh
    our_cpu: measure.CpuAccount
    peer_cpu: measure.CpuAccount
    counter: int = 0

    def fresh(self) -> Path:
        self.counter += 1
        return self.folder / f"work{self.counter}"

    def clone(self, url: str, env: Mapping[str, str] | None = None) -> float:
        target = self.fresh()
        try:
            return git_seconds("clone", "-q", "--bare", url, str(target), env=env)
        finally:
            shutil.rmtree(target, ignore_errors=True)

    def our_ssh(self) -> dict[str, str]:
        return _ssh(self.wit.key)

    def peer_ssh(self) -> dict[str, str]:
        return _ssh(self.ssh.key)

    def peer_http_path(self, name: str) -> Path:
        return self.http.repositories / name

    def our_path(self, name: str) -> Path:
        return self.wit.data / "repos" / "bench" / f"{name}.git"


def _ssh(key: Path) -> dict[str, str]:
    return {
        "GIT_SSH_COMMAND": f"ssh -F none -i {key} -o IdentitiesOnly=yes -o BatchMode=yes "
        "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    }
