"""What annotated tags point to, read in-process.

Only headers are read of anything that is not a tag, so that a ref to a gigantic blob, or a small
pack that inflates to one, costs nothing.
"""

from __future__ import annotations

import re
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import BinaryIO

from dulwich.object_format import get_object_format
from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID
from dulwich.pack import OFS_DELTA, REF_DELTA, Pack

MAX_TAG = 1024 * 1024
"""Bytes in a tag object that is looked into; refs to larger ones are answered without peeling."""

MAX_NESTING = 16
"""Tags of tags that are followed."""

MAX_DELTAS = 4096
"""Length of a delta chain that is followed; git makes chains of 50."""

MAX_ALTERNATES = 16
"""Object folders that one repository may borrow from."""

_TAG = 4
_UNREADABLE = (
    KeyError,
    OSError,
    ValueError,
    AssertionError,
    StopIteration,
    RuntimeError,
    zlib.error,
)
_HEADER = re.compile(rb"object ([0-9a-f]{40}|[0-9a-f]{64})\ntype ([a-z]+)\n")


class Peeler:
    """Remembers what each object id peels to, for all repositories: objects never change.

    Its methods block and may be called from several threads at once.
    """

    def __init__(self, remembered: int = 65536) -> None:
        self._remembered = remembered
        self._peeled: OrderedDict[str, str | None] = OrderedDict()
        self._lock = threading.Lock()

    def peel(self, path: str, object_format: str, oids: Iterable[str]) -> dict[str, str | None]:
        """For each id what the tag leads to in the end, or None if it is no tag (or missing)."""
        answer: dict[str, str | None] = {}
        unknown = set()
        with self._lock:
            for oid in oids:
                if oid in self._peeled:
                    self._peeled.move_to_end(oid)
                    answer[oid] = self._peeled[oid]
                else:
                    unknown.add(oid)
        if not unknown:
            return answer
        # A repack may remove a pack under our hands; its objects are in another one then.
        for _ in range(2):
            found = _peel(path, object_format, unknown)
            answer.update(found)
            with self._lock:
                self._peeled.update(found)
                while len(self._peeled) > self._remembered:
                    self._peeled.popitem(last=False)
            unknown -= found.keys()
            if not unknown:
                break
        answer.update(dict.fromkeys(unknown))
        return answer


def _peel(path: str, object_format: str, oids: set[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    with ExitStack() as stack:
        stores = [
            stack.enter_context(
                closing(
                    DiskObjectStore(str(folder), object_format=get_object_format(object_format))
                )
            )
            for folder in _object_folders(Path(path) / "objects")
        ]
        for oid in oids:
            try:
                found[oid] = _follow(stores, oid)
            except _UNREADABLE:
                continue  # missing or damaged: it is not for us to find out why
    return found


def _follow(stores: list[DiskObjectStore], oid: str) -> str | None:
    """Raises KeyError if the object (or a tag that it leads to) is missing."""
    peeled = None
    for _ in range(MAX_NESTING):
        tag = _read_tag(stores, oid)
        header = _HEADER.match(tag) if tag is not None else None
        if header is None:
            return peeled
        peeled = oid = header[1].decode()
        if header[2] != b"tag":
            return peeled
    return None


def _object_folders(objects: Path) -> list[Path]:
    """The repository's own object folder and those it borrows from (gitrepository-layout(5))."""
    folders = [objects]
    for folder in folders:
        try:
            lines = (folder / "info" / "alternates").read_text("utf-8", "surrogateescape")
        except FileNotFoundError:
            continue
        for line in lines.splitlines():
            other = folder / line
            if line and not line.startswith("#") and other not in folders:
                folders.append(other)
        if len(folders) > MAX_ALTERNATES:
            break
    return folders


def _read_tag(stores: list[DiskObjectStore], oid: str) -> bytes | None:
    """The content of a tag, or None for any other object (and for a tag that is too large)."""
    for store in stores:
        try:
            with open(Path(store.path) / oid[:2] / oid[2:], "rb") as file:
                return _loose_tag(file)
        except FileNotFoundError:
            pass
        for pack in store.packs:
            try:
                offset = pack.index.object_offset(ObjectID(oid.encode()))
            except KeyError:
                continue
            if not _is_small_tag(pack, offset):
                return None
            return pack.get_raw(ObjectID(oid.encode()))[1]
    raise KeyError(oid)


def _loose_tag(file: BinaryIO) -> bytes | None:
    inflate = zlib.decompressobj()
    start = inflate.decompress(file.read(4096), 32)
    kind, _, rest = start.partition(b" ")
    size, _, content = rest.partition(b"\0")
    if kind != b"tag" or int(size) > MAX_TAG:
        return None
    compressed = inflate.unconsumed_tail + file.read(MAX_TAG)
    return content + inflate.decompress(compressed, MAX_TAG)


def _is_small_tag(pack: Pack, offset: int) -> bool:
    """Whether the object is a tag that is not too large (gitformat-pack(5))."""
    with open(pack.data.path, "rb") as file:
        for _ in range(MAX_DELTAS):
            file.seek(offset)
            bytes_ = iter(file.read(1024))
            first = next(bytes_)
            kind = first >> 4 & 7
            size = first & 15 | (_varint(bytes_) << 4 if first & 0x80 else 0)
            if kind == OFS_DELTA:
                offset -= _base_distance(bytes_)
            elif kind == REF_DELTA:
                length = pack.data.object_format.oid_length
                base = bytes(next(bytes_) for _ in range(length))
                offset = pack.index.object_offset(ObjectID(base.hex().encode()))
            else:
                return kind == _TAG and size <= MAX_TAG
            if size > MAX_TAG or _delta_result(bytes(bytes_)) > MAX_TAG:
                return False
    return False


def _varint(data: Iterator[int]) -> int:
    value = shift = 0
    while True:
        byte = next(data)
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value
        shift += 7


def _base_distance(data: Iterator[int]) -> int:
    byte = next(data)
    value = byte & 0x7F
    while byte & 0x80:
        byte = next(data)
        value = (value + 1) << 7 | byte & 0x7F
    return value


def _delta_result(compressed: bytes) -> int:
    """The size of the object that a delta makes: the second number in it."""
    sizes = iter(zlib.decompressobj().decompress(compressed, 32))
    _varint(sizes)
    return _varint(sizes)
