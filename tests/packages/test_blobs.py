"""What every store of blobs does, the local folder and S3 alike."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.s3 import S3Server
from wit.config import Packages
from wit.errors import NotFound
from wit.packages.blobs import Blob, Blobs, BlobWriter, integrity_of
from wit.packages.local_blobs import BLOCK, LocalBlobs
from wit.packages.s3_blobs import make_s3_blobs
from wit.runtime import Runtime

ABSENT = "0" * 128
CONTENT = os.urandom(2 * BLOCK + 12_345)
FUTURE = datetime.now(UTC) + timedelta(days=1)
PAST = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    server = S3Server(tmp_path_factory.mktemp("s3"))
    yield server
    server.stop()


@pytest.fixture(params=["local", "s3"])
def blobs(
    request: pytest.FixtureRequest, run: Any, runtime: Runtime, tmp_path: Path
) -> Iterator[Blobs]:
    if request.param == "local":
        yield LocalBlobs(tmp_path / "packages", runtime)
        return
    server: S3Server = request.getfixturevalue("s3")
    settings = Packages(
        s3_endpoint=server.endpoint,
        s3_region=server.region,
        s3_bucket=server.bucket,
        s3_prefix=f"{tmp_path.name}/a b+c/",
        s3_access_key=server.access_key,
        s3_secret_key=server.secret_key,
    )
    store = make_s3_blobs(settings, tmp_path / "packages", runtime)
    yield store
    run(store.close())


async def stored(blobs: Blobs, *parts: bytes) -> str:
    writer = await blobs.writer()
    for part in parts:
        await writer.write(part)
    return (await writer.commit()).sha512


async def all_of(blob: Blob) -> bytes:
    parts = []
    while part := await blob.read():
        parts.append(part)
    assert await blob.read() == b""
    await blob.close()
    return b"".join(parts)


def on_disk(writer: BlobWriter) -> bytes | None:
    """What the upload's file holds."""
    path = Path(writer.path)
    return path.read_bytes() if path.exists() else None


async def names(blobs: Blobs) -> dict[str, datetime]:
    return {sha512: modified async for sha512, modified in blobs.each()}


def test_what_was_written_is_read(run: Any, blobs: Blobs) -> None:
    async def work() -> None:
        writer = await blobs.writer()
        for start in range(0, len(CONTENT), 100_000):
            await writer.write(CONTENT[start : start + 100_000])
        finished = await writer.finish()
        assert on_disk(writer) == CONTENT
        assert await blobs.size(finished.sha512) is None
        digests = await writer.commit()
        assert digests == finished
        assert digests.sha1 == hashlib.sha1(CONTENT, usedforsecurity=False).hexdigest()
        assert digests.sha512 == hashlib.sha512(CONTENT).hexdigest()
        assert digests.size == len(CONTENT) == await blobs.size(digests.sha512)
        assert digests.integrity == integrity_of(digests.sha512)
        assert await all_of(await blobs.open(digests.sha512)) == CONTENT
        assert on_disk(writer) is None
        await writer.discard()
        assert await blobs.size(digests.sha512) == len(CONTENT)

    run(work())


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (1, None), (5, 5), (BLOCK - 1, BLOCK + 1), (len(CONTENT) - 1, len(CONTENT))],
)
def test_ranges(run: Any, blobs: Blobs, start: int, stop: int | None) -> None:
    async def work() -> bytes:
        return await all_of(await blobs.open(await stored(blobs, CONTENT), start, stop))

    assert run(work()) == CONTENT[start:stop]


def test_who_stops_reading_closes(run: Any, blobs: Blobs) -> None:
    async def work() -> None:
        sha512 = await stored(blobs, CONTENT)
        for _ in range(5):
            blob = await blobs.open(sha512)
            assert CONTENT.startswith(await blob.read())
            await blob.close()
            await blob.close()
        unread = await blobs.open(sha512)
        await unread.close()

    run(work())


@pytest.mark.parametrize("name", [ABSENT, "../../etc/passwd", "a/b", "", "A" * 128, "0" * 127])
def test_what_is_not_there(run: Any, blobs: Blobs, name: str) -> None:
    async def work() -> None:
        assert await blobs.size(name) is None
        with pytest.raises(NotFound):
            await blobs.open(name)

    run(work())


def test_an_upload_that_is_discarded_leaves_nothing(run: Any, blobs: Blobs) -> None:
    async def work() -> None:
        writer = await blobs.writer()
        await writer.write(CONTENT)
        await writer.discard()
        await writer.discard()
        assert on_disk(writer) is None
        finished = await blobs.writer()
        await finished.write(CONTENT)
        await finished.finish()
        await finished.discard()
        assert await names(blobs) == {}

    run(work())


def test_a_list_of_all(run: Any, blobs: Blobs) -> None:
    async def work() -> None:
        before = datetime.now(UTC) - timedelta(seconds=2)
        made = {await stored(blobs, b"blob %d" % number) for number in range(5)}
        assert await stored(blobs, b"blob 0") in made
        found = await names(blobs)
        assert set(found) == made
        assert all(before < modified < FUTURE for modified in found.values())

    run(work())


def test_removing(run: Any, blobs: Blobs) -> None:
    async def work() -> None:
        sha512 = await stored(blobs, b"content")
        await blobs.remove(sha512, older_than=PAST)
        assert await blobs.size(sha512) == 7
        await blobs.remove(sha512, older_than=FUTURE)
        assert await blobs.size(sha512) is None
        again = await stored(blobs, b"content")
        assert again == sha512
        await blobs.remove(sha512)
        await blobs.remove(sha512)
        await blobs.remove(sha512, older_than=FUTURE)
        assert await names(blobs) == {}

    run(work())


def test_uploads_that_never_ended(run: Any, blobs: Blobs) -> None:
    async def work() -> None:
        writer = await blobs.writer()
        await writer.write(b"x")
        await blobs.clear_uploads(PAST)
        assert on_disk(writer) is not None
        await blobs.clear_uploads(FUTURE)
        assert on_disk(writer) is None
        await writer.discard()

    run(work())
