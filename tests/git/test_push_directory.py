from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from pathlib import Path

import pytest

from wit.git import push_directory
from wit.git.push_directory import LOCK_FD, PushDirectory
from wit.git.repository import BareRepository

PUSH = "11111111-2222"


def bare(path: Path) -> BareRepository:
    subprocess.run(["git", "init", "-q", "--bare", path], check=True)
    return BareRepository("key", str(path))


def test_alive_as_long_as_the_daemon_or_git_lives(tmp_path: Path) -> None:
    assert not push_directory.is_alive(tmp_path, PUSH)
    directory = PushDirectory.create(tmp_path, PUSH, "key")
    assert push_directory.is_alive(tmp_path, PUSH)
    assert os.access(Path(directory.hooks) / "pre-receive", os.X_OK)
    moved = fcntl.fcntl(directory.lock_fd, fcntl.F_DUPFD, 100)
    child = subprocess.Popen(["sleep", "60"], pass_fds=[moved])
    os.close(moved)
    directory.release()  # as if the daemon had died
    assert push_directory.is_alive(tmp_path, PUSH)
    push_directory.remove_dead(tmp_path, PUSH)
    assert [(p.id, p.repo_key, p.alive) for p in push_directory.find(tmp_path)] == [
        (PUSH, "key", True)
    ]
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not push_directory.is_alive(tmp_path, PUSH)
    assert [(p.repo_key, p.alive) for p in push_directory.find(tmp_path)] == [("key", False)]
    push_directory.remove_dead(tmp_path, PUSH)
    assert push_directory.find(tmp_path) == []
    assert LOCK_FD == 4


def test_removed_at_the_end(tmp_path: Path) -> None:
    directory = PushDirectory.create(tmp_path, PUSH, "key")
    directory.check_each_ref()
    assert os.access(Path(directory.hooks) / "update", os.X_OK)
    directory.remove()
    assert push_directory.find(tmp_path) == []
    assert len(list((tmp_path / ".wit" / "hooks").iterdir())) == 1


def test_an_id_is_not_a_path(tmp_path: Path) -> None:
    for bad in ("../../etc", "", "a/b/c/d/e/f", "short"):
        with pytest.raises(ValueError, match="id of a push"):
            PushDirectory.create(tmp_path, bad, "key")


def leave(repo: BareRepository) -> list[Path]:
    root = Path(repo.path)
    files = [root / name for name in ("HEAD.lock", "packed-refs.lock", "packed-refs.new")]
    files += [root / "refs/heads/a/b.lock", root / "objects/pack/pack-1.keep"]
    files += [root / "objects/tmp_objdir-incoming-abc/pack/pack-2.pack"]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("receive-pack 123 on host\n")
    (root / "objects/pack/pack-3.keep").write_text("kept by the administrator\n")
    return files


@pytest.mark.attack(26)
def test_what_a_dead_push_left_goes_when_nobody_writes(tmp_path: Path) -> None:
    repo = bare(tmp_path / "r.git")
    files = leave(repo)
    other = PushDirectory.create(tmp_path, "another-push", "key")
    assert not push_directory.clean_up_after(tmp_path, PUSH, repo)
    assert all(file.exists() for file in files)
    other.remove()
    elsewhere = PushDirectory.create(tmp_path, "another-push", "another repository")
    housekeeping = subprocess.Popen(
        ["flock", f"{repo.path}/wit-maintenance.lock", "sh", "-c", "echo; read line"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert housekeeping.stdout is not None
    housekeeping.stdout.readline()
    assert not push_directory.clean_up_after(tmp_path, PUSH, repo)
    housekeeping.communicate(b"\n")
    assert push_directory.clean_up_after(tmp_path, PUSH, repo)
    assert not any(file.exists() for file in files)
    assert (Path(repo.path) / "objects/pack/pack-3.keep").exists()
    assert push_directory.clean_up_after(tmp_path, PUSH, repo)
    elsewhere.remove()


def test_a_repository_that_is_gone_needs_no_cleaning(tmp_path: Path) -> None:
    assert push_directory.clean_up_after(tmp_path, PUSH, BareRepository("key", "/nonexistent/r"))
