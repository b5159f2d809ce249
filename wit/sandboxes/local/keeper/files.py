"""Work on the files of a workspace, which belong to whoever attacks us.

It is done by a process that sees nothing but the sandbox's disk (:func:`.walls.lock_in`), so that
no symbolic link leads out of it, whatever the sandbox does meanwhile. What reads and removes may
override permissions there; what writes is the sandbox's own user.

Paths are absolute and normal, below /workspace. Raises OSError and :class:`Refused`.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import stat
import tarfile
from contextlib import suppress
from typing import Any, BinaryIO

from wit.sandboxes.local.keeper.walls import Disk

CHUNK = 256 * 1024
MAX_ENTRIES = 100_000
"""Of a directory that is listed."""
ENDLESS = 1 << 62
"""Bytes."""


class Refused(Exception):
    """``kind`` is ``invalid``, ``large`` or ``taken``; the sentence is for people."""

    def __init__(self, kind: str, sentence: str) -> None:
        super().__init__(sentence)
        self.kind = kind


def read(path: str, limit: int) -> int:
    """A descriptor to read the file from."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise Refused("invalid", "this is not a file")
    if found.st_size > limit:
        raise Refused("large", f"the file has {found.st_size} bytes; {limit} may be read")
    return fd


def write(path: str, content: BinaryIO, mode: int) -> None:
    """Put a whole file in place of what is there."""
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    if not _is_within(path, "/workspace"):
        raise Refused("invalid", "this path leads out of the workspace")
    os.makedirs(folder, exist_ok=True)
    if os.path.isdir(path):
        raise Refused("invalid", "there is a directory of this name")
    beside = f"{folder}/.{name[:200]}.{secrets.token_hex(8)}"
    try:
        _fill(beside, content, mode)
        os.rename(beside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside)
        raise


def entries(path: str) -> int:
    """A descriptor to read the entries of a directory from, as JSON."""
    found: list[dict[str, Any]] = []
    with os.scandir(path) as directory:
        for entry in directory:
            with suppress(FileNotFoundError):
                found.append(_described(entry))
            if len(found) > MAX_ENTRIES:
                raise Refused("large", f"the directory has more than {MAX_ENTRIES} entries")
    found.sort(key=lambda one: os.fsencode(one["name"]))
    fd = os.memfd_create("entries")
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(json.dumps(found).encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def remove(path: str) -> None:
    """A file, or a directory with all in it."""
    if path == "/workspace":
        raise Refused("invalid", "the workspace itself cannot be removed")
    if stat.S_ISDIR(os.lstat(path).st_mode):
        remove_tree(path)
    else:
        os.unlink(path)


def remove_tree(path: str) -> None:
    """A directory with all in it, however deep: what lies deeper is moved up before it goes."""
    unlikely = secrets.token_hex(8)
    count = 0
    pending = [path]
    while pending:
        folder = pending.pop()
        with os.scandir(folder) as directory:
            for entry in directory:
                if not entry.is_dir(follow_symlinks=False):
                    os.unlink(entry.path)
                    continue
                moved = f"{path}/{unlikely}-{count}"
                count += 1
                os.rename(entry.path, moved)
                pending.append(moved)
        if folder != path:
            os.rmdir(folder)
    os.rmdir(path)


def unpack(path: str, archive: BinaryIO) -> None:
    """Unpack a tar archive that is read from its beginning to its end."""
    os.makedirs(path, exist_ok=True)
    base = os.path.realpath(path)
    if not _is_within(base, "/workspace"):
        raise Refused("invalid", "this path leads out of the workspace")
    modes: list[tuple[str, int]] = []
    try:
        with tarfile.open(fileobj=archive, mode="r|", bufsize=CHUNK) as members:
            for member in members:
                target = _place(base, member.name)
                if member.isdir():
                    os.makedirs(target, exist_ok=True)
                    modes.append((target, member.mode & 0o777))
                    continue
                os.makedirs(os.path.dirname(target), exist_ok=True)
                if os.path.lexists(target):
                    os.unlink(target)
                if member.issym():
                    os.symlink(member.linkname, target)
                elif member.islnk():
                    os.link(_place(base, member.linkname), target, follow_symlinks=False)
                elif member.isreg():
                    content = members.extractfile(member)
                    assert content is not None
                    _fill(target, content, member.mode & 0o777)  # type: ignore[arg-type]
                    os.utime(target, (member.mtime, member.mtime))
                else:
                    raise Refused("invalid", f"{member.name[:200]!r} is neither file nor folder")
    except tarfile.TarError as error:
        raise Refused("invalid", f"this is not a whole tar archive: {error}") from None
    finally:
        for folder, mode in reversed(modes):
            os.chmod(folder, mode | stat.S_IRWXU)
    while archive.read(CHUNK):  # what stands behind the end of the archive
        pass


def pack(path: str, output: BinaryIO) -> None:
    """Write a file or directory as a tar archive, names relative to it."""
    with tarfile.open(
        fileobj=output, mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK
    ) as archive:
        if not stat.S_ISDIR(os.lstat(path).st_mode):
            _add(archive, path, os.path.basename(path))
            return
        pending = [path]
        while pending:
            folder = pending.pop()
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as directory:
                for entry in directory:
                    _add(archive, entry.path, os.path.relpath(entry.path, path))
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)


def space(disk: Disk) -> tuple[int, int]:
    """Bytes and inodes that the sandbox takes of its disk.

    A folder in which paths grow longer than the system takes counts as more than anybody has.
    """
    if disk["kind"] != "folder":
        found = os.statvfs("/")
        return (found.f_blocks - found.f_bfree) * found.f_frsize, found.f_files - found.f_ffree
    size, pending, seen = 0, ["/"], set()
    while pending:
        try:
            with os.scandir(pending.pop()) as directory:
                for entry in directory:
                    status = entry.stat(follow_symlinks=False)
                    if status.st_ino not in seen:
                        seen.add(status.st_ino)
                        size += status.st_blocks * 512
                        if stat.S_ISDIR(status.st_mode):
                            pending.append(entry.path)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return ENDLESS, len(seen)
            # else it has vanished meanwhile
    return size, len(seen)


def _fill(path: str, content: BinaryIO, mode: int) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb", buffering=0) as file:
        while data := content.read(CHUNK):
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        os.fchmod(fd, mode)


def _place(base: str, name: str) -> str:
    """Where a member of an archive goes; every folder on its way lies below ``base``."""
    path = os.path.join(base, name)
    folder, last = os.path.split(path.rstrip("/"))
    if last in ("", "."):
        folder, last = os.path.split(os.path.normpath(path))
    real = os.path.join(os.path.realpath(folder), last)
    refused = last == ".." or ".." in name.split("/") or "\0" in name
    if refused or not (_is_within(real, base) or real == base):
        raise Refused("invalid", f"{name[:200]!r} would land outside")
    if os.path.islink(real) and name.endswith("/"):
        raise Refused("invalid", f"{name[:200]!r} would land outside")
    return real


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _add(archive: tarfile.TarFile, path: str, name: str) -> None:
    """Add one entry; what vanishes meanwhile, and what is no file, link or folder, is left out."""
    info = tarfile.TarInfo(name)
    with suppress(FileNotFoundError):
        found = os.lstat(path)
        info.mode, info.mtime = stat.S_IMODE(found.st_mode) & 0o777, int(found.st_mtime)
        if stat.S_ISLNK(found.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
            archive.addfile(info)
        elif stat.S_ISDIR(found.st_mode):
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
        elif stat.S_ISREG(found.st_mode):
            with open(path, "rb", opener=_open_beside_writers) as file:
                info.size = os.fstat(file.fileno()).st_size
                archive.addfile(info, _Exactly(file, info.size))  # type: ignore[arg-type]


def _open_beside_writers(path: str, flags: int) -> int:
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(path)
    return fd


class _Exactly:
    """A file of just the size that was announced, while somebody may be writing to it."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._left = size

    def read(self, size: int) -> bytes:
        size = min(size, self._left)
        data = self._file.read(size).ljust(size, b"\0")
        self._left -= size
        return data


def _described(entry: os.DirEntry[str]) -> dict[str, Any]:
    found = entry.stat(follow_symlinks=False)
    kind = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}.get(
        stat.S_IFMT(found.st_mode), "other"
    )
    return {
        "name": entry.name,
        "kind": kind,
        "size": found.st_size if kind == "file" else 0,
        "mode": stat.S_IMODE(found.st_mode),
        "modified": found.st_mtime,
        "target": os.readlink(entry.path) if kind == "symlink" else None,
    }
