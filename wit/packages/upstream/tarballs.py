"""Tarballs of uplinks: fetched once for everybody who wants them, checked, and kept.

Bytes go to clients while they come, from the file that they are written to. The last one is held
back until all of them were checked: who follows a tarball that is not what the packument promised
sees it break off, and it is not kept.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from wit.errors import Unavailable, WitError
from wit.latch import Latch
from wit.packages.blobs import Blob, Digests
from wit.packages.local_blobs import BLOCK, LocalBlobs
from wit.packages.names import PackageName
from wit.packages.served import Tarball
from wit.packages.upstream.disk import DiskCache
from wit.packages.upstream.documents import Dist
from wit.packages.upstream.wire import Answer, Failed, Wire
from wit.runtime import Runtime
from wit.streams import StreamClosed

GRACE_SECONDS = 5.0
"""How long a tarball that nobody reads goes on coming, for a client that comes back."""

_ALIASES = "sha1"
"""Kind of cached files that say which SHA-512 belongs to a SHA-1, for packages from before 2017."""

log = Logger()


class Tarballs:
    def __init__(self, disk: DiskCache, max_bytes: int, runtime: Runtime) -> None:
        self._disk = disk
        self._blobs = LocalBlobs(disk.folder, runtime)
        self._max_bytes = max_bytes
        self._runtime = runtime
        self._arriving: dict[str, _Arrival] = {}

    async def get(self, wire: Wire, name: PackageName, dist: Dist) -> tuple[Tarball, bool]:
        """The tarball, and whether it was here already.

        Raises Unavailable: the uplink cannot be reached, or its tarball is not what it should be.
        """
        key = dist.sha512 or _alias(dist)
        if key not in self._arriving and (kept := await self._kept(dist)) is not None:
            return kept, True
        arrival = self._arriving.get(key)
        if arrival is None:
            arrival = self._arriving[key] = _Arrival(self._runtime)
            arrival.work = Deferred.fromCoroutine(self._fetch(arrival, key, wire, dist))
            arrival.work.addErrback(
                lambda failure: log.failure("fetching {name} failed", failure, name=name.full)
            )
        with arrival.wanted():
            await arrival.begun.wait()
            if arrival.size is None or arrival.size <= BLOCK or not dist.sha512:
                await arrival.ended.wait()
        if arrival.error is not None:
            raise arrival.error
        if arrival.digests is not None:
            return self._tarball(arrival.digests.sha512, arrival.digests.size), False
        assert arrival.size is not None
        opening = _Opening(arrival, self._blobs, dist.sha512)
        return Tarball(arrival.size, dist.sha512, opening), False

    async def stop(self) -> None:
        """End what is coming."""
        for arrival in list(self._arriving.values()):
            if arrival.work is not None:
                arrival.work.cancel()
                await arrival.ended.wait()

    async def _kept(self, dist: Dist) -> Tarball | None:
        sha512 = dist.sha512
        if not sha512:
            found = await self._disk.read(_ALIASES, _alias(dist))
            if found is None:
                return None
            sha512 = found[0].decode()
        size = await self._blobs.size(sha512)
        if size is None:
            return None
        await self._disk.touch(self._blobs.path(sha512))
        return self._tarball(sha512, size)

    def _tarball(self, sha512: str, size: int) -> Tarball:
        async def open_(start: int, stop: int | None) -> Blob:
            return await self._blobs.open(sha512, start, stop)

        return Tarball(size, sha512, open_)

    async def _fetch(self, arrival: _Arrival, key: str, wire: Wire, dist: Dist) -> None:
        try:
            async with wire.ask("GET", dist.url) as answer:
                await self._take(arrival, answer, dist)
        except CancelledError:
            arrival.error = Unavailable("fetching this tarball was ended; try again")
        except (Failed, StreamClosed) as error:
            log.warn("{uplink}: {url}: {why}", uplink=wire.uplink.name, url=dist.url, why=error)
            arrival.error = Unavailable("the upstream registry did not give this tarball")
        except WitError as error:
            arrival.error = error
        except Exception:
            arrival.error = Unavailable("the registry failed to fetch this tarball")
            raise
        finally:
            del self._arriving[key]
            arrival.finish()

    async def _take(self, arrival: _Arrival, answer: Answer, dist: Dist) -> None:
        """Write the answer down and check it. Raises Failed, StreamClosed, Unavailable."""
        if answer.status != 200:
            raise Failed(f"the answer is {answer.status}")
        if answer.size is not None and answer.size > self._max_bytes:
            raise Failed(f"it has {answer.size} bytes")
        writer = await self._blobs.writer()
        try:
            arrival.begin(writer.path, answer.size)
            came = 0
            while data := await answer.body.read():
                came += len(data)
                if came > self._max_bytes:
                    raise Failed(f"it has more than {self._max_bytes} bytes")
                await writer.write(data)
                arrival.progress()
            digests = await writer.finish()
            if answer.size is not None and came != answer.size:
                raise Failed(f"{came} bytes came instead of {answer.size}")
            if digests.sha512 != (dist.sha512 or digests.sha512) or (
                not dist.sha512 and digests.sha1 != dist.sha1
            ):
                raise Failed("its bytes are not those that the packument promises")
            arrival.checked = True
            arrival.progress()
            await writer.commit()
            arrival.digests = digests
        finally:
            await writer.discard()
        self._disk.grew(digests.size)
        if not dist.sha512:
            await self._disk.write(_ALIASES, _alias(dist), digests.sha512.encode())


def _alias(dist: Dist) -> str:
    """Of one address only: two tarballs can be made that have the same SHA-1."""
    return f"{dist.sha1} {dist.url}"


class _Arrival:
    """A tarball that is coming. Nobody owns it; without anybody who wants it, it is given up."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.work: Deferred[None] | None = None
        self.begun = Latch()
        self.ended = Latch()
        self.news = Latch()
        self.path = ""
        self.size: int | None = None
        self.checked = False
        self.digests: Digests | None = None
        """Once it is kept."""
        self.error: WitError | None = None
        self._wanted = 0
        self._grace: Any = None

    @property
    def visible(self) -> int:
        """Bytes that may be handed out, if they are on the disk already."""
        assert self.size is not None
        return self.size if self.checked else self.size - 1

    @contextmanager
    def wanted(self) -> Iterator[None]:
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        self._wanted += 1
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None

    def leave(self) -> None:
        self._wanted -= 1
        if not self._wanted and not self.ended.opened:
            self._grace = self.runtime.reactor.callLater(GRACE_SECONDS, self._give_up)

    def begin(self, path: str, size: int | None) -> None:
        self.path = path
        self.size = size
        self.begun.open()

    def progress(self) -> None:
        news, self.news = self.news, Latch()
        news.open()

    def finish(self) -> None:
        if self._grace is not None:
            self._grace.cancel()
            self._grace = None
        self.begun.open()
        self.ended.open()
        self.progress()

    def _give_up(self) -> None:
        self._grace = None
        if self.work is not None:
            self.work.cancel()


class _Opening:
    """``Tarball.open`` of one that is still coming."""

    def __init__(self, arrival: _Arrival, blobs: LocalBlobs, sha512: str) -> None:
        self._arrival = arrival
        self._blobs = blobs
        self._sha512 = sha512

    def __call__(self, start: int, stop: int | None) -> Awaitable[Blob]:
        return self._open(start, stop)

    async def _open(self, start: int, stop: int | None) -> Blob:
        arrival = self._arrival
        assert arrival.size is not None
        whole = start == 0 and (stop is None or stop >= arrival.size)
        if whole and not arrival.ended.opened:
            # At once: a rename may be next, and an open file survives it.
            fd = os.open(arrival.path, os.O_RDONLY | os.O_CLOEXEC)
            return _Follower(arrival, fd)
        with arrival.wanted():
            await arrival.ended.wait()
        if arrival.error is not None:
            raise arrival.error
        return await self._blobs.open(self._sha512, start, stop)


class _Follower:
    """A Blob over the file of a tarball that is coming."""

    def __init__(self, arrival: _Arrival, fd: int) -> None:
        self._arrival = arrival
        self._fd = fd
        self._at = 0
        self._closed = False
        arrival.enter()

    async def read(self) -> bytes:
        """Raises StreamClosed if the tarball broke off or is not what it should be."""
        arrival = self._arrival
        assert arrival.size is not None
        while not self._closed:
            if self._at == arrival.size:
                await self.close()
                break
            if arrival.error is not None:
                await self.close()
                raise StreamClosed(arrival.error.message)
            news = arrival.news
            wanted = min(BLOCK, arrival.visible - self._at)
            data = await self._read_at(wanted)
            if data:
                self._at += len(data)
                return data
            await news.wait()
        return b""

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self._fd)
            self._arrival.leave()

    async def _read_at(self, wanted: int) -> bytes:
        if wanted <= 0:
            return b""
        pread: Callable[[int, int, int], bytes] = os.pread
        return await self._arrival.runtime.in_thread(pread, self._fd, wanted, self._at)
