"""A subfolder for one process, in a folder that several processes share.

A locked file beside it (flock(2)) tells the living from the dead, whose subfolders the next one to
come removes. Everything here blocks.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

import attrs

_LOCK = ".lock"


@attrs.frozen
class OwnFolder:
    """The subfolder of one process, and the locked file that says it is alive."""

    path: str
    lock: int

    @classmethod
    def claim(cls, directory: Path) -> OwnFolder:
        """Sweep out the dead, then take a folder. Raises OSError.

        The lock comes first: a folder without one is dead.
        """
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for lock in directory.glob(f"*{_LOCK}"):
            if (fd := _lock(str(lock))) is not None:
                cls(str(lock).removesuffix(_LOCK), fd).remove()
        while True:
            path = str(directory / f"{os.getpid()}-{time.monotonic_ns():x}")
            if (fd := _lock(path + _LOCK)) is not None:
                os.mkdir(path, 0o700)
                return cls(path, fd)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(FileNotFoundError):
            os.unlink(self.path + _LOCK)
        os.close(self.lock)


def _lock(path: str) -> int | None:
    """The locked file, or None if somebody else has it, or removed it meanwhile."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.stat(path).st_ino == os.fstat(fd).st_ino:
            return fd
    except OSError:
        pass
    os.close(fd)
    return None
