"""The folder of what came from uplinks: files by key, the oldest removed when it grows too large.

It is a cache: whoever deletes it loses nothing but time. Daemons may share it.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from contextlib import suppress
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from wit.runtime import Runtime

LEFT_OVER_SECONDS = 3600.0
"""After which a file that somebody began and never ended is removed."""

UNFINISHED = "uploads"
"""The folder in which files begin."""

log = Logger()


class DiskCache:
    """``folder`` holds at most ``max_bytes``, give or take a sixteenth."""

    def __init__(self, folder: Path, max_bytes: int, runtime: Runtime) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._runtime = runtime
        self._grown = 0
        self._sweeping: Deferred[None] | None = None

    async def read(self, kind: str, key: str) -> tuple[bytes, float] | None:
        """What is kept and when it was written or touched (Unix time); None if nothing is."""
        return await self._runtime.in_thread(_read, self._path(kind, key))

    async def write(self, kind: str, key: str, *parts: bytes) -> None:
        """Keep ``parts``, all or nothing. A disk that is full is a line in the log."""
        try:
            size = await self._runtime.in_thread(self._write, self._path(kind, key), parts)
        except OSError as error:
            log.error("the cache of uplinks cannot keep a file: {why}", why=error.strerror)
            return
        self.grew(size)

    async def touch(self, path: Path) -> None:
        """Note that the file was used."""
        await self._runtime.in_thread(_touch, path)

    async def touch_key(self, kind: str, key: str) -> None:
        await self.touch(self._path(kind, key))

    async def remove(self, kind: str, key: str) -> None:
        await self._runtime.in_thread(_remove, self._path(kind, key))

    def grew(self, size: int) -> None:
        """So many bytes came in; now and then that makes it look for what must go."""
        self._grown += size
        if self._grown > self._max_bytes // 16 and self._sweeping is None:
            self._grown = 0
            self._sweeping = self._runtime.in_thread(self.sweep)
            self._sweeping.addErrback(
                lambda failure: log.failure("the cache of uplinks was not tidied", failure)
            )
            self._sweeping.addBoth(self._swept)

    def _swept(self, _: object) -> None:
        self._sweeping = None

    def sweep(self) -> None:
        """Remove what was used longest ago until the rest fits, and what never ended. Blocks."""
        now = self._runtime.now().timestamp()
        files: list[tuple[float, int, str]] = []
        for folder, _, names in os.walk(self.folder):
            if folder == str(self.folder):
                continue  # locks
            unfinished = os.path.basename(folder) == UNFINISHED
            for name in names:
                path = os.path.join(folder, name)
                with suppress(OSError):
                    status = os.stat(path)
                    if not unfinished:
                        files.append((status.st_mtime, status.st_size, path))
                    elif now - status.st_mtime > LEFT_OVER_SECONDS:
                        os.unlink(path)
        files.sort()
        surplus = sum(size for _, size, _ in files) - self._max_bytes
        for _, size, path in files:
            if surplus <= 0:
                break
            surplus -= size
            with suppress(OSError):
                os.unlink(path)

    def _path(self, kind: str, key: str) -> Path:
        digest = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / kind / digest[:2] / digest

    def _write(self, path: Path, parts: tuple[bytes, ...]) -> int:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        beginning = self.folder / UNFINISHED
        beginning.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=beginning)
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(parts)
                file.flush()
                os.fdatasync(handle)
            os.replace(temporary, path)
        except BaseException:
            _remove(Path(temporary))
            raise
        return sum(map(len, parts))


def _read(path: Path) -> tuple[bytes, float] | None:
    try:
        with path.open("rb") as file:
            return file.read(), os.fstat(file.fileno()).st_mtime
    except OSError:
        return None


def _touch(path: Path) -> None:
    with suppress(OSError):
        os.utime(path)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
