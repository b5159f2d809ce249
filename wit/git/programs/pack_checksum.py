"""Whether a pack and its index still are what git wrote, by the checksums at their ends.

Run as ``pack_checksum.py RATE HASH PACK.pack``; RATE is bytes per second (0: as fast as the disk),
HASH is sha1 or sha256. It prints how many bytes it has read, a number a line, and then one of the
words ``sound``, ``gone`` (a repack has replaced the pack), or ``damaged`` and a sentence. Formats:
gitformat-pack(5).
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable
from typing import BinaryIO

CHUNK = 2 * 1024 * 1024
"""Bytes read at once: all its memory."""

Read = Callable[[int], None]
"""Told of bytes that were read."""


class Pace:
    """Tells how far we are, and keeps the rate."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._begun = time.monotonic()
        self._read = 0

    def read(self, size: int) -> None:
        self._read += size
        print(self._read, flush=True)
        if self._rate:
            ahead = self._begun + self._read / self._rate - time.monotonic()
            time.sleep(max(0.0, ahead))


def trailer(file: BinaryIO, algorithm: str, read: Read) -> bytes | None:
    """The checksum at the end of a file; None if it is not that of what is before it."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    left = os.fstat(file.fileno()).st_size - digest.digest_size
    while left > 0:
        data = file.read(min(left, CHUNK))
        if not data:
            return None
        digest.update(data)
        left -= len(data)
        read(len(data))
    found = file.read(digest.digest_size)
    return found if left == 0 and found == digest.digest() else None


def damage(pack: BinaryIO, index: BinaryIO, algorithm: str, read: Read) -> str | None:
    """What is wrong with the two; None: nothing."""
    of_pack = trailer(pack, algorithm, read)
    if of_pack is None:
        return "pack checksum mismatch"
    if trailer(index, algorithm, read) is None:
        return "pack index checksum mismatch"
    index.seek(-2 * len(of_pack), os.SEEK_END)
    if index.read(len(of_pack)) != of_pack:
        return "pack does not match index"
    return None


def main(rate: str, algorithm: str, path: str) -> None:
    name = os.path.basename(path)
    try:
        # Once they are open, a repack may remove them.
        with open(path, "rb") as pack, open(path.removesuffix(".pack") + ".idx", "rb") as index:
            found = damage(pack, index, algorithm, Pace(int(rate)).read)
    except FileNotFoundError:
        gone = not os.path.exists(path)
        print("gone" if gone else f"damaged {name}: its index is missing")
    except OSError as error:
        print(f"damaged {name}: cannot read it: {error.strerror}")
    else:
        print("sound" if found is None else f"damaged {name}: {found}")


if __name__ == "__main__":
    main(*sys.argv[1:])
