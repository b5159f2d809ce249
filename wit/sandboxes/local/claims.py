"""Folders of control groups that belong to one daemon each, and which of them are a dead one's.

A living daemon holds a lock (flock(2)) on its folder, which the kernel drops when the daemon ends,
however it ends. Everything here blocks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from pathlib import Path

CLAIM_SECONDS = 2.0
"""How long somebody who looks whether we are dead may have the lock."""

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def claim(folder: Path) -> int:
    """Make the folder, unless it is there, and lock it; the descriptor holds the lock.

    Raises OSError, EBUSY if another daemon has it.
    """
    deadline = time.monotonic() + CLAIM_SECONDS
    while time.monotonic() < deadline:
        folder.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # removed by one that took us for dead: again
            fd = os.open(folder, _FLAGS)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.stat(folder).st_ino == os.fstat(fd).st_ino:
                    return fd
            except BlockingIOError:
                time.sleep(0.01)
            except FileNotFoundError:
                pass
            os.close(fd)
    raise OSError(errno.EBUSY, "another wit uses it", str(folder))


def remove_dead(parent: Path, prefix: str) -> None:
    """Remove folders with such names whose daemons are no more, and the empty groups in them.
    Where something still runs, the group stays."""
    for folder in parent.glob(f"{prefix}*"):
        with suppress(OSError):
            fd = os.open(folder, _FLAGS)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for group in folder.iterdir():
                    if group.is_dir():
                        with suppress(OSError):
                            group.rmdir()
                folder.rmdir()
            finally:
                os.close(fd)
