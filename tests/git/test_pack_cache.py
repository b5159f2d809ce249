"""The pack cache: one writer, many readers, and every way in which either may end."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from wit.errors import Unavailable, WitError
from wit.git import pack_cache
from wit.git.pack_cache import ENTRY_COST, NotCached, PackCache, PackReader
from wit.metrics import Metrics
from wit.runtime import Runtime


class Writer:
    """Stands for git: writes what it is told, when it is told."""

    def __init__(self) -> None:
        self.fd = -1
        self.runs = 0
        self.cancelled = False
        self._end: Deferred[None] | None = None

    async def produce(self, fd: int) -> None:
        self.runs += 1
        self.fd = fd
        self._end = Deferred()
        try:
            await self._end
        except CancelledError:
            self.cancelled = True
            raise

    def write(self, data: bytes) -> None:
        os.write(self.fd, data)

    def end(self, error: Exception | None = None) -> None:
        assert self._end is not None
        if error is None:
            self._end.callback(None)
        else:
            self._end.errback(error)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def cache(tmp_path: Path, runtime: Runtime, run: Any, metrics: Metrics) -> Iterator[PackCache]:
    cache = PackCache(tmp_path / "cache", 10_000_000, 600.0, runtime, metrics)
    run(cache.start())
    yield cache
    run(cache.stop())
    assert open_files(tmp_path) == []


def open_files(folder: Path) -> list[str]:
    """What this process has open in a folder, files without a name included."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # other threads close theirs meanwhile
            found.append(os.readlink(fd))
    return [path for path in found if path.startswith(f"{folder}/")]


def files(tmp_path: Path) -> list[Path]:
    return sorted(path for path in (tmp_path / "cache").rglob("*") if path.is_file())


async def rest(reader: PackReader) -> bytes:
    data = b""
    while piece := await reader.read():
        data += piece
    reader.close()
    return data


def test_readers_follow_the_writer_and_the_next_finds_it_complete(
    cache: PackCache, run: Any, runtime: Runtime, metrics: Metrics
) -> None:
    writer = Writer()
    big = os.urandom(700_000)

    async def work() -> None:
        first = cache.open("k", writer.produce)
        assert first.size is None
        waiting = Deferred.fromCoroutine(first.read())
        assert not waiting.called
        writer.write(b"some")
        assert await waiting == b"some"
        second = cache.open("k", writer.produce)
        assert await second.read() == b"some"
        rests = [Deferred.fromCoroutine(rest(reader)) for reader in (first, second)]
        writer.write(big)
        writer.end()
        assert [await each for each in rests] == [big, big]
        third = cache.open("k", writer.produce)
        assert third.size == len(big) + 4
        assert await rest(third) == b"some" + big
        assert writer.runs == 1

    run(work())
    registry = metrics.registry
    assert registry.get_sample_value("wit_pack_cache_misses_total") == 1
    assert registry.get_sample_value("wit_pack_cache_hits_total") == 2
    assert registry.get_sample_value("wit_pack_cache_bytes") == 700_004 + ENTRY_COST


def test_a_reader_holds_one_chunk(cache: PackCache, run: Any) -> None:
    writer = Writer()

    async def work() -> None:
        with cache.open("k", writer.produce) as reader:
            writer.write(bytes(2_000_000))
            writer.end()
            while data := await reader.read():
                assert len(data) <= 256 * 1024
            assert reader.position == 2_000_000

    run(work())


def test_the_first_reader_may_leave_and_the_last_gets_the_run_ended(
    cache: PackCache, run: Any, runtime: Runtime, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr(pack_cache, "GRACE_SECONDS", 0.05)
    writer = Writer()

    async def work() -> None:
        first = cache.open("k", writer.produce)
        second = cache.open("k", writer.produce)
        first.close()
        writer.write(b"x")
        assert await second.read() == b"x"
        second.close()
        # Somebody comes back in time …
        third = cache.open("k", writer.produce)
        await runtime.sleep(0.1)
        assert not writer.cancelled
        third.close()
        # … and then nobody.
        while not writer.cancelled:
            await runtime.sleep(0.01)
        assert "k" not in cache
        assert cache.used_bytes == 0

    run(work())


def test_a_failure_reaches_every_reader_and_is_not_kept(
    cache: PackCache, run: Any, runtime: Runtime
) -> None:
    writer = Writer()

    async def work() -> None:
        readers = [cache.open("k", writer.produce) for _ in range(3)]
        writer.write(b"half")
        assert await readers[0].read() == b"half"
        waiting = [Deferred.fromCoroutine(rest(reader)) for reader in readers[:2]]
        writer.end(Unavailable("git died"))
        for each in waiting:
            with pytest.raises(Unavailable, match="git died"):
                await each
        with pytest.raises(Unavailable, match="git died"):
            await readers[2].read()
        for reader in readers:
            reader.close()
        assert "k" not in cache
        cache.open("k", writer.produce).close()
        assert writer.runs == 2

    run(work())


def test_an_unexpected_error_is_told_without_its_text(cache: PackCache, run: Any) -> None:
    writer = Writer()

    async def work() -> None:
        with cache.open("k", writer.produce) as reader:
            writer.end(RuntimeError("secret"))
            with pytest.raises(WitError) as raised:
                await reader.read()
            assert "secret" not in raised.value.message

    run(work())


def test_a_failure_before_the_first_await(cache: PackCache, run: Any) -> None:
    async def produce(fd: int) -> None:
        raise Unavailable("the queue is full")

    async def work() -> None:
        with cache.open("k", produce) as reader, pytest.raises(Unavailable, match="queue"):
            await reader.read()
        assert "k" not in cache and cache.used_bytes == 0

    run(work())


@pytest.mark.attack(25)
def test_a_full_disk_sends_readers_elsewhere(
    cache: PackCache, run: Any, runtime: Runtime, monkeypatch: Any
) -> None:
    writer = Writer()

    async def work() -> None:
        early = cache.open("k", writer.produce)
        late = cache.open("k", writer.produce)
        writer.write(b"x")
        assert await early.read() == b"x"
        full = SimpleNamespace(f_bavail=0, f_frsize=4096)
        monkeypatch.setattr(os, "statvfs", lambda path: full)
        writer.end(Unavailable("git could not write"))
        with pytest.raises(NotCached):
            await late.read()
        with pytest.raises(Unavailable):
            await early.read()
        early.close()
        late.close()
        while True:
            await runtime.sleep(0.05)
            try:
                cache.open("other", writer.produce).close()
            except NotCached:
                break

    run(work())


def test_a_pack_beyond_the_bound_is_given_up(
    cache: PackCache, run: Any, runtime: Runtime, tmp_path: Path
) -> None:
    writer = Writer()

    async def work() -> None:
        with cache.open("k", writer.produce) as reader:
            writer.write(bytes(11_000_000))
            while not writer.cancelled:
                await runtime.sleep(0.05)
            with pytest.raises(NotCached):
                while True:
                    await reader.read()
        assert cache.used_bytes == 0

    run(work())


def test_what_may_fill_half_of_the_cache_is_not_taken(cache: PackCache, run: Any) -> None:
    async def work() -> None:
        with pytest.raises(NotCached):
            cache.open("k", Writer().produce, expected_bytes=5_000_001)
        assert "k" not in cache

    run(work())


def test_the_least_recently_used_goes_first_and_its_reader_reads_on(
    cache: PackCache, run: Any, tmp_path: Path, runtime: Runtime
) -> None:
    async def fill(key: str) -> PackReader:
        async def produce(fd: int) -> None:
            os.write(fd, key.encode() * 3_000_000)

        return cache.open(key, produce)

    async def work() -> None:
        slow = await fill("a")
        (await fill("b")).close()
        (await fill("c")).close()
        assert [key in cache for key in "abc"] == [True, True, True]
        (await fill("b")).close()
        (await fill("d")).close()
        assert [key in cache for key in "abcd"] == [False, True, True, True]
        (await fill("e")).close()
        assert [key in cache for key in "abcde"] == [False, True, False, True, True]
        assert cache.used_bytes == 3 * (3_000_000 + ENTRY_COST)
        assert await rest(slow) == b"a" * 3_000_000
        while len(files(tmp_path)) > 4:
            await runtime.sleep(0.01)

    run(work())


def test_what_nobody_used_expires(
    tmp_path: Path, runtime: Runtime, run: Any, metrics: Metrics, monkeypatch: Any
) -> None:
    monkeypatch.setattr(pack_cache, "TICK_SECONDS", 0.02)
    cache = PackCache(tmp_path / "cache", 10_000_000, 0.05, runtime, metrics)

    async def produce(fd: int) -> None:
        os.write(fd, b"x")

    async def work() -> None:
        await cache.start()
        held = cache.open("held", produce)
        cache.open("k", produce).close()
        while "k" in cache:
            await runtime.sleep(0.01)
        assert "held" in cache
        held.close()
        await cache.stop()
        assert files(tmp_path) == []

    run(work())


def test_stop_ends_runs_and_removes_everything(
    tmp_path: Path, runtime: Runtime, run: Any, metrics: Metrics
) -> None:
    cache = PackCache(tmp_path / "cache", 10_000_000, 60, runtime, metrics)
    writer = Writer()

    async def work() -> None:
        await cache.start()
        reader = cache.open("k", writer.produce)
        await cache.stop()
        assert writer.cancelled
        with pytest.raises(Unavailable):
            await reader.read()
        reader.close()
        with pytest.raises(NotCached):
            cache.open("k", writer.produce)

    run(work())
    assert list((tmp_path / "cache").iterdir()) == []


def test_start_sweeps_the_dead_and_spares_the_living(
    tmp_path: Path, runtime: Runtime, run: Any, metrics: Metrics
) -> None:
    folder = tmp_path / "cache"
    for name in ("dead", "alive"):
        (folder / name).mkdir(parents=True)
        (folder / name / "1").write_bytes(b"pack")
        (folder / f"{name}.lock").touch()
    with open(folder / "alive.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        cache = PackCache(folder, 10_000_000, 60, runtime, metrics)
        run(cache.start())
        assert not (folder / "dead").exists() and not (folder / "dead.lock").exists()
        assert (folder / "alive" / "1").read_bytes() == b"pack"
        run(cache.stop())
    assert sorted(path.name for path in folder.iterdir()) == ["alive", "alive.lock"]


def test_a_file_that_somebody_removed(cache: PackCache, run: Any, tmp_path: Path) -> None:
    writer = Writer()

    async def work() -> None:
        cache.open("k", writer.produce).close()
        next(path for path in files(tmp_path) if path.suffix != ".lock").unlink()
        with pytest.raises(NotCached):
            cache.open("k", writer.produce)
        assert "k" not in cache

    run(work())


def test_a_disk_that_must_be_waited_for_is_read_in_a_thread(
    cache: PackCache, run: Any, monkeypatch: Any
) -> None:
    def not_in_memory(*args: object) -> int:
        raise OSError(errno.EAGAIN, "try again")

    async def produce(fd: int) -> None:
        os.write(fd, b"content")

    async def work() -> None:
        monkeypatch.setattr(os, "preadv", not_in_memory)
        assert await rest(cache.open("k", produce)) == b"content"

    run(work())
