"""Blobs in a bucket of an S3-compatible service, under ``<prefix>ab/<sha512>``.

An upload goes into a local file first: it is inspected there before it is kept, and its hash goes
into the signature, by which the service knows that it got every byte. A blob is there when the
service has said so.

S3 has no way to remove an object only if it is old. So whoever stores holds a shared lock, on a
file that all daemons of the site have in common, and the sweep leaves a blob when it cannot get the
lock alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

from wit.config import Packages
from wit.errors import NotFound
from wit.packages.blobs import Blob, Digests
from wit.packages.local_blobs import LocalBlobs, LocalWriter
from wit.packages.s3_client import S3Client
from wit.packages.s3_signing import Signer
from wit.runtime import Runtime, shielded

_SHA512 = re.compile(r"[0-9a-f]{128}")


class S3Blobs:
    """``folder`` is for uploads on their way, and the lock."""

    def __init__(self, client: S3Client, prefix: str, folder: Path, runtime: Runtime) -> None:
        self._client = client
        self._prefix = prefix
        self._spool = LocalBlobs(folder, runtime)
        self._lock = folder / "s3-lock"
        self._runtime = runtime

    async def writer(self) -> S3Writer:
        return S3Writer(self, await self._spool.writer(), self._runtime)

    async def open(self, sha512: str, start: int = 0, stop: int | None = None) -> Blob:
        if stop is not None and stop <= start:
            return _Nothing()
        return await self._client.get(self._key(sha512), start, stop)

    async def size(self, sha512: str) -> int | None:
        if not _SHA512.fullmatch(sha512):
            return None
        found = await self._client.head(self._key(sha512))
        return None if found is None else found.size

    async def remove(self, sha512: str, older_than: datetime | None = None) -> None:
        key = self._key(sha512)
        if older_than is None:
            await self._client.delete(key)
            return
        await shielded(self._remove_old(key, older_than))

    async def each(self) -> AsyncIterator[tuple[str, datetime]]:
        token = ""
        while True:
            found, token = await self._client.list(self._prefix, token)
            for stored in found:
                sha512 = stored.key.rpartition("/")[2]
                if _SHA512.fullmatch(sha512) and stored.key == self._key(sha512):
                    yield sha512, stored.modified
            if not token:
                return

    async def clear_uploads(self, older_than: datetime) -> None:
        await self._spool.clear_uploads(older_than)

    async def close(self) -> None:
        await self._client.close()

    async def keep(self, path: str, digests: Digests) -> None:
        """Store the file. Raises Unavailable."""
        sha256 = await self._runtime.in_thread(_sha256, path)
        await shielded(self._put(path, digests, sha256))

    # Shielded, for a lock that comes after its caller has gone would never be given back.

    async def _put(self, path: str, digests: Digests, sha256: str) -> None:
        lock = await self._runtime.in_thread(_lock, self._lock, fcntl.LOCK_SH)
        try:
            await self._client.put(self._key(digests.sha512), path, digests.size, sha256)
        finally:
            os.close(lock)

    async def _remove_old(self, key: str, older_than: datetime) -> None:
        try:
            lock = await self._runtime.in_thread(_lock, self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        try:
            found = await self._client.head(key)
            if found is not None and found.modified < older_than:
                await self._client.delete(key)
        finally:
            os.close(lock)

    def _key(self, sha512: str) -> str:
        if not _SHA512.fullmatch(sha512):
            raise NotFound("there is no such tarball")
        return f"{self._prefix}{sha512[:2]}/{sha512}"


def make_s3_blobs(settings: Packages, folder: Path, runtime: Runtime) -> S3Blobs:
    """The store that the section ``[packages]`` describes."""
    signer = Signer(settings.s3_region, settings.s3_access_key, settings.s3_secret_key)
    client = S3Client(settings.s3_endpoint, settings.s3_bucket, signer, runtime)
    return S3Blobs(client, settings.s3_prefix, folder, runtime)


class S3Writer:
    """A BlobWriter that stores the file when it is whole."""

    def __init__(self, blobs: S3Blobs, local: LocalWriter, runtime: Runtime) -> None:
        self._blobs = blobs
        self._local = local
        self._runtime = runtime

    @property
    def path(self) -> str:
        return self._local.path

    async def write(self, data: bytes) -> None:
        await self._local.write(data)

    async def finish(self) -> Digests:
        return await self._local.finish()

    async def commit(self) -> Digests:
        digests = await self._local.finish()
        await self._blobs.keep(self._local.path, digests)
        await self._local.discard()
        return digests

    async def discard(self) -> None:
        await self._local.discard()


class _Nothing:
    """A Blob of no bytes, which S3 has no range for."""

    async def read(self) -> bytes:
        return b""

    async def close(self) -> None:
        return None


def _sha256(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _lock(path: Path, kind: int) -> int:
    """The descriptor that holds the lock until it is closed. Blocks, or raises BlockingIOError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, kind)
    except BaseException:
        os.close(fd)
        raise
    return fd
