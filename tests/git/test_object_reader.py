"""Reading objects through a git that stays: what it answers, and how long it stays."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dulwich.repo import Repo
from twisted.internet.defer import CancelledError, Deferred

from tests.git.conftest import Children
from tests.git.reading import Parts, commit, git, imported, parts
from wit.errors import TimedOut, TooLarge, Unavailable
from wit.git import object_reader
from wit.git.process import Child, within
from wit.git.repository import BareRepository
from wit.runtime import Runtime


@pytest.fixture
def engine(runtime: Runtime, run: Any) -> Iterator[Parts]:
    with parts(runtime, run) as made:
        yield made


@pytest.fixture
def repo(tmp_path: Path) -> BareRepository:
    content = {f"f{number}": f"content {number}\n" * number for number in range(40)}
    stream = commit("main", "first", {**content, "100644 big": "x" * 300_000})
    return imported(tmp_path / "r.git", stream)


def missing(number: int) -> str:
    return f"{number:040x}"


def test_all_objects_as_dulwich_reads_them(engine: Parts, repo: BareRepository, run: Any) -> None:
    with Repo(repo.path) as second:
        expected = {
            oid.decode(): (second[oid].type_name.decode(), second[oid].as_raw_string())
            for oid in second.object_store
        }
    oids = [missing(1), *expected, missing(2)]

    async def read() -> tuple[Any, Any]:
        async with engine.reader.open(repo, None) as objects:
            return await objects.headers(oids), await objects.read_many(oids, 10**6)

    headers, contents = run(read())
    assert headers[0] is headers[-1] is contents[0] is contents[-1] is None
    for oid, header, content in zip(oids[1:-1], headers[1:-1], contents[1:-1], strict=True):
        assert (content.kind, content.data) == expected[oid]
        assert (header.kind, header.size) == (content.kind, len(content.data))


def test_more_than_fits_into_one_message(
    engine: Parts, repo: BareRepository, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_reader, "AT_ONCE", 7)
    oids = git(repo.path, "rev-list", "--objects", "--no-object-names", "main").split()

    async def read() -> Any:
        async with engine.reader.open(repo, None) as objects:
            found = await objects.read_many([*oids, missing(1), *oids], 10**6)
            assert found[len(oids)] is None
            return [content.data for content in found if content is not None]

    data = run(read())
    assert len(data) == 2 * len(oids) and data[: len(oids)] == data[len(oids) :]


def test_limits(engine: Parts, repo: BareRepository, run: Any) -> None:
    big, small = git(repo.path, "rev-parse", "main:big", "main:f3").split()

    async def read() -> None:
        async with engine.reader.open(repo, None) as objects:
            with pytest.raises(TooLarge):
                await objects.read(big, 299_999)
            exact = await objects.read(big, 300_000)
            assert exact is not None and len(exact.data) == 300_000
            some = await objects.read_many([big, small, missing(1)], 1000)
            assert [content is None for content in some] == [True, False, True]
            assert await objects.read(missing(1), 10) is None
            with pytest.raises(Unavailable):
                await objects.expect(missing(1), "blob", 10)
            with pytest.raises(Unavailable):
                await objects.expect(small, "tree", 1000)

    run(read())
    assert engine.suspicions == [
        (repo.key, f"missing blob {missing(1)}"),
        (repo.key, f"missing tree {small}"),
    ]


def test_one_process_for_many_requests_and_it_sees_what_comes_later(
    engine: Parts, repo: BareRepository, run: Any, tmp_path: Path, children: Children
) -> None:
    other = imported(tmp_path / "other.git", commit("main", "x", {"a": "1"}))

    async def pid_and_kind(where: BareRepository, oid: str) -> tuple[int, str]:
        async with engine.reader.open(where, None) as objects:
            header = await objects.header(oid)
            assert header is not None
            return objects.child.pid, header.kind

    first = run(pid_and_kind(repo, git(repo.path, "rev-parse", "main")))
    blob = git(repo.path, "hash-object", "-w", "--stdin", stdin="new")
    assert run(pid_and_kind(repo, blob)) == (first[0], "blob")
    git(repo.path, "repack", "-adq")
    assert run(pid_and_kind(repo, git(repo.path, "rev-parse", "main:f7"))) == (first[0], "blob")
    assert run(pid_and_kind(other, git(other.path, "rev-parse", "main")))[0] != first[0]
    assert len(children()) == 2
    run(engine.reader.close())
    assert children() == []


def test_requests_side_by_side_have_processes_of_their_own(
    engine: Parts, repo: BareRepository, run: Any
) -> None:
    async def both() -> None:
        async with engine.reader.open(repo, None) as one, engine.reader.open(repo, None) as two:
            assert one.child.pid != two.child.pid

    run(both())


def test_only_so_many_wait_and_not_for_ever(
    engine: Parts,
    run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    children: Children,
    runtime: Runtime,
) -> None:
    monkeypatch.setattr(object_reader, "MAX_WAITING", 2)
    repos = [imported(tmp_path / f"{n}.git", commit("main", "x", {"a": str(n)})) for n in range(4)]

    async def use(repo: BareRepository) -> Child:
        async with engine.reader.open(repo, None) as objects:
            await objects.header(missing(1))
        return objects.child

    used = [run(use(repo)) for repo in repos]
    for child in used[:2]:
        run(within(runtime, 10, child.wait()))
    assert len(children()) == 2
    monkeypatch.setattr(object_reader, "LIFE_SECONDS", -1.0)
    for repo, child in zip(repos[2:], used[2:], strict=True):
        run(use(repo))
        run(within(runtime, 10, child.wait()))
    assert children() == []


def test_who_goes_away_in_the_middle_leaves_no_process_behind(
    engine: Parts, repo: BareRepository, run: Any, children: Children
) -> None:
    big = git(repo.path, "rev-parse", "main:big")

    async def give_up() -> None:
        async with engine.reader.open(repo, None) as objects:
            os.kill(objects.child.pid, signal.SIGSTOP)
            reading = Deferred.fromCoroutine(objects.read(big, 10**6))
            reading.cancel()
            os.kill(objects.child.pid, signal.SIGCONT)
            await reading

    with pytest.raises(CancelledError):
        run(give_up())
    assert children() == []


def test_a_question_that_takes_too_long(
    engine: Parts,
    repo: BareRepository,
    run: Any,
    monkeypatch: pytest.MonkeyPatch,
    children: Children,
) -> None:
    monkeypatch.setattr(object_reader, "READ_SECONDS", 0.05)

    async def ask() -> None:
        async with engine.reader.open(repo, None) as objects:
            os.kill(objects.child.pid, signal.SIGSTOP)
            try:
                await objects.header(missing(1))
            finally:
                os.kill(objects.child.pid, signal.SIGCONT)

    with pytest.raises(TimedOut):
        run(ask())
    assert children() == []


def test_a_damaged_repository_is_suspected(engine: Parts, repo: BareRepository, run: Any) -> None:
    oid = git(repo.path, "hash-object", "-w", "--stdin", stdin="will rot")
    loose = Path(repo.path, "objects", oid[:2], oid[2:])
    loose.chmod(0o644)
    loose.write_bytes(loose.read_bytes()[:8] + b"rotten")

    async def read() -> None:
        async with engine.reader.open(repo, None) as objects:
            await objects.expect(oid, "blob", 1000)

    with pytest.raises(Unavailable):
        run(read())
    assert engine.suspicions and engine.suspicions[0][0] == repo.key


def test_a_process_that_dies_is_replaced(engine: Parts, repo: BareRepository, run: Any) -> None:
    main = git(repo.path, "rev-parse", "main")

    async def die() -> None:
        async with engine.reader.open(repo, None) as objects:
            os.kill(objects.child.pid, signal.SIGKILL)
            await objects.header(main)

    async def ask() -> Any:
        async with engine.reader.open(repo, None) as objects:
            return await objects.header(main)

    with pytest.raises(Unavailable):
        run(die())
    assert run(ask()).kind == "commit"
