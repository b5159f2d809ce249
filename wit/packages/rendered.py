"""Packuments in memory, ready to be sent: bounded in bytes, each made once however many ask.

The key has the package's revision, which every change of the package raises, so nothing here ever
has to be made invalid: what is old is not asked for again and leaves when room is needed.
"""

from __future__ import annotations

import gzip
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime

import attrs
import brotli

from wit.latch import Latch
from wit.packages.served import Encoding, Rendered

BROTLI_QUALITY = 5
"""Of 0 to 11: smaller than gzip -9 at the price of gzip -4."""
GZIP_LEVEL = 6


@attrs.frozen
class Key:
    package_id: str
    revision: int
    abbreviated: bool
    encoding: Encoding | None


class RenderedCache:
    """The least recently used go first; the newest stays, whatever its size."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[Key, Rendered] = OrderedDict()
        self._making: dict[Key, Latch] = {}
        self._bytes = 0

    @property
    def size(self) -> int:
        """Bytes of the bodies that are kept."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._kept)

    async def get(self, key: Key, make: Callable[[], Awaitable[Rendered]]) -> Rendered:
        """What is kept under ``key``, else what ``make`` gives; one caller makes, others wait.

        If that one fails or goes away, the next one makes. Raises what ``make`` raises.
        """
        while True:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
            if key in self._making:
                await self._making[key].wait()
                continue
            self._making[key] = Latch()
            try:
                made = await make()
                self._keep(key, made)
                return made
            finally:
                self._making.pop(key).open()

    def _keep(self, key: Key, made: Rendered) -> None:
        self._kept[key] = made
        self._bytes += len(made.body)
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.body)


def render(parts: list[bytes], encoding: Encoding | None, modified: datetime) -> Rendered:
    """The joined parts in their encoding. Blocks for as long as compressing takes."""
    plain = b"".join(parts)
    digest = hashlib.sha256(plain).hexdigest()[:32]
    match encoding:
        case "br":
            body = brotli.compress(plain, quality=BROTLI_QUALITY)
        case "gzip":
            body = gzip.compress(plain, GZIP_LEVEL, mtime=0)
        case None:
            body = plain
    suffix = "" if encoding is None else f"-{encoding}"
    return Rendered(body, f'"{digest}{suffix}"', encoding, modified)
