"""A backup of a daemon that is being pushed to, restored into a new one (attack line 72)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.support import kill_all
from tests.support.daemon import Daemon, git, wait_until

PUSHERS = 8
REPOS = ("ada/one", "ada/two")


class Pusher(threading.Thread):
    """Pushes commit after commit to its branch, and forces and deletes another."""

    def __init__(self, number: int, folder: Path, base: Path, url: str, env: dict[str, str]):
        super().__init__(daemon=True)
        self.folder, self.url, self.env = folder, url, env
        self.branch = f"refs/heads/own{number}"
        self.stop = threading.Event()
        self.pushed = 0
        self.error = ""
        git("clone", "-q", "--bare", str(base), str(folder))
        self.tip = git("rev-parse", "main", cwd=folder).stdout.strip()
        self.tree = git("rev-parse", "main^{tree}", cwd=folder).stdout.strip()

    def run(self) -> None:
        while not self.stop.is_set() and not self.error:
            commit = ("commit-tree", "-p", self.tip, "-m", f"{self.pushed}", self.tree)
            self.tip = git(*commit, cwd=self.folder).stdout.strip()
            side = f"{self.branch}-side"
            specs = [f"{self.tip}:{self.branch}", f":{side}" if self.pushed % 2 else f"main:{side}"]
            done = git("push", "-q", self.url, *specs, cwd=self.folder, env=self.env, check=False)
            if done.returncode:
                self.error = done.stderr
            self.pushed += 1


@pytest.fixture
def daemons() -> Iterator[list[Daemon]]:
    daemons: list[Daemon] = []
    yield daemons
    for daemon in daemons:
        kill_all(daemon)


@pytest.mark.attack(72)
def test_backup_under_pushers(
    tmp_path: Path, daemons: list[Daemon], database_url: str, postgres_server
) -> None:
    on_postgres = database_url.startswith("postgres")
    daemon = Daemon(
        tmp_path / "data",
        database_url=database_url if on_postgres else "",
        environment={"WIT_GIT_MAX_PER_USER": "16"},
    )
    daemons.append(daemon)
    daemon.start()
    token = daemon.user("ada")
    env = daemon.ssh_environment(daemon.key("ada", tmp_path))
    base = tmp_path / "base"
    git("init", "-q", str(base))
    git("commit", "-q", "--allow-empty", "-m", "base", cwd=base)
    for name in REPOS:
        git("push", "-q", daemon.url(name, "ada", token), "main", cwd=base)
    pushers = [
        Pusher(
            n, tmp_path / f"clone{n}", base,
            daemon.ssh_url(REPOS[n % 2]) if n % 4 < 2 else daemon.url(REPOS[n % 2], "ada", token),
            env,
        )
        for n in range(PUSHERS)
    ]  # fmt: skip
    for pusher in pushers:
        pusher.start()
    wait_until(lambda: all(p.pushed or p.error for p in pushers), what="first pushes")
    before = {p.branch: git("rev-parse", p.branch, cwd=bare(daemon, n)).stdout
              for n, p in enumerate(pushers)}  # fmt: skip
    file = tmp_path / "backup.tar"
    daemon.wit("backup", str(file))
    wait_until(lambda: all(p.pushed > 1 or p.error for p in pushers), what="more pushes")
    for pusher in pushers:
        pusher.stop.set()
        pusher.join(60)
    assert [p.error for p in pushers if p.error] == [], "a backup disturbs no push"
    assert daemon.stop() == 0

    # Into a new folder, and onto the other engine.
    other = "" if on_postgres else postgres_server.new_database(migrated=False)
    restored = Daemon(tmp_path / "restored", database_url=other)
    daemons.append(restored)
    said = restored.wit("restore", str(file))
    assert "broken" not in said.stdout + said.stderr
    restored.start()
    for n, pusher in enumerate(pushers):
        repo = bare(restored, n)
        git("fsck", "--full", cwd=repo)
        tip = git("rev-parse", pusher.branch, cwd=repo).stdout.strip()
        known = git("rev-list", pusher.tip, cwd=pusher.folder).stdout.split()
        assert tip in known, "a value that the branch really had"
        assert before[pusher.branch].strip() in known[known.index(tip) :], (
            "not older than asked for"
        )
    listed = restored.get("repos", {"Authorization": f"Bearer {token}"})[2]
    for name in REPOS:
        short = name.partition("/")[2]
        assert short.encode() in listed
        git(
            "clone", "-q", "--bare", restored.url(name, "ada", token), str(tmp_path / f"re-{short}")
        )
        git("push", "-q", restored.url(name, "ada", token), "main:refs/heads/again", cwd=base)
    assert restored.wit("doctor", "--full", check=False).returncode == 0
    assert restored.stop() == 0
    if other:
        postgres_server.drop_database(other)


def bare(daemon: Daemon, number: int) -> Path:
    return daemon.data_dir / "repos" / f"{REPOS[number % 2]}.git"
