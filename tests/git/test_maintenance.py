"""Housekeeping with real git: nothing is lost, and the repository is fast afterwards."""

from __future__ import annotations

import fcntl
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.git.bare import git
from wit.errors import Unavailable
from wit.git import maintenance
from wit.git.command import Git
from wit.git.maintenance import LOCK, MARK, Needs, Repack, maintain, needs
from wit.git.repository import BareRepository

FULL = Needs(repack=Repack.FULL)
GEOMETRIC = Needs(repack=Repack.GEOMETRIC)


def add_commits(repo: BareRepository, count: int, ref: str = "refs/heads/main") -> None:
    """``count`` commits on ``ref``, kept as one pack."""
    start = f"from {ref}^0\n" if git(repo, "for-each-ref", ref) else ""
    stream = []
    for number in range(count):
        text = f"{ref} {time.time_ns()} {number}\n" * 3
        stream.append(
            f"commit {ref}\ncommitter T <t@example.org> {1_700_000_000 + number} +0000\n"
            f"data 1\nx\n{start}M 100644 inline f{number}\ndata {len(text)}\n{text}\n"
        )
        start = ""
    git(repo, "-c", "fastimport.unpackLimit=1", "fast-import", "--quiet", stdin="".join(stream))


def packs(repo: BareRepository) -> list[Path]:
    return list(Path(repo.path, "objects/pack").glob("*.pack"))


def endings(repo: BareRepository) -> set[str]:
    return {path.suffix for path in Path(repo.path, "objects/pack").iterdir()}


def assert_whole(repo: BareRepository) -> None:
    git(repo, "fsck", "--full")
    git(repo, "commit-graph", "verify")
    everything = ("rev-list", "--objects", "--all", "--count")
    assert git(repo, *everything) == git(repo, *everything, "--use-bitmap-index")
    if Path(repo.path, "objects/pack/multi-pack-index").exists():
        git(repo, "multi-pack-index", "verify")


@pytest.fixture(scope="module")
def program() -> Git:
    return Git.find()


@pytest.fixture(params=["sha1", "sha256"])
def repo(request: pytest.FixtureRequest, tmp_path: Path) -> BareRepository:
    path = str(tmp_path / "r.git")
    words = ["git", "init", "-q", "--bare", f"--object-format={request.param}", path]
    subprocess.run(words, check=True)
    return BareRepository("k", path, request.param)


@pytest.fixture
def look(run: Any, runtime: Any) -> Any:
    return lambda repo: run(needs(runtime, repo))


@pytest.fixture
def do(run: Any, runtime: Any, program: Git) -> Any:
    return lambda repo, what: run(maintain(program, runtime, repo, what))


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def test_a_fresh_repository_needs_nothing(repo: BareRepository, look: Any, do: Any) -> None:
    assert not look(repo)
    assert do(repo, Needs(commit_graph=True))  # and nothing breaks where there is nothing


def test_a_full_repack(repo: BareRepository, look: Any, do: Any) -> None:
    for number in range(3):
        add_commits(repo, 5, f"refs/heads/b{number}")
    git(repo, "hash-object", "-w", "--stdin", stdin="nobody needs this")
    loose = git(repo, "commit-tree", "-m", "x", git(repo, "mktree"))
    git(repo, "update-ref", "refs/heads/loose", loose)
    assert do(repo, FULL)
    assert len(packs(repo)) == 2  # the blob that nobody needs is in the cruft pack
    assert {".bitmap", ".mtimes"} <= endings(repo)
    assert git(repo, "count-objects") == "0 objects, 0 kilobytes"
    assert Path(repo.path, "objects/info/commit-graphs/commit-graph-chain").exists()
    assert not list(Path(repo.path, "refs/heads").iterdir())
    assert_whole(repo)
    assert look(repo) == Needs()


def test_unreachable_objects_live_for_two_weeks(repo: BareRepository, do: Any) -> None:
    add_commits(repo, 3)
    add_commits(repo, 3, "refs/heads/gone")
    gone = git(repo, "rev-parse", "refs/heads/gone")
    loose = git(repo, "hash-object", "-w", "--stdin", stdin="loose")
    git(repo, "update-ref", "-d", "refs/heads/gone")
    assert do(repo, FULL)
    for _ in range(2):
        assert git(repo, "cat-file", "-t", gone) == "commit"
        assert git(repo, "cat-file", "-t", loose) == "blob"
        assert do(repo, GEOMETRIC)
        assert_whole(repo)


def test_old_unreachable_objects_go(repo: BareRepository, do: Any) -> None:
    add_commits(repo, 3)
    loose = git(repo, "hash-object", "-w", "--stdin", stdin="loose")
    age(Path(repo.path, "objects", loose[:2], loose[2:]), 15 * maintenance.DAY)
    assert do(repo, FULL)
    with pytest.raises(subprocess.CalledProcessError):
        git(repo, "cat-file", "-t", loose)


def test_geometric_repacks_keep_the_large_pack_and_a_good_bitmap(
    repo: BareRepository, do: Any
) -> None:
    add_commits(repo, 100)
    assert do(repo, FULL)
    (large,) = packs(repo)
    for _ in range(6):
        add_commits(repo, 2)
    loose = git(repo, "commit-tree", "-m", "x", git(repo, "mktree"))
    git(repo, "update-ref", "refs/heads/loose", loose)
    assert do(repo, GEOMETRIC)
    assert large in packs(repo) and len(packs(repo)) == 2
    assert Path(repo.path, "objects/pack/multi-pack-index").exists()
    assert ".bitmap" in endings(repo)
    assert_whole(repo)
    add_commits(repo, 3)  # what came after the bitmap is found as well
    assert_whole(repo)
    assert do(repo, FULL)
    assert len(packs(repo)) == 1
    assert_whole(repo)


def test_what_borrows_gets_no_bitmap_and_stays_whole(
    repo: BareRepository, do: Any, look: Any, tmp_path: Path
) -> None:
    add_commits(repo, 20)
    borrower = BareRepository("b", str(tmp_path / "b.git"), repo.object_format)
    subprocess.run(
        ["git", "clone", "-q", "--bare", "--shared", repo.path, borrower.path], check=True
    )
    add_commits(borrower, 3)
    add_commits(borrower, 3)
    for what in (GEOMETRIC, FULL, GEOMETRIC):
        assert do(borrower, what)
        assert ".bitmap" not in endings(borrower)
        git(borrower, "fsck", "--full")
    assert git(borrower, "rev-list", "--count", "main") == "26"


def test_needs(repo: BareRepository, look: Any, do: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "MANY_PACKS", 3)
    monkeypatch.setattr(maintenance, "MANY_LOOSE_REFS", 5)
    add_commits(repo, 3)
    assert look(repo) == Needs(commit_graph=True)
    for number in range(6):
        add_commits(repo, 1, f"refs/heads/b{number}")
    assert look(repo) == Needs(repack=Repack.FULL, commit_graph=True, pack_refs=True)
    assert do(repo, look(repo))
    assert look(repo) == Needs()
    for _ in range(4):
        add_commits(repo, 1)
    assert look(repo) == Needs()  # it is too early
    set_mark(repo, repacked=maintenance.HOUR, full=maintenance.HOUR)
    assert look(repo).repack is Repack.GEOMETRIC
    assert do(repo, look(repo))
    assert look(repo) == Needs()
    set_mark(repo, repacked=13 * maintenance.DAY, full=15 * maintenance.DAY)
    assert look(repo).repack is Repack.FULL


def set_mark(repo: BareRepository, repacked: float, full: float) -> None:
    mark = Path(repo.path, MARK)
    mark.write_text(f"{time.time() - full:.0f}\n")
    age(mark, repacked)


def test_many_loose_objects_are_noticed(repo: BareRepository, look: Any) -> None:
    folder = Path(repo.path, "objects/17")
    folder.mkdir()
    for number in range(9):
        (folder / f"{number:038x}").write_bytes(b"")
    assert look(repo).repack is Repack.FULL


def test_a_missing_bitmap_is_noticed_once(
    repo: BareRepository, look: Any, do: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "WORTH_A_BITMAP", 100)
    monkeypatch.setattr(maintenance, "REPACK_INTERVAL", -1)
    add_commits(repo, 5)
    assert look(repo).repack is Repack.FULL
    assert do(repo, FULL)
    assert look(repo).repack is Repack.NOTHING
    for bitmap in Path(repo.path, "objects/pack").glob("*.bitmap"):
        bitmap.unlink()
    assert look(repo).repack is Repack.NOTHING  # there was a repack; it would not help


def test_the_commit_graph_follows_after_a_while(repo: BareRepository, look: Any, do: Any) -> None:
    add_commits(repo, 2)
    assert do(repo, Needs(commit_graph=True))
    add_commits(repo, 2)
    assert not look(repo).commit_graph
    age(Path(repo.path, "objects/info/commit-graphs/commit-graph-chain"), 2 * maintenance.HOUR)
    assert look(repo).commit_graph
    assert do(repo, look(repo))
    assert not look(repo).commit_graph
    assert_whole(repo)


@pytest.mark.attack(26)
def test_leftovers_go_when_they_are_old(repo: BareRepository, look: Any, do: Any) -> None:
    root = Path(repo.path)
    add_commits(repo, 1)
    assert do(repo, look(repo))
    old = {
        "packed-refs.lock": 2 * maintenance.HOUR,
        "HEAD.lock": 2 * maintenance.HOUR,
        "refs/heads/main.lock": 2 * maintenance.HOUR,
        "objects/tmp_objdir-incoming-abc": 2 * maintenance.DAY,
        "objects/pack/tmp_pack_abc": 2 * maintenance.DAY,
        "objects/pack/.tmp-1-pack-abc.pack": 2 * maintenance.DAY,
        "objects/info/commit-graphs/commit-graph-chain.lock": 2 * maintenance.DAY,
    }
    young = {"refs/heads/other.lock": 60.0, "objects/tmp_objdir-incoming-def": maintenance.HOUR}
    for name, seconds in (old | young).items():
        if "objdir" in name:
            (root / name / "pack").mkdir(parents=True)
            (root / name / "pack" / "x").write_text("x")
        else:
            (root / name).write_text("")
        age(root / name, seconds)
    assert look(repo) == Needs(leftovers=True)
    assert do(repo, look(repo))
    assert not [name for name in old if (root / name).exists()]
    assert not [name for name in young if not (root / name).exists()]
    assert look(repo) == Needs()
    assert (root / LOCK).exists()
    add_commits(repo, 1)  # main can be written again
    assert_whole(repo)


def test_old_reflog_entries_go_and_young_ones_stay(repo: BareRepository, do: Any) -> None:
    git(repo, "config", "core.logAllRefUpdates", "always")
    add_commits(repo, 1)
    tip = git(repo, "rev-parse", "main")
    git(repo, "update-ref", "refs/heads/x", tip)
    log = Path(repo.path, "logs/refs/heads/x")
    line = log.read_text()
    stamp = line.split("> ")[1].split(" ")[0]
    ancient = line.replace(stamp, str(int(stamp) - 40 * 86400))
    log.write_text(ancient + line)
    assert do(repo, FULL)
    assert log.read_text().split() == line.split()


def test_only_one_at_a_time(repo: BareRepository, do: Any) -> None:
    add_commits(repo, 2)
    with open(Path(repo.path, LOCK), "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert do(repo, FULL) is False
    assert not Path(repo.path, MARK).exists()
    assert do(repo, FULL) is True
    assert Path(repo.path, MARK).exists()


def test_git_inherits_the_lock_and_is_nice(
    repo: BareRepository, run: Any, runtime: Any, tmp_path: Path
) -> None:
    ready = tmp_path / "ready"
    script = tmp_path / "git"
    script.write_text(f"#!/bin/sh\nsleep 0.2; nice > {ready}.new; mv {ready}.new {ready}\nsleep 60")
    script.chmod(0o755)

    def is_locked() -> bool:
        with open(Path(repo.path, LOCK)) as mine:
            try:
                fcntl.flock(mine, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    async def scenario() -> None:
        work = Deferred.fromCoroutine(maintain(Git(str(script), (2, 39)), runtime, repo, FULL))
        failed: list[Any] = []
        work.addErrback(failed.append)
        while not ready.exists():
            await runtime.sleep(0.01)
        assert is_locked()
        work.cancel()
        while not failed:
            await runtime.sleep(0.01)
        assert not is_locked()

    run(scenario())
    assert ready.read_text().strip() == str(maintenance.NICENESS)


def test_failures_say_what_failed(repo: BareRepository, do: Any, look: Any) -> None:
    add_commits(repo, 2)
    for pack in packs(repo):
        pack.chmod(0o644)
        pack.write_bytes(pack.read_bytes()[:40])
    with pytest.raises(Unavailable, match=r"git (repack|commit-graph|reflog) failed"):
        do(repo, FULL)
    os.rename(repo.path, repo.path + ".gone")
    with pytest.raises(Unavailable, match="damaged or being moved"):
        look(repo)
    assert do(repo, FULL) is False


def test_pushes_and_housekeeping_at_once(
    repo: BareRepository, run: Any, runtime: Any, program: Git
) -> None:
    add_commits(repo, 30)

    async def scenario() -> None:
        for round_ in range(4):
            work = Deferred.fromCoroutine(
                maintain(program, runtime, repo, GEOMETRIC if round_ % 2 else FULL)
            )
            for _ in range(5):
                await runtime.in_thread(add_commits, repo, 2)
            assert await work

    run(scenario())
    assert git(repo, "rev-list", "--count", "main") == "70"
    assert_whole(repo)
