"""Packs that rot are noticed, by the checksums at their ends."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred

from tests.git.conftest import Children
from wit.errors import Unavailable
from wit.git import programs, scrub
from wit.git.programs import pack_checksum
from wit.git.repository import BareRepository
from wit.git.scrub import MARK, listed, look, overdue, verify
from wit.runtime import Runtime

LONG_AGO = 1_000_000_000.0
NOW = datetime(2030, 5, 1, tzinfo=UTC)


def make(path: Path, object_format: str = "sha1") -> BareRepository:
    words = ["git", "init", "-q", "--bare", f"--object-format={object_format}", str(path)]
    subprocess.run(words, check=True)
    add(path, os.urandom(50_000))
    return BareRepository("r", str(path), object_format)


def add(path: Path, content: bytes) -> None:
    """One more pack."""
    stream = b"blob\ndata %d\n%b\n" % (len(content), content)
    words = ["git", "-C", str(path), "-c", "fastimport.unpackLimit=0", "fast-import", "--quiet"]
    subprocess.run(words, input=stream, check=True)


def flip(path: Path, at: int) -> None:
    """One bit, as rust does it: the file's times stay."""
    status = path.stat()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture
def repo(tmp_path: Path) -> BareRepository:
    return make(tmp_path / "r.git")


@pytest.fixture
def now(runtime: Runtime) -> Runtime:
    return attrs.evolve(runtime, now=lambda: NOW)


def packs(repo: BareRepository) -> list[Path]:
    return sorted(Path(repo.path, "objects", "pack").glob("*.pack"))


def noted(repo: BareRepository) -> dict[str, float]:
    lines = Path(repo.path, MARK).read_text().splitlines()
    return {name: float(time) for name, time in (line.split() for line in lines)}


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_a_sound_pack_is_noted(tmp_path: Path, run: Any, now: Runtime, object_format: str) -> None:
    repo = make(tmp_path / "x.git", object_format)
    (pack,) = run(look(now, repo))
    assert pack.size == packs(repo)[0].stat().st_size
    read: list[int] = []
    assert run(verify(now, repo, pack, progress=read.append)) is None
    assert pack.size - 32 <= read[-1] <= pack.size + 2000
    (pack,) = run(look(now, repo))
    assert pack.verified == NOW.timestamp()


@pytest.mark.attack(27)
@pytest.mark.parametrize(
    ("suffix", "at", "words"),
    [
        (".pack", 5, "pack checksum mismatch"),
        (".pack", 25_000, "pack checksum mismatch"),
        (".pack", -1, "pack checksum mismatch"),
        (".idx", 700, "pack index checksum mismatch"),
        (".idx", -30, "pack index checksum mismatch"),
        (".idx", -1, "pack index checksum mismatch"),
    ],
)
def test_a_flipped_bit_is_found(
    repo: BareRepository, run: Any, now: Runtime, suffix: str, at: int, words: str
) -> None:
    (pack,) = run(look(now, repo))
    flip(Path(pack.path).with_suffix(suffix), at)
    found = run(verify(now, repo, pack))
    assert found == f"{os.path.basename(pack.path)}: {words}"
    assert noted(repo)[os.path.basename(pack.path)] < NOW.timestamp(), "it stays due"


def test_an_index_of_another_pack(repo: BareRepository, run: Any, now: Runtime) -> None:
    add(Path(repo.path), b"other")
    one, other = run(look(now, repo))
    shutil.copy(Path(one.path).with_suffix(".idx"), other.path.removesuffix(".pack") + ".new")
    os.replace(other.path.removesuffix(".pack") + ".new", Path(other.path).with_suffix(".idx"))
    assert "pack does not match index" in run(verify(now, repo, other))


def test_what_is_missing_cut_or_gone(repo: BareRepository, run: Any, now: Runtime) -> None:
    (pack,) = run(look(now, repo))
    path = Path(pack.path)
    path.chmod(0o644)
    os.truncate(path, 10)
    assert "pack checksum mismatch" in run(verify(now, repo, pack))
    path.with_suffix(".idx").unlink()
    assert "its index is missing" in run(verify(now, repo, pack))
    path.unlink()
    assert run(verify(now, repo, pack)) is None, "a repack has taken it away"
    assert run(look(now, repo)) == []


def test_the_longest_unverified_comes_first(repo: BareRepository, run: Any, now: Runtime) -> None:
    for content in (b"two", b"three"):
        add(Path(repo.path), content)
    names = [path.name for path in packs(repo)]
    ages = {names[0]: 300.0, names[1]: 100.0, names[2]: 200.0}
    mark = Path(repo.path, MARK)
    mark.write_text("".join(f"{name} {time}\n" for name, time in ages.items()) + "garbage\n")
    found = run(look(now, repo))
    assert [pack.verified for pack in found] == [100.0, 200.0, 300.0]
    assert overdue(found, 1000.0, 750.0) == found[:2]
    assert run(verify(now, repo, found[0])) is None
    assert [pack.verified for pack in run(look(now, repo))] == [200, 300, NOW.timestamp()]


def test_being_used_makes_no_pack_young(repo: BareRepository, run: Any, now: Runtime) -> None:
    """git sets a pack's time when somebody pushes an object that it holds."""
    (path,) = packs(repo)
    os.utime(path, (LONG_AGO, LONG_AGO))
    assert [pack.verified for pack in listed(repo.path)] == [LONG_AGO]
    assert not Path(repo.path, MARK).exists(), "who only lists notes nothing"
    run(look(now, repo))
    os.utime(path)
    assert [pack.verified for pack in run(look(now, repo))] == [LONG_AGO]


def test_packs_that_went_are_forgotten(repo: BareRepository, run: Any, now: Runtime) -> None:
    run(look(now, repo))
    add(Path(repo.path), b"two")
    subprocess.run(["git", "-C", repo.path, "repack", "-adq"], check=True)
    run(look(now, repo))
    assert set(noted(repo)) == {path.name for path in packs(repo)}


def test_without_packs(tmp_path: Path, run: Any, now: Runtime) -> None:
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "e.git")], check=True)
    assert run(look(now, BareRepository("e", str(tmp_path / "e.git")))) == []
    assert run(look(now, BareRepository("n", str(tmp_path / "n.git")))) == []


def test_a_program_that_dies_tells_nothing(
    repo: BareRepository, run: Any, now: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrub, "program", lambda *_: programs.program("nothing"))
    with pytest.raises(Unavailable):
        run(verify(now, repo, run(look(now, repo))[0]))


def test_it_ends_when_cancelled(
    repo: BareRepository, run: Any, now: Runtime, children: Children
) -> None:
    async def cancelled() -> None:
        (pack,) = await look(now, repo)
        begun: Deferred[int] = Deferred()

        def reading(size: int) -> None:
            now.reactor.callLater(0, begun.callback, size)

        # At 10 bytes a second it would take hours.
        work = Deferred.fromCoroutine(
            verify(now, repo, pack, bytes_per_second=10, progress=reading)
        )
        await begun
        assert [child.nice() for child in children()] == [scrub.NICENESS]
        work.cancel()
        with pytest.raises(CancelledError):
            await work

    run(cancelled())
    assert children() == []


def test_the_rate_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 100.0

    def sleep(seconds: float) -> None:
        nonlocal clock
        clock += seconds

    monkeypatch.setattr(time, "monotonic", lambda: clock)
    monkeypatch.setattr(time, "sleep", sleep)
    pace = pack_checksum.Pace(1000)
    for _ in range(10):
        pace.read(500)
    assert clock == 105.0


def test_memory_is_one_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Watched(io.FileIO):
        def read(self, size: int | None = -1) -> Any:
            sizes.append(size or 0)
            return super().read(size)

    path = os.path.abspath(__file__)
    monkeypatch.setattr(pack_checksum, "CHUNK", 512)
    with Watched(path) as file:
        assert pack_checksum.trailer(file, "sha1", lambda _: None) is None  # type: ignore[arg-type]
    assert len(sizes) > 4 and 0 < max(sizes) <= 512
