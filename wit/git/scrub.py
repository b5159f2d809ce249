"""Reading packs again, to notice bytes that rot on disk.

git's server side does not: it sends what a pack holds without a look at its checksum. Each pack is
verified when it is due, by a process of its own at the lowest priority. When it was verified last
stands in a file in the repository, so whoever is cut off goes on with the next pack.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress

import attrs

from wit.errors import Unavailable
from wit.git.process import DEVNULL, Child, spawn
from wit.git.programs import program
from wit.git.repository import BareRepository
from wit.runtime import Runtime

MARK = "wit-scrubbed"
"""A file of lines ``NAME TIME``: a pack, and when it was known to be sound, as time_t."""

NICENESS = 19

Progress = Callable[[int], object]
"""Told how many bytes of a pack have been read."""


@attrs.frozen
class Pack:
    """A pack of a repository."""

    path: str
    size: int
    """Bytes, without its index."""
    verified: float
    """When it was last known to be sound, as time_t: when it was verified, or written by git."""


async def look(runtime: Runtime, repo: BareRepository) -> list[Pack]:
    """The packs of ``repo``, the longest unverified first; packs that are new are noted.

    Raises Unavailable if the folder cannot be read.
    """
    try:
        return await runtime.in_thread(_look, repo.path)
    except OSError as error:
        raise Unavailable("the packs cannot be listed: is the folder there?") from error


async def verify(
    runtime: Runtime,
    repo: BareRepository,
    pack: Pack,
    *,
    bytes_per_second: int = 0,
    progress: Progress | None = None,
) -> str | None:
    """What is wrong with a pack or its index; None if it is sound (noted then) or not there.

    ``bytes_per_second`` 0 means as fast as the disk is. Cancelling it ends the process. Raises
    Unavailable if there is no telling now.
    """
    command = program("pack_checksum", str(bytes_per_second), repo.object_format, pack.path)
    async with spawn(runtime, command, stdin=DEVNULL) as child:
        with suppress(ProcessLookupError, PermissionError):
            os.setpriority(os.PRIO_PGRP, child.pid, NICENESS)
        word, _, found = (await _last_line(child, progress)).partition(" ")
        await child.wait()
    if word == "damaged":
        return found
    if word not in ("sound", "gone"):
        raise Unavailable("a pack could not be verified now")
    if word == "sound":
        now = runtime.now().timestamp()
        try:
            await runtime.in_thread(_note, repo.path, os.path.basename(pack.path), now)
        except OSError as error:
            raise Unavailable("it could not be noted that a pack is sound") from error
    return None


async def _last_line(child: Child, progress: Progress | None) -> str:
    rest = b""
    last = ""
    while data := await child.stdout.read():
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            last = os.fsdecode(line)
            if progress is not None and last.isdecimal():
                progress(int(last))
    return last


def overdue(packs: list[Pack], now: float, seconds: float) -> list[Pack]:
    """Those that nobody has verified for so long."""
    return [pack for pack in packs if now - pack.verified > seconds]


def listed(path: str) -> list[Pack]:
    """As :func:`look`, in any order, without noting anything. Blocks. Raises OSError."""
    known = _read(path)
    packs: list[Pack] = []
    try:
        entries = os.scandir(os.path.join(path, "objects", "pack"))
    except FileNotFoundError:
        return packs
    with entries:
        for entry in entries:
            if entry.name.startswith("pack-") and entry.name.endswith(".pack"):
                with suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    verified = known.get(entry.name, status.st_mtime)
                    packs.append(Pack(entry.path, status.st_size, verified))
    return packs


def _look(path: str) -> list[Pack]:
    packs = listed(path)
    # git sets a pack's time anew when somebody pushes what it holds already: keep the first one.
    times = {os.path.basename(pack.path): pack.verified for pack in packs}
    if times.keys() != _read(path).keys():
        _write(path, times)
    return sorted(packs, key=lambda pack: pack.verified)


def _note(path: str, name: str, time: float) -> None:
    _write(path, {**_read(path), name: time})


def _read(path: str) -> dict[str, float]:
    found = {}
    try:
        with open(os.path.join(path, MARK), encoding="ascii", errors="replace") as file:
            for line in file:
                name, _, time = line.partition(" ")
                with suppress(ValueError):
                    found[name] = float(time)
    except FileNotFoundError:
        pass
    return found


def _write(path: str, times: dict[str, float]) -> None:
    handle, unfinished = tempfile.mkstemp(dir=path, prefix=MARK)
    try:
        with os.fdopen(handle, "w", encoding="ascii", errors="replace") as file:
            file.writelines(f"{name} {time:.0f}\n" for name, time in sorted(times.items()))
        os.rename(unfinished, os.path.join(path, MARK))
    except BaseException:
        os.unlink(unfinished)
        raise
