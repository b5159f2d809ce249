"""Packuments of one uplink: fetched, made ours, kept on disk, and asked again when they are old.

What is kept is the document that clients get, gzip'd, with what is needed to ask for it again and
to find its tarballs. If the uplink is down, the old one is served.
"""

from __future__ import annotations

import json
import zlib
from collections import OrderedDict
from datetime import UTC, datetime
from urllib.parse import quote

import attrs
from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from wit.errors import NotFound, Unavailable
from wit.metrics import Metrics
from wit.packages.names import PackageName
from wit.packages.rendered import GZIP_LEVEL
from wit.packages.upstream.disk import DiskCache
from wit.packages.upstream.documents import Document, make_document
from wit.packages.upstream.sharing import Sharing
from wit.packages.upstream.wire import Failed, Wire, whole
from wit.runtime import Runtime

MISSING_SECONDS = 60.0
"""How long it is remembered that the uplink does not have a package."""
MISSING_NAMES = 10_000

FAILURES = 3
"""After so many in a row the uplink is left alone for a while."""
PAUSE_SECONDS = 10.0

MADE_AT_ONCE = 2
"""Documents that are made at the same time: each takes several times its size of memory."""

_FORMAT = 1
"""Of the files; others are as good as none."""
_KIND = "packuments"
_ACCEPT = {
    True: "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*",
    False: "application/json",
}

log = Logger()


@attrs.frozen
class Kept:
    """A packument in one form, as it is on disk."""

    etag: str
    """The uplink's; empty if it gave none."""
    modified: datetime
    checked: float
    """When the uplink last said that it is current (Unix time)."""
    dists: bytes = attrs.field(repr=False)
    packed: bytes = attrs.field(repr=False)
    """The document, gzip'd."""
    serial: int
    """Another one for each document, in this process."""


class Packuments:
    """``memory_bytes`` bounds what is kept in memory besides the disk."""

    def __init__(
        self,
        wire: Wire,
        disk: DiskCache,
        runtime: Runtime,
        metrics: Metrics,
        *,
        registry: str,
        memory_bytes: int,
    ) -> None:
        self._wire = wire
        self._disk = disk
        self._runtime = runtime
        self._answers = metrics.uplink_answers
        self._registry = registry
        self._memory_bytes = memory_bytes
        self._memory: OrderedDict[str, Kept] = OrderedDict()
        self._in_memory = 0
        self._missing: OrderedDict[str, float] = OrderedDict()
        self._sharing: Sharing[Kept] = Sharing()
        self._making = DeferredSemaphore(MADE_AT_ONCE)
        self._made = 0
        self._failures = 0
        self._paused_until = 0.0

    async def get(
        self, name: PackageName, *, abbreviated: bool, stale: bool = True, now: bool = False
    ) -> Kept:
        """The packument, as it is now or was a little while ago.

        ``stale``: an old one will do if the uplink cannot be asked. ``now``: the uplink is asked
        in any case. Raises NotFound, Unavailable.
        """
        key = self._key(name, abbreviated)
        kept = await self.kept(name, abbreviated=abbreviated)
        if not now:
            if kept is not None and 0 <= self._time() - kept.checked < self._max_age:
                self._count("cached")
                return kept
            if kept is None and self._missing.get(name.full, 0.0) > self._runtime.reactor.seconds():
                raise _not_found(name)
        try:
            return await self._sharing.get(key, lambda: self._refresh(key, name, abbreviated, kept))
        except Failed as error:
            self._count("stale" if stale and kept is not None else "failed")
            log.warn(
                "{uplink}: {package}: {why}",
                uplink=self._wire.uplink.name,
                package=name.full,
                why=str(error),
                stale=kept is not None,
            )
            if stale and kept is not None:
                return kept
            raise Unavailable(
                f"the upstream registry that {name.full} comes from cannot be asked; "
                "try again later",
                retry_after=int(PAUSE_SECONDS),
            ) from error

    async def kept(self, name: PackageName, *, abbreviated: bool) -> Kept | None:
        """What is kept, however old."""
        key = self._key(name, abbreviated)
        found = self._memory.get(key)
        if found is not None:
            self._memory.move_to_end(key)
            return found
        on_disk = await self._disk.read(_KIND, key)
        if on_disk is None:
            return None
        self._made += 1
        kept = _unpack(*on_disk, self._made)
        if kept is not None:
            self._remember(key, kept)
        return kept

    async def _refresh(
        self, key: str, name: PackageName, abbreviated: bool, kept: Kept | None
    ) -> Kept:
        """Ask the uplink. Raises Failed, NotFound."""
        if self._runtime.reactor.seconds() < self._paused_until:
            raise Failed("it failed several times and is left alone for a moment")
        try:
            fresh = await self._ask(name, abbreviated, kept)
        except Failed:
            self._failures += 1
            if self._failures >= FAILURES:
                self._paused_until = self._runtime.reactor.seconds() + PAUSE_SECONDS
            raise
        self._failures = 0
        if fresh is None:
            self._count("missing")
            self._forget(key, name)
            await self._disk.remove(_KIND, key)
            raise _not_found(name)
        if kept is not None and fresh.serial == kept.serial:
            await self._disk.touch_key(_KIND, key)
        else:
            await self._disk.write(_KIND, key, *_parts(fresh))
        self._missing.pop(name.full, None)
        self._remember(key, fresh)
        return fresh

    async def _ask(self, name: PackageName, abbreviated: bool, kept: Kept | None) -> Kept | None:
        """The current packument; None if the uplink has no such package. Raises Failed."""
        headers = {"Accept": _ACCEPT[abbreviated], "Accept-Encoding": "gzip"}
        if kept is not None and kept.etag:
            headers["If-None-Match"] = kept.etag
        limit = self._wire.uplink.max_packument_bytes
        async with self._wire.ask("GET", f"/{quote(name.full, safe='@')}", headers) as answer:
            if answer.status == 304 and kept is not None:
                self._count("unchanged")
                return attrs.evolve(kept, checked=self._time())
            if answer.status in (404, 410):
                return None
            if answer.status != 200:
                raise Failed(f"the answer is {answer.status}")
            raw = await whole(answer, limit, self._runtime)
            etag = answer.header("ETag")
        async with self._making:
            document, packed = await self._runtime.in_thread(self._make, raw, name, abbreviated)
        if document.left_out:
            log.warn(
                "{uplink}: {count} versions of {package} cannot be served",
                uplink=self._wire.uplink.name,
                count=document.left_out,
                package=name.full,
            )
        self._count("fetched")
        self._made += 1
        return Kept(
            etag if etag.isascii() and len(etag) < 1000 else "",
            document.modified,
            self._time(),
            document.dists,
            packed,
            self._made,
        )

    def _make(self, raw: bytes, name: PackageName, abbreviated: bool) -> tuple[Document, bytes]:
        try:
            document = make_document(
                raw,
                name,
                abbreviated=abbreviated,
                registry=self._registry,
                may_ask=self._wire.may_ask,
                now=self._runtime.now(),
            )
        except ValueError as error:
            raise Failed(f"the answer is no packument: {error}") from None
        packer = zlib.compressobj(GZIP_LEVEL, wbits=31)
        return document, packer.compress(document.body) + packer.flush()

    def _remember(self, key: str, kept: Kept) -> None:
        self._drop(key)
        self._memory[key] = kept
        self._in_memory += _cost(kept)
        while self._in_memory > self._memory_bytes and len(self._memory) > 1:
            self._drop(next(iter(self._memory)))

    def _drop(self, key: str) -> None:
        old = self._memory.pop(key, None)
        if old is not None:
            self._in_memory -= _cost(old)

    def _forget(self, key: str, name: PackageName) -> None:
        self._drop(key)
        self._missing[name.full] = self._runtime.reactor.seconds() + MISSING_SECONDS
        self._missing.move_to_end(name.full)
        while len(self._missing) > MISSING_NAMES:
            self._missing.popitem(last=False)

    def _key(self, name: PackageName, abbreviated: bool) -> str:
        """Documents have our address in them, and so has the key."""
        form = "abbreviated" if abbreviated else "full"
        return f"{self._wire.uplink.url} {self._registry} {form} {name.full}"

    @property
    def _max_age(self) -> float:
        return self._wire.uplink.max_age_seconds

    def _time(self) -> float:
        return self._runtime.now().timestamp()

    def _count(self, outcome: str) -> None:
        self._answers.labels(self._wire.uplink.name, "packument", outcome).inc()


def unpacked(kept: Kept) -> bytes:
    """The document. Blocks for as long as unpacking takes."""
    return zlib.decompress(kept.packed, wbits=31)


def _cost(kept: Kept) -> int:
    return len(kept.packed) + len(kept.dists) + 1024


def _parts(kept: Kept) -> tuple[bytes, bytes, bytes]:
    head = {
        "format": _FORMAT,
        "etag": kept.etag,
        "modified": kept.modified.timestamp(),
        "dists": len(kept.dists),
        "packed": len(kept.packed),
    }
    return json.dumps(head).encode() + b"\n", kept.dists, kept.packed


def _unpack(data: bytes, checked: float, serial: int) -> Kept | None:
    """What :func:`_parts` made; None if it is something else."""
    start = data.find(b"\n") + 1
    try:
        head = json.loads(data[:start])
        end = start + head["dists"]
        if head["format"] != _FORMAT or len(data) != end + head["packed"]:
            return None
        modified = datetime.fromtimestamp(head["modified"], UTC)
        return Kept(head["etag"], modified, checked, data[start:end], data[end:], serial)
    except (ValueError, KeyError, TypeError):
        return None


def _not_found(name: PackageName) -> NotFound:
    return NotFound(f"there is no package {name.full}")
