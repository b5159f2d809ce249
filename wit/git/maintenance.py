"""What a repository needs to stay fast, and doing it.

Looking costs some directory listings; doing runs git at low priority, under a lock that git itself
inherits, so that there is never a second run for one repository, in this process or in another,
not even after a daemon was killed. Nothing here is needed for correctness.

Small pushes leave loose objects and larger ones packs. From time to time these are rolled up so
that the packs form a geometric progression (git-repack(1), --geometric) under one multi-pack index
with a bitmap; now and then everything is packed anew, and what nobody can reach goes into a cruft
pack that is dropped after two weeks.
"""

from __future__ import annotations

import enum
import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
from twisted.logger import Logger

from wit.errors import TimedOut, Unavailable
from wit.git.command import MEMORY_CONFIG, Git, Invocation, Option
from wit.git.process import DEVNULL, spawn, within
from wit.git.repository import BareRepository
from wit.runtime import Runtime

LOCK = "wit-maintenance.lock"
LOCK_FD = 3
"""The descriptor under which git inherits the lock."""

MARK = "wit-repacked"
"""A file whose modification time is that of the last repack; it holds the time of the last full
one, in seconds since 1970."""

MANY_LOOSE = 2000
"""Loose objects that are worth a repack."""

MANY_PACKS = 10
"""Packs since the last repack that are worth another one."""

MANY_LOOSE_REFS = 100
"""Loose refs that are worth packing."""

WORTH_A_BITMAP = 1024 * 1024
"""Bytes in packs, above which clones profit from a bitmap."""

HOUR = 3600.0
DAY = 24 * HOUR

REPACK_INTERVAL = HOUR / 6
"""Seconds between two repacks of a busy repository, at least."""

FULL_INTERVAL = 14 * DAY
"""Seconds between two full repacks of a repository that changes."""

GRAPH_INTERVAL = HOUR
"""Seconds for which a commit-graph may lag behind."""

LOCK_AGE = HOUR
"""Seconds after which a ref's lock file is surely orphaned: git holds one for moments."""

LEFTOVER_AGE = DAY
"""Seconds after which a temporary object file or quarantine is surely orphaned."""

GRACE = "2.weeks.ago"
"""How long objects stay that nobody can reach."""

REFLOG_AGE = "30.days.ago"
REFLOG_UNREACHABLE_AGE = "14.days.ago"

COMMAND_SECONDS = 4 * HOUR
"""Time limit of one command."""

NICENESS = 15

CONFIG = (
    *MEMORY_CONFIG,
    ("pack.threads", "1"),
    ("pack.writeBitmapLookupTable", "true"),
    ("repack.updateServerInfo", "false"),
)

log = Logger()


class Repack(enum.Enum):
    """How much has to be packed anew."""

    NOTHING = "nothing"
    GEOMETRIC = "geometric"
    FULL = "full"


@attrs.frozen
class Needs:
    """What a look at a repository found to do."""

    repack: Repack = Repack.NOTHING
    commit_graph: bool = False
    pack_refs: bool = False
    leftovers: bool = False
    """Whether there are orphaned temporary files or locks."""

    def __bool__(self) -> bool:
        return self != Needs()


@attrs.frozen
class _Look:
    """What is in a repository, as far as housekeeping cares. Sizes in bytes, times as time_t."""

    loose_objects: int
    pack_times: list[float]
    pack_bytes: int
    has_bitmap: bool
    borrows: bool
    """Whether it has alternates: then no bitmap can be written."""
    graph_time: float | None
    changed: float
    """When refs or packs changed last."""
    loose_refs: int
    repacked: float
    fully_repacked: float


async def needs(runtime: Runtime, repo: BareRepository) -> Needs:
    """What ``repo`` needs now. Raises Unavailable if it cannot be read."""
    try:
        return await runtime.in_thread(_needs, Path(repo.path), _now(runtime))
    except OSError as error:
        raise Unavailable("the repository is damaged or being moved") from error


async def maintain(git: Git, runtime: Runtime, repo: BareRepository, what: Needs) -> bool:
    """Do what is needed. False if somebody else is at it, or the repository is gone.

    Cancelling it is safe at any moment. Raises Unavailable if git fails, TimedOut if it takes
    longer than COMMAND_SECONDS.
    """
    path = Path(repo.path)
    with exclusively(repo) as lock:
        if lock is None:
            return False
        await runtime.in_thread(_remove_leftovers, path, _now(runtime))
        for name, options in _commands(what, borrows=_borrows(path)):
            await _run(runtime, git.command(name, *options, git_dir=repo.path, config=CONFIG), lock)
        if what.repack is not Repack.NOTHING:
            with suppress(FileNotFoundError):  # the repository was deleted meanwhile
                _mark(path / MARK, _now(runtime), full=what.repack is Repack.FULL)
    return True


@contextmanager
def exclusively(repo: BareRepository) -> Iterator[int | None]:
    """Hold the lock of housekeeping, a descriptor; None if somebody else has it, or the
    repository is gone."""
    lock = _lock(Path(repo.path) / LOCK)
    try:
        yield lock
    finally:
        if lock is not None:
            os.close(lock)


def _commands(what: Needs, *, borrows: bool) -> Iterator[tuple[str, list[Option]]]:
    full = what.repack is Repack.FULL
    if what.pack_refs or full:
        yield "pack-refs", ["--all", "--prune"]
    if full:
        ages = [("--expire", REFLOG_AGE), ("--expire-unreachable", REFLOG_UNREACHABLE_AGE)]
        yield "reflog-expire", ["--all", *ages]
        bitmap = [] if borrows else ["--write-bitmap-index"]
        yield "repack", ["-d", "-l", "-q", "--cruft", ("--cruft-expiration", GRACE), *bitmap]
        yield "prune", ["--no-progress", ("--expire", GRACE)]
    elif what.repack is Repack.GEOMETRIC:
        bitmap = [] if borrows else ["--write-midx", "--write-bitmap-index"]
        yield "repack", ["-d", "-l", "-q", ("--geometric", 2), *bitmap]
    if what.commit_graph or what.repack is not Repack.NOTHING:
        split: Option = ("--split", "replace") if full else "--split"
        yield "commit-graph", ["--reachable", "--changed-paths", "--no-progress", split]


async def _run(runtime: Runtime, command: Invocation, lock: int) -> None:
    child = spawn(runtime, command, stdin=DEVNULL, stdout=DEVNULL, extra_fds={LOCK_FD: lock})
    async with child:
        with suppress(ProcessLookupError, PermissionError):
            os.setpriority(os.PRIO_PGRP, child.pid, NICENESS)
        try:
            code = await within(runtime, COMMAND_SECONDS, child.wait())
        except TimeoutError:
            raise TimedOut(
                f"git {command.name} took longer than {COMMAND_SECONDS:g} seconds"
            ) from None
    if code != 0:
        reason = child.stderr_tail.decode("utf-8", "replace").strip()[-500:]
        raise Unavailable(f"git {command.name} failed with status {code}: {reason}")


def _lock(path: Path) -> int | None:
    """An exclusive lock (flock(2)) that ends when its last holder has; None if it is taken."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _now(runtime: Runtime) -> float:
    """As time_t, to compare with the times of files."""
    return runtime.now().timestamp()


def _mark(path: Path, now: float, *, full: bool) -> None:
    fully_repacked = now if full else _marked(path)[1]
    path.write_text(f"{fully_repacked:.0f}\n", "ascii")


def _marked(path: Path) -> tuple[float, float]:
    """When the last repack was, and the last full one."""
    try:
        return path.stat().st_mtime, float(path.read_text("ascii"))
    except (FileNotFoundError, ValueError):
        return 0.0, 0.0


def _needs(path: Path, now: float) -> Needs:
    look = _look(path)
    new_packs = sum(1 for changed in look.pack_times if changed > look.repacked)
    needs_bitmap = (
        not look.has_bitmap
        and not look.borrows
        and look.pack_bytes > WORTH_A_BITMAP
        and new_packs > 0  # otherwise the last repack could not write one
    )
    repack = Repack.NOTHING
    if look.loose_objects > MANY_LOOSE or new_packs > MANY_PACKS or needs_bitmap:
        repack = Repack.GEOMETRIC
    # A full repack comes with the next need of any, or a while after the last change.
    if now - look.fully_repacked > FULL_INTERVAL and (
        repack is not Repack.NOTHING or (look.repacked > look.fully_repacked > 0.0)
    ):
        repack = Repack.FULL
    if now - look.repacked < REPACK_INTERVAL:
        repack = Repack.NOTHING
    graph_is_old = look.graph_time is None or (
        look.changed > look.graph_time and now - look.graph_time > GRAPH_INTERVAL
    )
    return Needs(
        repack=repack,
        commit_graph=graph_is_old and look.pack_bytes > 0,
        pack_refs=look.loose_refs > MANY_LOOSE_REFS,
        leftovers=any(True for _ in _leftovers(path, now)),
    )


def _look(path: Path) -> _Look:
    pack_times: list[float] = []
    pack_bytes = 0
    has_bitmap = False
    with os.scandir(path / "objects" / "pack") as entries:
        for entry in entries:
            has_bitmap = has_bitmap or entry.name.endswith(".bitmap")
            if entry.name.startswith("pack-") and entry.name.endswith(".pack"):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    pack_times.append(status.st_mtime)
                    pack_bytes += status.st_size
    loose_refs, refs_changed = _loose_refs(path)
    repacked, fully_repacked = _marked(path / MARK)
    return _Look(
        loose_objects=_estimate_loose_objects(path),
        pack_times=pack_times,
        pack_bytes=pack_bytes,
        has_bitmap=has_bitmap,
        borrows=_borrows(path),
        graph_time=_graph_time(path),
        changed=max([refs_changed, *pack_times]),
        loose_refs=loose_refs,
        repacked=repacked,
        fully_repacked=fully_repacked,
    )


def _estimate_loose_objects(path: Path) -> int:
    """One folder of 256 stands for all, as in ``git gc --auto``: ids are evenly spread."""
    try:
        return 256 * len(os.listdir(path / "objects" / "17"))
    except FileNotFoundError:
        return 0


def _loose_refs(path: Path) -> tuple[int, float]:
    """How many loose refs there are (counted until there are many), and the last change."""
    count = 0
    changed = os.stat(path / "refs").st_mtime
    for folder, _, files in os.walk(path / "refs"):
        count += len(files)
        with suppress(FileNotFoundError):
            changed = max(changed, os.stat(folder).st_mtime)
        if count > MANY_LOOSE_REFS:
            break
    with suppress(FileNotFoundError):
        changed = max(changed, os.stat(path / "packed-refs").st_mtime)
    return count, changed


def _graph_time(path: Path) -> float | None:
    for name in ("commit-graphs/commit-graph-chain", "commit-graph"):
        with suppress(FileNotFoundError):
            return os.stat(path / "objects" / "info" / name).st_mtime
    return None


def _borrows(path: Path) -> bool:
    return (path / "objects" / "info" / "alternates").exists()


def _leftovers(path: Path, now: float) -> Iterator[Path]:
    """Files and folders of processes that surely are no more."""
    objects = path / "objects"
    yield from _older(path, ("[!w]*.lock",), now - LOCK_AGE)  # wit's own are for flock(2)
    for folder, _, _ in os.walk(path / "refs"):
        yield from _older(Path(folder), ("*.lock",), now - LOCK_AGE)
    yield from _older(objects, ("tmp_objdir-*", "incoming-*"), now - LEFTOVER_AGE)
    yield from _older(objects / "pack", ("tmp_*", ".tmp-*", "*.lock"), now - LEFTOVER_AGE)
    yield from _older(objects / "info", ("*.lock",), now - LEFTOVER_AGE)
    yield from _older(objects / "info" / "commit-graphs", ("*.lock", "tmp_*"), now - LEFTOVER_AGE)


def _older(folder: Path, patterns: tuple[str, ...], than: float) -> Iterator[Path]:
    for pattern in patterns:
        for path in folder.glob(pattern):
            with suppress(FileNotFoundError):
                if path.lstat().st_mtime < than:
                    yield path


def _remove_leftovers(path: Path, now: float) -> None:
    for leftover in list(_leftovers(path, now)):
        log.info("removing the orphaned {path}", path=str(leftover))
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(leftover.lstat().st_mode):
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink()
