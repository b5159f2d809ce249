"""Packs of repeated clones, as files that git itself writes and any number of clients read.

The first who asks for a pack starts a run whose standard output *is* the file; everybody else who
asks for the same reads that file too, from its beginning, while it still grows. So eight clones of
one tip cost one git process, and the daemon carries no byte into the cache. A run belongs to
nobody: the client that started it may leave. Only when nobody has read for a little while is an
unfinished run ended.

Several daemons may share the folder: each has a subfolder of its own (:mod:`wit.git.own_folder`).
"""

from __future__ import annotations

import enum
import errno
import os
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from wit.errors import Unavailable, WitError
from wit.git.own_folder import OwnFolder
from wit.latch import Latch
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.streams import CHUNK

READ_BYTES = 2 * CHUNK
"""Bytes that one read takes, at most: all the memory that a reader has."""

POLL_SECONDS = (0.002, 0.02)
"""Between two looks at a growing file: at first, and at most."""

GRACE_SECONDS = 5.0
"""How long an unfinished run without readers goes on, for a client that comes back."""

ENTRY_COST = 64 * 1024
"""What an entry counts beyond its size, so that many tiny ones cannot flood the folder."""

FREE_BYTES = 256 * 1024 * 1024
"""Disk that the cache leaves to others; with less than this it gives its files up."""

TICK_SECONDS = 1.0
"""Between two looks at age, sizes and free disk."""

Produce = Callable[[int], Coroutine[Any, Any, None]]
"""Runs git with the given descriptor as its standard output; returns when it has ended well and
raises when not. Cancelling it ends git."""

log = Logger()


class NotCached(Exception):
    """The cache cannot take this pack: make it without the cache. No byte has been read."""


class _State(enum.Enum):
    RUNNING = "running"
    COMPLETE = "complete"
    FAILED = "failed"
    GIVEN_UP = "given up"


class _Entry:
    """One file, and the run that writes it."""

    def __init__(self, path: str, now: float) -> None:
        self.path = path
        self.state = _State.RUNNING
        self.size = 0
        self.used = now
        self.readers = 0
        self.error: WitError | None = None
        self.ended = Latch()
        self.run: Deferred[None] | None = None
        self.grace: Any = None

    @property
    def cost(self) -> int:
        return self.size + ENTRY_COST

    def fail(self, error: WitError) -> None:
        """The run failed, unless that was the cache's own doing."""
        if self.state is _State.RUNNING:
            self.state = _State.FAILED
            self.error = error


class PackReader:
    """A ByteSource over one cached pack. ``close`` it, or use it in a ``with`` statement."""

    def __init__(self, cache: PackCache, entry: _Entry, fd: int) -> None:
        self._cache = cache
        self._entry = entry
        self._fd = fd
        self._position = 0

    @property
    def size(self) -> int | None:
        """Bytes in all; None while git is still writing."""
        return self._entry.size if self._entry.state is _State.COMPLETE else None

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._position

    async def read(self) -> bytes:
        """The next bytes, as soon as there are any.

        Raises the error with which the run failed, NotCached if the cache gave the entry up
        before the first byte was read, and Unavailable if the file is shorter than it was.
        """
        shortest, longest = POLL_SECONDS
        pause = shortest
        while True:
            entry = self._entry
            ended = entry.ended.opened
            if ended and (entry.state is not _State.COMPLETE):
                raise self._failure()
            data = await self._cache._read_at(self._fd, self._position)
            if ended and not data and self._position < entry.size:
                self._cache._give_up(entry)
                raise Unavailable("the server lost a part of this pack; try again")
            if data or ended:
                self._position += len(data)
                return data
            await entry.ended.wait_at_most(pause, self._cache.runtime.reactor)
            pause = min(pause * 1.5, longest)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
            self._cache._leave(self._entry)

    def __enter__(self) -> PackReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _failure(self) -> Exception:
        if self._entry.state is _State.GIVEN_UP and self._position == 0:
            return NotCached("the pack cache gave this pack up")
        return self._entry.error or Unavailable("the server ran out of space for this pack")


class PackCache:
    """One per daemon; ``start`` it before use and ``stop`` it at the end."""

    def __init__(
        self,
        directory: Path,
        max_bytes: int,
        max_seconds: float,
        runtime: Runtime,
        metrics: Metrics,
    ) -> None:
        self.runtime = runtime
        self._directory = directory
        self._max_bytes = max_bytes
        self._max_seconds = max_seconds
        self._metrics = metrics
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._runs: set[Deferred[None]] = set()
        self._bytes = 0
        self._made = 0
        self._folder: OwnFolder | None = None
        self._disk_full = False
        self._buffer = bytearray(READ_BYTES)
        self._timer = LoopingCall(self._tick)
        self._timer.clock = runtime.reactor

    async def start(self) -> None:
        """Take a subfolder and remove what dead processes left. Raises OSError."""
        self._folder = await self.runtime.in_thread(OwnFolder.claim, self._directory)
        self._timer.start(TICK_SECONDS, now=False).addErrback(
            lambda failure: log.failure("the pack cache is no longer looked after", failure)
        )

    async def stop(self) -> None:
        """End all runs and remove the files. Readers of complete packs can go on."""
        if self._timer.running:
            self._timer.stop()
        folder, self._folder = self._folder, None
        for run in list(self._runs):
            run.cancel()
        for run in list(self._runs):
            await run
        self._entries.clear()
        self._resize(-self._bytes)
        if folder is not None:
            await self.runtime.in_thread(folder.remove)

    @property
    def used_bytes(self) -> int:
        """What all entries count."""
        return self._bytes

    def __contains__(self, key: str) -> bool:
        return key in self._entries

    def open(self, key: str, produce: Produce, expected_bytes: int = 0) -> PackReader:
        """A reader of the pack ``key``, which ``produce`` makes if it is not there.

        ``expected_bytes`` is a guess: what might fill half the cache is not taken in.
        Raises NotCached if the pack must be made without the cache.
        """
        entry = self._entries.get(key)
        try:
            if entry is None:
                self._metrics.pack_cache_misses.inc()
                return self._begin(key, produce, expected_bytes)
            fd = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if entry is not None:
                self._drop(key, entry)
            raise NotCached(f"the pack cache cannot open a file: {error.strerror}") from error
        self._metrics.pack_cache_hits.inc()
        self._entries.move_to_end(key)
        return self._join(entry, fd)

    def _begin(self, key: str, produce: Produce, expected_bytes: int) -> PackReader:
        if self._folder is None or self._disk_full or expected_bytes > self._max_bytes // 2:
            raise NotCached("the pack cache has no room for this pack")
        self._made += 1
        path = os.path.join(self._folder.path, str(self._made))
        writing = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            reading = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(writing)
            os.unlink(path)
            raise
        entry = _Entry(path, self.runtime.reactor.seconds())
        self._entries[key] = entry
        self._resize(entry.cost)
        reader = self._join(entry, reading)
        run = Deferred.fromCoroutine(self._write(key, entry, writing, produce))
        if not run.called:
            entry.run = run
            self._runs.add(run)
            run.addBoth(lambda _: self._runs.discard(run))
        return reader

    def _join(self, entry: _Entry, fd: int) -> PackReader:
        entry.readers += 1
        entry.used = self.runtime.reactor.seconds()
        if entry.grace is not None:
            entry.grace.cancel()
            entry.grace = None
        return PackReader(self, entry, fd)

    def _leave(self, entry: _Entry) -> None:
        """A reader is gone; without any, an unfinished run gets its grace."""
        entry.readers -= 1
        entry.used = self.runtime.reactor.seconds()
        if not entry.readers and entry.run is not None:
            entry.grace = self.runtime.reactor.callLater(GRACE_SECONDS, entry.run.cancel)

    async def _write(self, key: str, entry: _Entry, fd: int, produce: Produce) -> None:
        """Have the file written, and settle what became of it. Raises nothing."""
        try:
            await produce(fd)
            entry.state = _State.COMPLETE
        except CancelledError:
            entry.fail(Unavailable("this transfer was ended; try again"))
        except WitError as error:
            if self._free_bytes() < FREE_BYTES // 4:
                entry.state = _State.GIVEN_UP
            entry.fail(error)
        except Exception:
            log.failure("making a pack for the cache failed")
            entry.fail(WitError("the server failed to make this pack"))
        size = os.fstat(fd).st_size
        os.close(fd)
        entry.run = None
        if entry.grace is not None and entry.grace.active():
            entry.grace.cancel()
        entry.grace = None
        if self._entries.get(key) is entry:
            self._resize(size - entry.size)
            entry.size = size
            if entry.state is not _State.COMPLETE:
                self._drop(key, entry)
        entry.size = size
        entry.ended.open()
        self._shrink()

    def _tick(self) -> None:
        """Expire what nobody used, measure what grows, and keep within the limits."""
        now = self.runtime.reactor.seconds()
        for key, entry in list(self._entries.items()):
            if entry.state is _State.RUNNING:
                with suppress(OSError):
                    size = os.stat(entry.path).st_size
                    self._resize(size - entry.size)
                    entry.size = size
            elif not entry.readers and now - entry.used > self._max_seconds:
                self._drop(key, entry)
        self._disk_full = self._free_bytes() < FREE_BYTES
        self._shrink()

    def _shrink(self) -> None:
        """Drop complete packs, the least recently used first, then give up unfinished ones."""
        for state in (_State.COMPLETE, _State.RUNNING):
            for key, entry in list(self._entries.items()):
                if self._bytes <= self._max_bytes and not self._disk_full:
                    return
                if entry.state is state:
                    if state is _State.RUNNING:
                        log.warn("the pack cache gives up a pack of {size} bytes", size=entry.size)
                        entry.state = _State.GIVEN_UP
                    self._drop(key, entry)
                    if entry.run is not None:
                        entry.run.cancel()

    def _give_up(self, entry: _Entry) -> None:
        """Its file is damaged."""
        log.error("{path} in the pack cache is shorter than it was", path=entry.path)
        for key, other in list(self._entries.items()):
            if other is entry:
                self._drop(key, entry)

    def _drop(self, key: str, entry: _Entry) -> None:
        """Forget the entry and unlink its file; whoever has it open reads on."""
        if self._entries.get(key) is entry:
            del self._entries[key]
            self._resize(-entry.cost)
            self.runtime.in_thread(_unlink, entry.path)

    def _resize(self, difference: int) -> None:
        self._bytes += difference
        self._metrics.pack_cache_bytes.set(self._bytes)

    def _free_bytes(self) -> int:
        if self._folder is None:
            return 0
        disk = os.statvfs(self._folder.path)
        return disk.f_bavail * disk.f_frsize

    async def _read_at(self, fd: int, position: int) -> bytes:
        """From the page cache at once; what must come from the disk, in a thread."""
        try:
            count = os.preadv(fd, [self._buffer], position, os.RWF_NOWAIT)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EOPNOTSUPP):
                raise
            return await self.runtime.in_thread(os.pread, fd, READ_BYTES, position)
        return bytes(memoryview(self._buffer)[:count])


def _unlink(path: str) -> None:
    """In a thread, as it takes time for a large file."""
    with suppress(FileNotFoundError):
        os.unlink(path)
