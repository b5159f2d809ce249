"""Packs to begin a checkout with: everything that one commit leads to, and nothing else.

A sandbox never sees the repository's own store, where there is more than the commit's history:
hidden refs, deleted branches, what alternates share. git writes a pack and its index of just what
the commit reaches, once for each commit; sandboxes then get copies of the two files.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import attrs
from twisted.logger import Logger

from wit.errors import Unavailable
from wit.git.command import MEMORY_CONFIG, Git
from wit.git.governor import Governor
from wit.git.own_folder import OwnFolder
from wit.git.process import run
from wit.git.repository import BareRepository
from wit.latch import Latch
from wit.runtime import Runtime

HISTORY_BYTES = 64 * 1024 * 1024
"""Packs of a repository, up to which a checkout brings its whole history; of a larger one it has
the commit alone, and ``git fetch --unshallow`` brings the rest."""

MAX_BYTES = 1024 * 1024 * 1024
MAX_PACKS = 256
"""What is kept."""

PACK_SECONDS = 300.0

_UNFINISHED = ".new"

log = Logger()


@attrs.frozen
class CommitPack:
    """A pack and its index, as open files; whoever asked for it closes it."""

    name: str
    """``pack-<hash>``."""
    shallow: bool
    """Whether the commit's parents are missing."""
    pack: int
    index: int

    def close(self) -> None:
        os.close(self.pack)
        os.close(self.index)


class CommitPacks:
    """One per daemon; has a folder of its own that ends with it."""

    def __init__(self, folder: Path, git: Git, runtime: Runtime, governor: Governor) -> None:
        self._folder = folder
        self._git = git
        self._runtime = runtime
        self._governor = governor
        self._own: OwnFolder | None = None
        self._making: dict[str, Latch] = {}

    async def start(self) -> None:
        self._own = await self._runtime.in_thread(OwnFolder.claim, self._folder)

    async def stop(self) -> None:
        own, self._own = self._own, None
        if own is not None:
            await self._runtime.in_thread(own.remove)

    async def open(self, repo: BareRepository, commit: str, user_key: str) -> CommitPack:
        """The pack of ``commit``, which the caller may have. Raises Unavailable."""
        if self._own is None:
            raise Unavailable("the server is stopping; try again in a minute", retry_after=60)
        shallow = await self._runtime.in_thread(_packed_bytes, repo.path) > HISTORY_BYTES
        place = os.path.join(self._own.path, f"{repo.key}-{commit}-{'one' if shallow else 'all'}")
        while True:
            found = await self._runtime.in_thread(_open, place, shallow)
            if found is not None:
                return found
            if place in self._making:
                await self._making[place].wait()
            else:
                self._making[place] = Latch()
                try:
                    await self._make(repo, commit, shallow, place, user_key)
                finally:
                    self._making.pop(place).open()

    async def _make(
        self, repo: BareRepository, commit: str, shallow: bool, place: str, user_key: str
    ) -> None:
        await self._runtime.in_thread(_make_room, os.path.dirname(place))
        unfinished = f"{place}{_UNFINISHED}"
        await self._runtime.in_thread(_fresh, unfinished)
        command = self._git.command(
            "pack-objects",
            "--revs",
            "--delta-base-offset",
            "-q",
            git_dir=repo.path,
            operands=[os.path.join(unfinished, "pack")],
            config=[*MEMORY_CONFIG, ("pack.writeReverseIndex", "false")],
        )
        wanted = f"--shallow {commit}\n{commit}\n" if shallow else f"{commit}\n"
        try:
            async with self._governor.slot(repo.key, user_key):
                done = await run(self._runtime, command, wanted.encode(), timeout=PACK_SECONDS)
            if done.code != 0:
                log.error(
                    "git pack-objects ended with {code} in {repo}: {said}",
                    code=done.code,
                    repo=repo.key,
                    said=done.stderr.decode("utf-8", "replace"),
                )
                raise Unavailable("this commit could not be packed for a checkout")
            await self._runtime.in_thread(os.rename, unfinished, place)
        except BaseException:
            await self._runtime.in_thread(shutil.rmtree, unfinished, ignore_errors=True)
            raise


def _packed_bytes(path: str) -> int:
    total = 0
    with suppress(OSError):
        for entry in os.scandir(os.path.join(path, "objects", "pack")):
            if entry.name.endswith(".pack"):
                total += entry.stat().st_size
    return total


def _open(place: str, shallow: bool) -> CommitPack | None:
    try:
        name = next(n[:-5] for n in os.listdir(place) if n.endswith(".pack"))
        pack = os.open(os.path.join(place, f"{name}.pack"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            index = os.open(os.path.join(place, f"{name}.idx"), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(pack)
            raise
    except (StopIteration, OSError):
        return None
    with suppress(OSError):
        os.utime(place)
    return CommitPack(name, shallow, pack, index)


def _fresh(folder: str) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.mkdir(folder, 0o700)


def _make_room(folder: str) -> None:
    """Remove what was not used for longest, beyond the limits; open files stay readable."""
    kept: list[tuple[float, int, str]] = []
    for entry in os.scandir(folder):
        if entry.name.endswith(_UNFINISHED):
            continue
        with suppress(OSError):
            size = sum(file.stat().st_size for file in os.scandir(entry.path))
            kept.append((entry.stat().st_mtime, size, entry.path))
    kept.sort()
    total = sum(size for _, size, _ in kept)
    while kept and (len(kept) >= MAX_PACKS or total > MAX_BYTES):
        _, size, path = kept.pop(0)
        total -= size
        shutil.rmtree(path, ignore_errors=True)
