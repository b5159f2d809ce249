"""Real git against UploadPack: sessions over git://, requests over HTTP, v0, v1 and v2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from tests.git.fetching import Served, ask, clone_request, git, line, make_repository, serving
from wit.runtime import Runtime
from wit.streams import ByteQueue, BytesSink, BytesSource

SCHEMES = ["git", "http"]
PROTOCOLS = [0, 1, 2]


@pytest.fixture(scope="module")
def repository(request: Any, tmp_path_factory: Any) -> Path:
    object_format = getattr(request, "param", "sha1")
    return make_repository(tmp_path_factory.mktemp("repos") / "a.git", object_format)


@pytest.fixture
def served(repository: Path, runtime: Runtime, run: Any) -> Iterator[Served]:
    with serving(repository, runtime, run) as served:
        yield served


FORMATS = pytest.mark.parametrize("repository", ["sha1", "sha256"], indirect=True)


def speaking(protocol: int) -> dict[str, str]:
    """The environment in which git asks for this version."""
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "protocol.version",
        "GIT_CONFIG_VALUE_0": str(protocol),
    }


def same(clone: Path, repository: Path) -> None:
    git("fsck", "--strict", cwd=clone)
    ours = git("for-each-ref", "--format=%(objectname) %(refname)", cwd=repository)
    theirs = git("ls-remote", "--refs", clone)
    assert set(ours.split("\n")) == set(theirs.replace("\t", " ").split("\n"))


@FORMATS
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_clone_shallow_deepen_and_fetch(
    served: Served, repository: Path, tmp_path: Path, scheme: str, protocol: int
) -> None:
    version = speaking(protocol)
    url = served.url(scheme, "a.git")
    git("clone", "-q", "--mirror", url, tmp_path / "full", env=version)
    same(tmp_path / "full", repository)
    git("clone", "-q", "--depth=2", url, tmp_path / "shallow", env=version)
    assert git("rev-list", "--count", "HEAD", cwd=tmp_path / "shallow") == "2"
    git("fetch", "-q", "--deepen=2", cwd=tmp_path / "shallow", env=version)
    assert git("rev-list", "--count", "HEAD", cwd=tmp_path / "shallow") == "4"
    git("fetch", "-q", "--unshallow", cwd=tmp_path / "shallow", env=version)
    assert git("rev-list", "--count", "HEAD", cwd=tmp_path / "shallow") == "7"
    git("init", "-q", f"--object-format={served.repo('a.git').object_format}", tmp_path / "part")
    git("fetch", "-q", url, "side", cwd=tmp_path / "part", env=version)
    git("fetch", "-q", url, "main", cwd=tmp_path / "part", env=version)
    assert git("rev-list", "--count", "FETCH_HEAD", cwd=tmp_path / "part") == "7"
    assert served.errors == []
    assert served.governor.running == 0


@FORMATS
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("filter", ["blob:none", "tree:0", "blob:limit=1k"])
def test_partial_clone_with_lazy_fetches(
    served: Served, repository: Path, tmp_path: Path, scheme: str, protocol: int, filter: str
) -> None:
    version = speaking(protocol)
    git(
        "clone",
        "-q",
        f"--filter={filter}",
        served.url(scheme, "a.git"),
        tmp_path / "clone",
        env=version,
    )
    assert (tmp_path / "clone" / "random").stat().st_size == 300_000
    log = git("log", "-p", "--stat", "--all", cwd=tmp_path / "clone", env=version)
    assert "version 0" in log
    assert served.errors == []


@FORMATS
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_empty_repository_tags_and_single_branch(
    served: Served, repository: Path, tmp_path: Path, scheme: str, protocol: int
) -> None:
    version = speaking(protocol)
    git("init", "-q", "--bare", repository.parent / "empty.git")
    git("clone", "-q", served.url(scheme, "empty.git"), tmp_path / "empty", env=version)
    url = served.url(scheme, "a.git")
    git("clone", "-q", "--single-branch", "-b", "side", url, tmp_path / "single", env=version)
    assert git("branch", "-r", cwd=tmp_path / "single") == "origin/side"
    git("fetch", "-q", "origin", "tag", "v1", cwd=tmp_path / "single", env=version)
    assert git("tag", cwd=tmp_path / "single") == "v1"
    old = git("rev-parse", "main~4", cwd=repository)
    git("init", "-q", f"--object-format={served.repo('a.git').object_format}", tmp_path / "by-id")
    git("fetch", "-q", url, old, cwd=tmp_path / "by-id", env=version)
    assert git("rev-parse", "FETCH_HEAD", cwd=tmp_path / "by-id") == old
    assert served.errors == []


def misses_and_hits(served: Served) -> tuple[float | None, float | None]:
    value = served.metrics.registry.get_sample_value
    return value("wit_pack_cache_misses_total"), value("wit_pack_cache_hits_total")


def test_eight_clones_at_once_are_one_run(served: Served, repository: Path, run: Any) -> None:
    sinks = [BytesSink() for _ in range(8)]
    repo = served.repo("a.git")

    async def all_of_them() -> int:
        most = 0

        async def one(number: int, sink: BytesSink) -> None:
            nonlocal most
            source = BytesSource(clone_request(repository, agent=f"client/{number}"))
            await served.upload_pack.serve_request(repo, 2, source, sink, f"user-{number}")
            most = max(most, served.governor.running)

        await gatherResults([Deferred.fromCoroutine(one(*each)) for each in enumerate(sinks)])
        return most

    assert run(all_of_them()) <= 1
    assert len({sink.value() for sink in sinks}) == 1
    assert b"PACK" in sinks[0].value()
    assert misses_and_hits(served) == (1, 7)


def test_only_equal_requests_for_equal_refs_share_a_pack(
    served: Served, repository: Path, run: Any
) -> None:
    first = ask(served, run, clone_request(repository))
    assert ask(served, run, clone_request(repository, agent="other")) == first
    assert misses_and_hits(served) == (1, 1)
    ask(served, run, clone_request(repository, "filter blob:none"))
    ask(served, run, clone_request(repository, "deepen 1"))
    assert misses_and_hits(served) == (3, 1)
    git("update-ref", "refs/heads/new", "side", cwd=repository)
    ask(served, run, clone_request(repository))
    assert misses_and_hits(served) == (4, 1)
    git("update-ref", "-d", "refs/heads/new", cwd=repository)
    assert ask(served, run, clone_request(repository)) == first
    assert misses_and_hits(served) == (4, 2)
    have = git("rev-parse", "main~1", cwd=repository)
    ask(served, run, clone_request(repository, f"have {have}"))
    assert misses_and_hits(served) == (4, 2)


def test_v0_clones_share_a_pack_as_well(served: Served, repository: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        git("clone", "-q", served.url("http", "a.git"), tmp_path / name, env=speaking(0))
    assert misses_and_hits(served) == (1, 1)


def test_a_session_holds_a_slot_only_while_git_runs(
    served: Served, repository: Path, runtime: Runtime, run: Any
) -> None:
    async def talk() -> None:
        source = ByteQueue()
        answers = ByteQueue()
        sink = SimpleNamespace(write=_writer(answers))
        session = Deferred.fromCoroutine(
            served.upload_pack.serve_session(served.repo("a.git"), 2, source, sink, "tester")
        )
        assert (await answers.read()).startswith(b"000eversion 2\n")
        name = served.repo("a.git").object_format
        ls_refs = line("command=ls-refs") + line(f"object-format={name}") + b"0000"
        fetch = clone_request(repository, "filter tree:0")
        for _ in range(2):
            # Cut in two at an odd place, and the next one in the same piece.
            source.feed(ls_refs[:7])
            source.feed(ls_refs[7:] + fetch)
            assert b" refs/heads/main\n" in await answers.read()
            answer = await answers.read()
            while not answer.endswith(b"0000"):
                answer += await answers.read()
            assert b"PACK" in answer
            while served.governor.running:
                await runtime.sleep(0.001)
            assert not session.called
        source.feed(b"0000")
        await session

    run(talk())


def _writer(queue: ByteQueue) -> Any:
    async def write(data: bytes) -> None:
        queue.feed(data)

    return write
