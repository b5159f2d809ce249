"""The git routes over a stand-in for traffic with one repository."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.web.harness import Online, online
from tests.web.routes.git.support import git
from tests.web.routes.standin import Credentials, Traffic
from wit.config import Config
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.web.routes.git import GitDoor


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A bare repository with one commit."""
    work, bare = tmp_path / "work", tmp_path / "tools.git"
    git("init", "--quiet", "-b", "main", str(work))
    (work / "file").write_text("content\n" * 1000)
    git("-C", str(work), "add", ".")
    git("-C", str(work), "commit", "--quiet", "-m", "first")
    git("clone", "--quiet", "--bare", str(work), str(bare))
    return bare


@pytest.fixture
def traffic(runtime: Runtime, repository: Path) -> Traffic:
    return Traffic(runtime, repository)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def site(
    run: Callable[[Any], Any],
    runtime: Runtime,
    traffic: Traffic,
    metrics: Metrics,
    tmp_path: Path,
) -> Iterator[Online]:
    door = GitDoor(traffic, Credentials(), Config(tmp_path), metrics)
    with online(run, runtime, [door.route], metrics=metrics) as served:
        yield served
