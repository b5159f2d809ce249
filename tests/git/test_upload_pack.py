"""Real git against UploadPack: sessions over git://, requests over HTTP, v0, v1 and v2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fetching import Served, git, make_repository, make_served, start, stop

from wit.runtime import Runtime

SCHEMES = ["git", "http"]
PROTOCOLS = [0, 1, 2]


@pytest.fixture(scope="module", params=["sha1", "sha256"])
def repository(request: Any, tmp_path_factory: Any) -> Path:
    return make_repository(tmp_path_factory.mktemp("repos") / "a.git", request.param)


@pytest.fixture
def served(repository: Path, runtime: Runtime, run: Any) -> Iterator[Served]:
    served = make_served(repository.parent, runtime)
    run(start(served, runtime))
    yield served
    run(stop(served))


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


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_clone_shallow_deepen_and_fetch(
    served: Served, repository: Path, tmp_path: Path, scheme: str, protocol: int
) -> None:
    version = speaking(protocol)
    url = served.url(scheme, "a.git")
    git("clone", "-q", "--mirror", url, tmp_path / "full", **version)
    same(tmp_path / "full", repository)
    git("clone", "-q", "--depth=2", url, tmp_path / "shallow", **version)
    assert git("rev-list", "--count", "HEAD", cwd=tmp_path / "shallow") == "2"
    git("fetch", "-q", "--deepen=2", cwd=tmp_path / "shallow", **version)
    assert git("rev-list", "--count", "HEAD", cwd=tmp_path / "shallow") == "4"
    git("fetch", "-q", "--unshallow", cwd=tmp_path / "shallow", **version)
    assert git("rev-list", "--count", "HEAD", cwd=tmp_path / "shallow") == "7"
    git("init", "-q", f"--object-format={served.repo('a.git').object_format}", tmp_path / "part")
    git("fetch", "-q", url, "side", cwd=tmp_path / "part", **version)
    git("fetch", "-q", url, "main", cwd=tmp_path / "part", **version)
    assert git("rev-list", "--count", "FETCH_HEAD", cwd=tmp_path / "part") == "7"
    assert served.errors == []
    assert served.governor.running == 0


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
        **version,
    )
    assert (tmp_path / "clone" / "random").stat().st_size == 300_000
    log = git("log", "-p", "--stat", "--all", cwd=tmp_path / "clone", **version)
    assert "version 0" in log
    assert served.errors == []
