"""Two daemons on one PostgreSQL database and one folder of repositories serve one site."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.support import Tables, kill_all, leftovers
from tests.support.daemon import Daemon, commit, git, wait_until

NAME = "ada/shared"
ROUNDS = 5


@pytest.fixture
def pair(tmp_path: Path, postgres_server) -> Iterator[list[Daemon]]:
    url = postgres_server.new_database()
    repos = {"WIT_REPOSITORIES_DIR": str(tmp_path / "first" / "repos")}
    pair = [
        Daemon(tmp_path / name, database_url=url, environment=repos) for name in ("first", "second")
    ]
    for daemon in pair:
        daemon.start()
    yield pair
    for daemon in pair:
        kill_all(daemon)
    postgres_server.drop_database(url)


@pytest.mark.postgres
@pytest.mark.attack(21, 24)
def test_one_site(pair: list[Daemon], tmp_path: Path) -> None:
    first, second = pair
    token = first.user("ada")
    key = first.key("ada", tmp_path)
    work = tmp_path / "work"
    git("init", "-q", str(work))

    # What one does, the other knows at once: a new repository, a push, a deletion, over each door.
    for number, (to, back) in enumerate(((first, second), (second, first), (first, second))):
        tip = commit(work)
        git("push", "-q", to.url(NAME, "ada", token), "main", f"main:side{number}", cwd=work)
        ssh = back.ssh_environment(key)
        listed = git("ls-remote", back.ssh_url(NAME), env=ssh).stdout
        assert f"{tip}\trefs/heads/main" in listed and f"refs/heads/side{number}" in listed
        git("push", "-q", back.ssh_url(NAME), f":side{number}", cwd=work, env=ssh)
        assert "side" not in git("ls-remote", to.url(NAME, "ada", token)).stdout
        clone = tmp_path / f"clone{number}"
        git("clone", "-q", back.url(NAME, "ada", token), str(clone))
        assert git("rev-parse", "HEAD", cwd=clone).stdout.strip() == tip

    # Two clients, one through each, race for one branch.
    clones = [tmp_path / "clone0", tmp_path / "clone1"]
    start = git("rev-parse", "HEAD", cwd=work).stdout.strip()
    won = []
    for _ in range(ROUNDS):
        results: list[int] = [-1, -1]
        for clone in clones:
            git("fetch", "-q", first.url(NAME, "ada", token), "main", cwd=clone)
            git("reset", "-q", "--hard", "FETCH_HEAD", cwd=clone)
            commit(clone)

        def push(number: int, results: list[int] = results) -> None:
            url = pair[number].url(NAME, "ada", token)
            done = git("push", "-q", url, "HEAD:refs/heads/main", cwd=clones[number], check=False)
            results[number] = done.returncode

        racers = [threading.Thread(target=push, args=(n,)) for n in range(2)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join(60)
        assert sorted(results) == [0, 1], "exactly one wins"
        won.append(git("rev-parse", "HEAD", cwd=clones[results.index(0)]).stdout.strip())

    tables = Tables(first)
    wait_until(lambda: not tables.intents() and not tables.unprocessed(), what="delivery")
    main = [(before, after) for ref, before, after in tables.updates() if ref == "refs/heads/main"]
    values = [after for _, after in main]
    assert values[-ROUNDS - 1 :] == [start, *won]
    assert [before for before, _ in main] == [None, *values[:-1]]
    created = Counter(p["name"] for p in tables.events("branch.created"))
    assert created == {"main": 1, "side0": 1, "side1": 1, "side2": 1}
    assert set(Counter(p["name"] for p in tables.events("branch.deleted")).values()) == {1}
    pushed = Counter((p["ref"], p["afterSha"]) for p in tables.events("repo.pushed"))
    assert set(pushed.values()) == {1}
    tables.close()
    repo = first.data_dir / "repos" / f"{NAME}.git"
    git("fsck", "--connectivity-only", cwd=repo)

    # One goes; the other serves on, and settles nothing that is not its own to settle.
    first.kill()
    git("clone", "-q", second.url(NAME, "ada", token), str(tmp_path / "after"))
    assert second.stop() == 0
    assert leftovers(first, NAME) == []
