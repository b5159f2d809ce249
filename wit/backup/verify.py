"""Whether what is on disk is sound: rows and folders fit, and each repository is whole.

Restoring ends with this, and ``wit doctor`` asks it at any time. Everything here blocks and is
called in a thread.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Set
from pathlib import Path

from wit.errors import Invalid
from wit.git.command import Git
from wit.git.names import RepoName, check_owner, check_repo
from wit.git.repository import is_bare, object_format
from wit.repositories.folders import PREFIX, SUFFIX, Folders, head_branch

MAX_PROBLEMS = 5
"""Lines of git's complaints about one repository that are shown."""


def unregistered(folders: Folders, disk_paths: Set[str]) -> Iterator[tuple[RepoName, Path]]:
    """Bare repositories below the folder that no row knows; links are not looked at."""
    known = {path.lower() for path in disk_paths}
    for owner in _directories(folders.root):
        for entry in _directories(owner):
            if entry.suffix != SUFFIX or not is_bare(str(entry)):
                continue
            try:
                name = RepoName(check_owner(owner.name), check_repo(entry.stem))
            except Invalid:
                continue
            if Folders.disk_path(name).lower() not in known:
                yield name, entry


def _directories(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                Path(entry.path)
                for entry in entries
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            )
    except (FileNotFoundError, NotADirectoryError):
        return []


def misfits(folders: Folders, disk_paths: Set[str]) -> list[str]:
    """Sentences about rows without a folder and folders without a row."""
    found = []
    for disk_path in sorted(disk_paths):
        try:
            folder = folders.path(disk_path)
        except Invalid as error:
            found.append(f"{disk_path[:200]}: {error.message}")
            continue
        if not is_bare(str(folder)):
            found.append(
                f"{disk_path.removeprefix(PREFIX).removesuffix(SUFFIX)} is registered, but "
                f"{folder} is no repository: "
                "restore it from a backup, or remove it with 'wit repo delete'"
            )
    for name, folder in unregistered(folders, disk_paths):
        found.append(f"{folder} is not registered: run 'wit sync' to serve it as {name}")
    return found


def quick_problems(folder: Path) -> list[str]:
    """What can be seen without reading objects: HEAD, object format, lock files of dead gits."""
    problems = []
    try:
        object_format(str(folder))
    except Invalid as error:
        problems.append(error.message)
    if head_branch(folder) is None:
        problems.append("HEAD names no branch: set it with git symbolic-ref HEAD refs/heads/main")
    return problems


def stale_locks(folder: Path, older_than: float, now: float) -> list[Path]:
    """git's lock files that nothing has touched for ``older_than`` seconds."""
    places = ("HEAD.lock", "config.lock", "packed-refs.lock", "shallow.lock", "gc.pid.lock")
    found = [folder / name for name in places]
    for parent, _, names in os.walk(folder / "refs"):
        found += [Path(parent, name) for name in names if name.endswith(".lock")]
    return [path for path in found if _age(path, now) > older_than]


def _age(path: Path, now: float) -> float:
    try:
        return now - path.stat().st_mtime
    except OSError:
        return -1.0


def fsck_problems(git: Git, folder: Path) -> list[str]:
    """What ``git fsck --connectivity-only`` says against the repository; empty: it is whole."""
    try:
        command = git.command(
            "fsck",
            "--connectivity-only",
            "--no-dangling",
            "--no-progress",
            git_dir=str(folder),
        )
    except ValueError as error:
        return [str(error)]
    done = subprocess.run(
        command.argv,
        env=command.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        return []
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").strip().splitlines()
    # "notice: HEAD points to an unborn branch" is how every empty repository looks.
    lines = [line for line in lines if not line.startswith("notice: ")]
    if len(lines) > MAX_PROBLEMS:
        lines[MAX_PROBLEMS:] = [f"… and {len(lines) - MAX_PROBLEMS} more"]
    return lines or [f"git fsck ended with status {done.returncode}"]
