"""Copying one repository while people push into it, and putting a copy back.

Refs are read first and objects afterwards, under the lock that keeps housekeeping from removing
objects in between. A push adds objects before it moves a ref, so the objects that we find are
always enough for the refs that we have.

Everything here blocks and is called in a thread.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from wit.backup.archive import Member, Writer, check_stop
from wit.errors import Invalid
from wit.git.command import Git
from wit.git.maintenance import LOCK

_PLAIN_FILES = ("HEAD", "config", "description", "shallow", "info/attributes")
_FANOUT = re.compile(r"[0-9a-f]{2}")
_LOOSE = re.compile(r"[0-9a-f]{38}(?:[0-9a-f]{24})?")
_PACK_INDEX = re.compile(r"(pack-[0-9a-f]{40}(?:[0-9a-f]{24})?)\.idx")
_PACK_PARTS = (".pack", ".rev", ".bitmap", ".mtimes", ".promisor", ".idx")
_LONGEST_LOG = 64 * 1024 * 1024
_MAX_ALTERNATES = 32
_MAX_LOOKS = 20


def copy(git: Git, folder: Path, prefix: str, writer: Writer, stop: threading.Event) -> None:
    """Write the bare repository at ``folder`` below ``prefix`` of the archive.

    Derived files (commit-graph, multi-pack-index) are left to housekeeping, hooks are not part of
    a repository here, and objects of alternates become the copy's own.

    Raises FileNotFoundError if the repository has gone, Invalid if git cannot read it.
    """
    with maintenance_lock(folder, stop), tempfile.TemporaryFile(dir=writer.folder) as refs:
        _list_refs(git, folder, refs)
        _copy_refs(refs, prefix, writer, stop)
        for name in _PLAIN_FILES:
            with suppress(FileNotFoundError):
                writer.add_file(f"{prefix}/{name}", folder / name)
        _copy_logs(refs, folder, prefix, writer, stop)
        _copy_objects(folder, prefix, writer, stop)


@contextmanager
def maintenance_lock(folder: Path, stop: threading.Event) -> Iterator[None]:
    """Wait for the repository's housekeeping to end and keep it from beginning."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                stop.wait(0.1)
                check_stop(stop)
        yield
    finally:
        os.close(lock)


# Refs and their logs


def _list_refs(git: Git, folder: Path, refs: IO[bytes]) -> None:
    """Fill ``refs`` with lines of object id, ref, and what a symbolic ref points to."""
    command = git.command(
        "for-each-ref",
        ("--format", "%(objectname) %(refname) %(symref)"),
        git_dir=str(folder),
    )
    done = subprocess.run(
        command.argv,
        env=command.env,
        stdin=subprocess.DEVNULL,
        stdout=refs,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode != 0:
        raise Invalid(f"its refs cannot be read: {last_line(done.stderr)}")


def _parsed(refs: IO[bytes], stop: threading.Event) -> Iterator[tuple[bytes, bytes, bytes]]:
    refs.seek(0)
    for line in refs:
        check_stop(stop)
        oid, ref, target = line.rstrip(b"\n").split(b" ", 2)
        yield oid, ref, target


def _copy_refs(refs: IO[bytes], prefix: str, writer: Writer, stop: threading.Event) -> None:
    """All refs as one packed-refs file, but symbolic ones as they are."""
    with tempfile.TemporaryFile(dir=writer.folder) as packed:
        for oid, ref, target in _parsed(refs, stop):
            if target:
                writer.add_bytes(f"{prefix}/{os.fsdecode(ref)}", b"ref: " + target + b"\n")
            else:
                packed.write(oid + b" " + ref + b"\n")
        size = packed.tell()
        packed.seek(0)
        writer.add(f"{prefix}/packed-refs", packed, size)


def _copy_logs(
    refs: IO[bytes], folder: Path, prefix: str, writer: Writer, stop: threading.Event
) -> None:
    """Each ref's log, up to the value of the ref that we copied.

    git writes the log before it moves the ref. A log that knew more than its ref would make a
    restored daemon report pushes that the restored repository has not seen.
    """
    root = os.fsencode(folder / "logs")
    for oid, ref, _ in _parsed(refs, stop):
        path = os.path.join(root, ref)
        try:
            if os.path.getsize(path) > _LONGEST_LOG:
                continue
            with open(path, "rb") as file:
                log = cut_log(file.read(), oid)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            continue
        if log:
            writer.add_bytes(f"{prefix}/logs/{os.fsdecode(ref)}", log)


def cut_log(log: bytes, oid: bytes) -> bytes:
    """The log up to the last entry after which the ref was ``oid``; empty if there is none.

    A line is ``<old> <new> <who and when>\\t<message>``.
    """
    lines = log.splitlines(keepends=True)
    while lines and lines[-1].split(b" ", 2)[1:2] != [oid]:
        lines.pop()
    return b"".join(lines)


# Objects


def _copy_objects(folder: Path, prefix: str, writer: Writer, stop: threading.Event) -> None:
    done: set[str] = set()
    for objects in _object_folders(folder / "objects"):
        # A foreign gc does not know our lock. What it took away it has put into a new pack
        # first, which the next look finds.
        for _ in range(_MAX_LOOKS):
            if _copy_from(objects, prefix, done, writer, stop):
                break
        else:
            raise Invalid(f"files vanish from {objects} as fast as they are copied")


def _object_folders(objects: Path) -> list[Path]:
    """The repository's own folder and, transitively, its alternates (gitrepository-layout(5))."""
    found = [objects]
    for known in found:
        try:
            lines = (known / "info" / "alternates").read_text().splitlines()
        except FileNotFoundError:
            continue
        for line in lines:
            other = Path(os.path.realpath(known / line))
            if line and not line.startswith("#") and other.is_dir() and other not in found:
                found.append(other)
        if len(found) > _MAX_ALTERNATES:
            raise Invalid(f"it has more than {_MAX_ALTERNATES} alternates")
    return found


def _copy_from(
    objects: Path, prefix: str, done: set[str], writer: Writer, stop: threading.Event
) -> bool:
    """Add what is not ``done``; False if a file was gone before we came to it."""
    complete = True
    for names in _object_files(objects):
        check_stop(stop)
        if names[-1] in done:
            continue
        try:
            for name in names:
                needed = name in (names[0], names[-1])
                if name not in done and (needed or (objects / name).exists()):
                    writer.add_file(f"{prefix}/objects/{name}", objects / name)
                    done.add(name)
        except FileNotFoundError:
            complete = False
    return complete


def _object_files(objects: Path) -> Iterator[list[str]]:
    """Loose objects, then packs with what belongs to each, the index last; never unfinished ones.

    Loose objects come first because git packs them before it deletes them.
    """
    for fanout in _listing(objects):
        if _FANOUT.fullmatch(fanout):
            for name in _listing(objects / fanout):
                if _LOOSE.fullmatch(name):
                    yield [f"{fanout}/{name}"]
    for name in _listing(objects / "pack"):
        if match := _PACK_INDEX.fullmatch(name):
            yield [f"pack/{match[1]}{part}" for part in _PACK_PARTS]


def _listing(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


# Putting back


def put_back(folder: Path, inner: str, member: Member) -> None:
    """Write one member of a repository to ``folder`` (new, and ours alone)."""
    path = folder / inner
    if not folder.exists():
        for name in ("objects/info", "objects/pack", "refs/heads", "refs/tags", "info"):
            (folder / name).mkdir(parents=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o444 if inner.startswith("objects/") else 0o644
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, mode), "wb") as file:
        _copy_bytes(member.file, file)


def _copy_bytes(source: IO[bytes], target: IO[bytes]) -> None:
    while data := source.read(1024 * 1024):
        target.write(data)


def last_line(stderr: bytes) -> str:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"
