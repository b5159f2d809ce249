"""How deep the chains of deltas in a pack are, read from the headers of its objects alone.

Run as ``delta_depth.py LIMIT HASH_BYTES PACK.idx``, it prints the depth of the deepest chain, or
LIMIT + 1 as soon as one is deeper than that. Nothing is inflated; of the pack, some bytes for each
object are read. The formats are those of gitformat-pack(5).
"""

from __future__ import annotations

import mmap
import os
import resource
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Sequence

MEMORY = 640 * 1024 * 1024
"""Bytes of heap, at most. An object takes up to 28, and git itself gives up at 16 million objects
(wit.git.receive_pack, ALLOC_LIMIT)."""

OFS_DELTA, REF_DELTA = 6, 7

HEADER = 64
"""Bytes; more than an object's header takes: 10 for its size, and 32 for a base."""

_MAGIC = b"\xfftOc\x00\x00\x00\x02"
_FANOUT_AT = len(_MAGIC)
_IDS_AT = _FANOUT_AT + 256 * 4
_LARGE = 1 << 31
_NO_BASE = -1


class Index:
    """A pack's index, version 2: which objects are where."""

    def __init__(self, data: mmap.mmap, hash_bytes: int) -> None:
        if data[: len(_MAGIC)] != _MAGIC:
            raise ValueError("this is no index of version 2")
        self._data = data
        self.hash_bytes = hash_bytes
        self.count = self._fanout(255)

    def offsets(self) -> array[int]:
        """Where the objects begin, by id."""
        at = _IDS_AT + self.count * (self.hash_bytes + 4)  # behind ids and CRCs
        end = at + 4 * self.count
        small = _big_endian("I", self._data[at:end])
        beyond = sum(1 for offset in small if offset >= _LARGE)
        if not beyond:
            return small
        large = _big_endian("Q", self._data[end : end + 8 * beyond])
        return array("Q", (o if o < _LARGE else large[o - _LARGE] for o in small))

    def find(self, id: bytes) -> int:
        """The number of an object by its id. Raises ValueError if it is not there."""
        low = self._fanout(id[0] - 1) if id[0] else 0
        high = self._fanout(id[0])
        found = bisect_left(range(high), id, low, key=self._id)
        if found == high or self._id(found) != id:
            raise ValueError("the base of a delta is not in the pack")
        return found

    def _id(self, number: int) -> bytes:
        at = _IDS_AT + number * self.hash_bytes
        return self._data[at : at + self.hash_bytes]

    def _fanout(self, byte: int) -> int:
        (count,) = struct.unpack_from(">L", self._data, _FANOUT_AT + 4 * byte)
        return int(count)


def _big_endian(code: str, data: bytes) -> array[int]:
    numbers = array(code, data)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def in_order(offsets: array[int]) -> array[int]:
    """Sorted, in parts: a list of all of them would take five times the memory."""
    shift = max(0, max(offsets, default=0).bit_length() - 10)
    parts = [array(offsets.typecode) for _ in range(1 << 10)]
    for offset in offsets:
        parts[offset >> shift].append(offset)
    ordered = array(offsets.typecode)
    for part in parts:
        ordered.extend(sorted(part))
    return ordered


def read_bases(pack: int, index: Index) -> array[int]:
    """The base of each object, both numbered by their order in the pack; _NO_BASE without one.

    Raises ValueError or IndexError for a pack that is none.
    """
    by_id = index.offsets()
    offsets = in_order(by_id)
    bases = array("i", [_NO_BASE]) * len(offsets)
    read = os.pread
    for position, offset in enumerate(offsets):
        header = read(pack, HEADER, offset)
        byte = header[0]
        kind = byte >> 4 & 7
        if kind < OFS_DELTA:
            continue
        at = 1
        while byte & 0x80:  # the object's size
            byte = header[at]
            at += 1
        if kind == REF_DELTA:
            base = by_id[index.find(header[at : at + index.hash_bytes])]
        else:
            byte = header[at]
            distance = byte & 0x7F
            while byte & 0x80:
                at += 1
                byte = header[at]
                distance = (distance + 1) << 7 | byte & 0x7F
            base = offset - distance
        found = bisect_left(offsets, base)
        if found == len(offsets) or offsets[found] != base:
            raise ValueError("the base of a delta is not in the pack")
        bases[position] = found
    return bases


def deepest(bases: Sequence[int], limit: int) -> int:
    """The length of the longest chain; ``limit`` + 1 if one is longer, or never ends."""
    depths = array("i", [0]) * len(bases)
    longest = 0
    for start in range(len(bases)):
        chain = []
        at = start
        while bases[at] != _NO_BASE and not depths[at]:
            chain.append(at)
            if len(chain) > limit:
                return limit + 1
            at = bases[at]
        depth = depths[at]
        for at in reversed(chain):
            depth += 1
            depths[at] = depth
        if depth > limit:
            return limit + 1
        longest = max(longest, depth)
    return longest


def depth_of(index_path: str, hash_bytes: int, limit: int) -> int:
    """Of the pack that belongs to the index. Raises OSError, ValueError, IndexError."""
    pack = os.open(index_path.removesuffix(".idx") + ".pack", os.O_RDONLY)
    try:
        with (
            open(index_path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return deepest(read_bases(pack, Index(data, hash_bytes)), limit)
    finally:
        os.close(pack)


def main(limit: str, hash_bytes: str, index_path: str) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    memory = MEMORY if most == resource.RLIM_INFINITY else min(MEMORY, most)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, most))
    print(depth_of(index_path, int(hash_bytes), int(limit)))


if __name__ == "__main__":
    main(*sys.argv[1:])
