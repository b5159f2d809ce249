"""The place that one push has on disk while it runs, and what is left when it was cut off.

``<repos>/.wit/pushes/<push id>/`` holds ``hooks/``, which git is pointed at, and ``lock``, whose
descriptor git inherits: as long as the daemon's part or any process of git's part of the push
lives, the file is locked (flock(2)), and every process on the machine can see that. A directory
that nobody locks is what a kill or a power cut left behind.

Everything here blocks and is called in a thread.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path

import attrs

from wit.git.maintenance import LOCK as MAINTENANCE_LOCK
from wit.git.repository import BareRepository

LOCK_FD = 4
"""The descriptor under which git inherits the lock."""

QUARANTINE = "tmp_objdir-"
"""How git names the folders below ``objects`` in which pushed objects wait."""

_ID = re.compile(r"[0-9A-Za-z-]{8,64}")


def _pushes(repos_dir: Path) -> Path:
    return repos_dir / ".wit" / "pushes"


@attrs.frozen
class PushDirectory:
    """A live push's directory; the lock is held until :meth:`remove` or the end of the process."""

    path: Path
    lock_fd: int
    _script: Path

    @classmethod
    def create(cls, repos_dir: Path, push_id: str, repo_key: str) -> PushDirectory:
        """Make and lock the directory of a new push. Raises OSError (a full disk, say)."""
        if not _ID.fullmatch(push_id):
            raise ValueError(f"{push_id!r} is not the id of a push")
        repos_dir = repos_dir.absolute()
        script = _installed_script(repos_dir)
        path = _pushes(repos_dir) / push_id
        while True:
            path.mkdir(parents=True, exist_ok=True)
            try:
                fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue  # a sweep took the directory before it was locked
            try:
                if not _lock(fd, exclusive=True) or not _is_file_at(fd, path / "lock"):
                    os.close(fd)
                    continue
                os.write(fd, repo_key.encode())
                (path / "hooks").mkdir()
                (path / "hooks" / "pre-receive").symlink_to(script)
            except BaseException:
                shutil.rmtree(path, ignore_errors=True)
                os.close(fd)
                raise
            return cls(path, fd, script)

    def release(self) -> None:
        """Unlock, and leave the directory to be found by a reconciliation."""
        os.close(self.lock_fd)

    @property
    def hooks(self) -> str:
        return str(self.path / "hooks")

    def check_each_ref(self) -> None:
        """Have git ask for every single ref (the ``update`` hook)."""
        (self.path / "hooks" / "update").symlink_to(self._script)

    def remove(self) -> None:
        """The push is over. The lock goes last, so that no other process sees half of this."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self.lock_fd)


@attrs.frozen
class FoundPush:
    """A push directory as any process sees it."""

    id: str
    repo_key: str
    alive: bool


def is_alive(repos_dir: Path, push_id: str) -> bool:
    """Whether the daemon's or git's part of a push still runs, on behalf of whatever daemon."""
    try:
        fd = os.open(_pushes(repos_dir) / push_id / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        return not _lock(fd, exclusive=False)
    finally:
        os.close(fd)


def find(repos_dir: Path) -> list[FoundPush]:
    """All push directories."""
    try:
        names = sorted(os.listdir(_pushes(repos_dir)))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        alive = is_alive(repos_dir, name)
        repo_key = ""
        with suppress(OSError):
            repo_key = (_pushes(repos_dir) / name / "lock").read_text("ascii", "replace")
        found.append(FoundPush(name, repo_key, alive))
    return found


def remove_dead(repos_dir: Path, push_id: str) -> None:
    """Remove a push directory if nobody holds its lock."""
    path = _pushes(repos_dir) / push_id
    try:
        fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if _lock(fd, exclusive=True):
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(fd)


def quarantines(repo_path: str) -> list[str]:
    """The quarantine folders that are in a repository now."""
    objects = os.path.join(repo_path, "objects")
    try:
        names = os.listdir(objects)
    except FileNotFoundError:
        return []
    return [os.path.join(objects, name) for name in names if name.startswith(QUARANTINE)]


def leftovers(repo_path: str) -> list[str]:
    """What a push that is cut off can leave in a repository, and one that lives can be using.

    Lock files of refs, packed-refs, HEAD and shallow, ``.keep`` files of receive-pack, and
    quarantines. The caller lists them first, then makes sure that nothing writes to the
    repository, and then removes them: what a later push makes is not in the list.
    """
    found = quarantines(repo_path)
    for name in ("HEAD.lock", "packed-refs.lock", "packed-refs.new", "shallow.lock", "config.lock"):
        path = os.path.join(repo_path, name)
        if os.path.lexists(path):
            found.append(path)
    for folder, _, names in os.walk(os.path.join(repo_path, "refs")):
        found += [os.path.join(folder, name) for name in names if name.endswith(".lock")]
    packs = os.path.join(repo_path, "objects", "pack")
    with suppress(FileNotFoundError):
        found += [
            os.path.join(packs, name)
            for name in os.listdir(packs)
            if name.endswith(".keep") and _is_receive_packs(os.path.join(packs, name))
        ]
    return found


def remove_leftovers(paths: list[str]) -> None:
    for path in paths:
        if os.path.isdir(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(FileNotFoundError):
                os.unlink(path)


def clean_up_after(repos_dir: Path, push_id: str, repo: BareRepository) -> bool:
    """Remove what a dead push left in its repository.

    False, and nothing is removed, if another push or housekeeping is writing to the repository.
    """
    found = leftovers(repo.path)
    if not found:
        return True
    try:
        housekeeping = os.open(
            os.path.join(repo.path, MAINTENANCE_LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
        )
    except FileNotFoundError:
        return True  # the repository is gone
    try:
        if not _lock(housekeeping, exclusive=True) or any(
            push.alive and push.repo_key == repo.key and push.id != push_id
            for push in find(repos_dir)
        ):
            return False
        remove_leftovers(found)
        return True
    finally:
        os.close(housekeeping)


def _is_receive_packs(keep: str) -> bool:
    with suppress(OSError), open(keep, "rb") as file:
        return file.read(12) == b"receive-pack"
    return False


def _lock(fd: int, *, exclusive: bool) -> bool:
    """Whether the lock was free (and is ours now)."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_file_at(fd: int, path: Path) -> bool:
    """Whether ``path`` still names the open file: a sweep may have removed it."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


@cache
def _script_text() -> bytes:
    return resources.files("wit.git").joinpath("hooks", "push-hook").read_bytes()


def _installed_script(repos_dir: Path) -> Path:
    """The hook script beside the repositories, under a name that its content makes.

    It is written once and then only linked to. A script written anew for each push could be
    open for writing in a process that is being forked at that moment, and then does not start
    ("text file busy"); and the installed package may be replaced under a running daemon.
    """
    text = _script_text()
    script = repos_dir / ".wit" / "hooks" / f"push-hook-{hashlib.sha256(text).hexdigest()[:16]}"
    if not script.exists():
        script.parent.mkdir(parents=True, exist_ok=True)
        fd, unfinished = tempfile.mkstemp(dir=script.parent)
        with os.fdopen(fd, "wb") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o755)
        os.rename(unfinished, script)
    return script
