"""Where the bytes of tarballs are kept, whatever keeps them: each under its own SHA-512.

A blob is written first and gets its row afterwards, so a row is never without its blob; a blob
that has no row is swept away when it is old.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Protocol

import attrs

from wit.streams import ByteSource


@attrs.frozen
class Digests:
    """What is known of bytes that went through: hexadecimal digests and their number."""

    sha1: str
    sha512: str
    size: int

    @property
    def integrity(self) -> str:
        """As in package-lock.json (Subresource Integrity)."""
        return integrity_of(self.sha512)


def integrity_of(sha512: str) -> str:
    """``sha512-`` and base64, of the hexadecimal digest."""
    return "sha512-" + base64.b64encode(bytes.fromhex(sha512)).decode()


class BlobWriter(Protocol):
    """One upload. Either :meth:`commit` or :meth:`discard` ends it."""

    @property
    def path(self) -> str:
        """The file in which the bytes are until then, to be looked at after :meth:`finish`."""
        ...

    async def write(self, data: bytes) -> None:
        """Raises Unavailable if the disk is full."""
        ...

    async def finish(self) -> Digests:
        """All has been written: the file is whole and durable, and these are its digests."""
        ...

    async def commit(self) -> Digests:
        """Finish, and keep the bytes under their digest. Raises Unavailable."""
        ...

    async def discard(self) -> None:
        """Forget the bytes; does nothing after a commit."""
        ...


class Blob(ByteSource, Protocol):
    """The bytes, or some of them, on their way out."""

    async def close(self) -> None:
        """Needs to be called by who stops reading before the end; harmless otherwise."""
        ...


class Blobs(Protocol):
    """One store. ``sha512`` is always the hexadecimal digest."""

    async def writer(self) -> BlobWriter:
        """Raises Unavailable."""
        ...

    async def open(self, sha512: str, start: int = 0, stop: int | None = None) -> Blob:
        """The bytes from ``start`` to before ``stop`` (None: the end). Raises NotFound."""
        ...

    async def size(self, sha512: str) -> int | None:
        """Bytes of the blob, or None if there is none."""
        ...

    async def remove(self, sha512: str, older_than: datetime | None = None) -> None:
        """Forget a blob, unless it was written (again) at or after ``older_than``."""
        ...

    def each(self) -> AsyncIterator[tuple[str, datetime]]:
        """Every blob, and when it was last written."""
        ...

    async def clear_uploads(self, older_than: datetime) -> None:
        """Remove what uploads left behind that never ended."""
        ...
