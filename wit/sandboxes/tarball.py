"""A tar archive (POSIX pax) made while it is read, of texts and of open files."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterable

import attrs

from wit.runtime import Runtime
from wit.streams import CHUNK

OWNER = 1000
"""User and group that the members belong to: the one that sandboxes run as."""


@attrs.frozen
class Member:
    """A file; ``content`` is bytes or an open descriptor, which is read from its beginning. A name
    that ends with ``/`` is a folder."""

    name: str
    content: bytes | int = b""
    mode: int = 0o644


class Tarball:
    """A ByteSource."""

    def __init__(self, runtime: Runtime, members: Iterable[Member]) -> None:
        self._runtime = runtime
        self._members = iter(members)
        self._file = -1
        self._at = 0
        self._size = 0
        self._ended = False

    async def read(self) -> bytes:
        if self._file >= 0:
            return await self._runtime.in_thread(self._more)
        header = b""
        for member in self._members:
            header += self._begin(member)
            if self._file >= 0 or len(header) >= CHUNK:
                return header
        if self._ended:
            return header
        self._ended = True
        return header + bytes(2 * tarfile.BLOCKSIZE)

    def _begin(self, member: Member) -> bytes:
        """The header, with the content if that is here already."""
        info = tarfile.TarInfo(member.name.rstrip("/"))
        info.uid = info.gid = OWNER
        info.mode = member.mode
        content = member.content
        if member.name.endswith("/"):
            info.type, info.mode = tarfile.DIRTYPE, 0o755
        elif isinstance(content, bytes):
            info.size = len(content)
        else:
            info.size = os.fstat(content).st_size
            self._file, self._at, self._size = content, 0, info.size
        header = info.tobuf(tarfile.PAX_FORMAT)
        return header + _padded(content) if isinstance(content, bytes) else header

    def _more(self) -> bytes:
        """The next piece of the open file. Blocks."""
        data = os.pread(self._file, min(CHUNK, self._size - self._at), self._at)
        self._at += len(data)
        if self._at == self._size:
            self._file = -1
            data += bytes(-self._size % tarfile.BLOCKSIZE)
        elif not data:
            raise OSError("a file became shorter while it was read")
        return data


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % tarfile.BLOCKSIZE)
