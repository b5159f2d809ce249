"""Blobs in a folder: ``<folder>/blobs/ab/cd/<sha512>``, written in ``<folder>/uploads``.

A blob appears under its name by a rename, after fsync of its bytes; the folder is synced before
commit returns. Writing a blob that is there already makes it new again, and removing an old one
holds a lock against that, so that the sweep cannot take what a publish is about to point to.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from wit.errors import NotFound, Unavailable
from wit.packages.blobs import Digests
from wit.runtime import Runtime, shielded

BLOCK = 256 * 1024
"""Bytes that go to or from the disk in one step off the reactor."""

_SHA512 = re.compile(r"[0-9a-f]{128}")


def blob_path(folder: Path, sha512: str) -> Path:
    """Where a blob of the store in ``folder`` is, if it is there. Raises NotFound."""
    if not _SHA512.fullmatch(sha512):
        raise NotFound("there is no such tarball")
    return folder / "blobs" / sha512[:2] / sha512[2:4] / sha512


class LocalBlobs:
    def __init__(self, folder: Path, runtime: Runtime) -> None:
        self._folder = folder
        self._uploads = folder / "uploads"
        self._lock = folder / "lock"
        self._runtime = runtime

    def path(self, sha512: str) -> Path:
        """Where a blob is, if it is there."""
        return blob_path(self._folder, sha512)

    async def writer(self) -> LocalWriter:
        path = self._uploads / self._runtime.new_id()
        fd = await shielded(self._create(path))
        return LocalWriter(self, path, fd, self._runtime)

    async def open(self, sha512: str, start: int = 0, stop: int | None = None) -> LocalBlob:
        path = self.path(sha512)
        try:
            return await self._runtime.in_thread(_open, path, start, stop, self._runtime)
        except FileNotFoundError:
            raise NotFound("there is no such tarball") from None

    async def size(self, sha512: str) -> int | None:
        try:
            status = await self._runtime.in_thread(os.stat, self.path(sha512))
        except (FileNotFoundError, NotFound):
            return None
        return status.st_size

    async def remove(self, sha512: str, older_than: datetime | None = None) -> None:
        await self._runtime.in_thread(self._remove, self.path(sha512), older_than)

    async def each(self) -> AsyncIterator[tuple[str, datetime]]:
        for folder in await self._runtime.in_thread(self._folders):
            for found in await self._runtime.in_thread(_files, folder):
                yield found

    async def clear_uploads(self, older_than: datetime) -> None:
        await self._runtime.in_thread(self._clear_uploads, older_than)

    # In threads

    async def _create(self, path: Path) -> int:
        with _disk():
            return await self._runtime.in_thread(_create, path)

    def keep(self, upload: Path, sha512: str) -> None:
        """Give the finished file ``upload`` its name, durably. Blocks."""
        target = self.path(sha512)
        missing = [folder for folder in (target.parent, *target.parents) if not folder.is_dir()]
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.utime(upload)
        with self._locked(fcntl.LOCK_SH):
            os.replace(upload, target)
        for folder in (target.parent, *(made.parent for made in missing)):
            _sync_folder(folder)

    def _remove(self, path: Path, older_than: datetime | None) -> None:
        with suppress(FileNotFoundError), self._locked(fcntl.LOCK_EX):
            if older_than is None or _written(path.stat()) < older_than:
                path.unlink()

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        fd = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, kind)
            yield
        finally:
            os.close(fd)

    def _folders(self) -> list[Path]:
        return sorted((self._folder / "blobs").glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]"))

    def _clear_uploads(self, older_than: datetime) -> None:
        for path in self._uploads.glob("*"):
            with suppress(FileNotFoundError):
                if _written(path.stat()) < older_than:
                    path.unlink()


class LocalWriter:
    """A BlobWriter: blocks of bytes are hashed and written off the reactor."""

    def __init__(self, blobs: LocalBlobs, path: Path, fd: int, runtime: Runtime) -> None:
        self._blobs = blobs
        self._path = path
        self._fd: int | None = fd
        self._runtime = runtime
        self._block = bytearray()
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._sha512 = hashlib.sha512()
        self._size = 0
        self._digests: Digests | None = None
        self._busy = threading.Lock()

    @property
    def path(self) -> str:
        return str(self._path)

    async def write(self, data: bytes) -> None:
        self._block += data
        if len(self._block) >= BLOCK:
            block, self._block = self._block, bytearray()
            with _disk():
                await self._runtime.in_thread(self._append, block)

    async def finish(self) -> Digests:
        if self._digests is None:
            with _disk():
                self._digests = await self._runtime.in_thread(self._finish)
        return self._digests

    async def commit(self) -> Digests:
        digests = await self.finish()
        with _disk():
            await self._runtime.in_thread(self._blobs.keep, self._path, digests.sha512)
        return digests

    async def discard(self) -> None:
        await self._runtime.in_thread(self._discard)

    def _append(self, block: bytearray) -> None:
        with self._busy:
            self._put(block)

    def _put(self, block: bytearray) -> None:
        if self._fd is None:
            raise OSError(errno.EBADF, "the upload was given up")
        self._sha1.update(block)
        self._sha512.update(block)
        self._size += len(block)
        with memoryview(block) as rest:
            done = 0
            while done < len(rest):
                done += os.write(self._fd, rest[done:])

    def _finish(self) -> Digests:
        with self._busy:
            self._put(self._block)
            assert self._fd is not None
            os.fsync(self._fd)
            self._close()
        return Digests(self._sha1.hexdigest(), self._sha512.hexdigest(), self._size)

    def _discard(self) -> None:
        """An append whose caller was cancelled may still be at work: it ends first."""
        with self._busy:
            self._close()
            with suppress(FileNotFoundError):
                self._path.unlink()

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


class LocalBlob:
    """A Blob over an open file, whose first block is read already."""

    def __init__(self, fd: int, left: int | None, runtime: Runtime) -> None:
        """Blocks: the first block is read at once."""
        self._fd: int | None = fd
        self._left = left
        self._runtime = runtime
        self._first = self._read()

    async def read(self) -> bytes:
        if self._first:
            data, self._first = self._first, b""
            return data
        if self._fd is None:
            return b""
        return await self._runtime.in_thread(self._read)

    async def close(self) -> None:
        self._first = b""
        self._close()

    def _read(self) -> bytes:
        """The next block, read now; the file is closed behind the last one."""
        if self._fd is None:
            return b""
        wanted = BLOCK if self._left is None else min(BLOCK, self._left)
        data = os.read(self._fd, wanted) if wanted else b""
        if self._left is not None:
            self._left -= len(data)
        if len(data) < wanted or self._left == 0 or not data:
            self._close()
        return data

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


def _open(path: Path, start: int, stop: int | None, runtime: Runtime) -> LocalBlob:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    if start:
        os.lseek(fd, start, os.SEEK_SET)
    left = None if stop is None else max(0, stop - start)
    return LocalBlob(fd, left, runtime)


def _create(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def _files(folder: Path) -> list[tuple[str, datetime]]:
    with os.scandir(folder) as entries:
        return [
            (entry.name, _written(entry.stat()))
            for entry in entries
            if _SHA512.fullmatch(entry.name)
        ]


def _written(status: os.stat_result) -> datetime:
    return datetime.fromtimestamp(status.st_mtime, UTC)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextmanager
def _disk() -> Iterator[None]:
    """What goes wrong with a disk, as a sentence for who publishes."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        reason = "its disk is full" if full else "its disk fails"
        raise Unavailable(f"the registry cannot keep this: {reason}", retry_after=60) from error
