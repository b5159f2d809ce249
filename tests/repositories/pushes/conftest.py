"""A push server with one repository, and a clone to push from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.git.pushing import work_tree
from tests.repositories.pushes.world import NAME, PushWorld
from wit.config import Config
from wit.config import Repositories as RepositoriesConfig
from wit.db.port import Database
from wit.runtime import Runtime


@pytest.fixture
def world(tmp_path: Path, database: Database, runtime: Runtime, run: Any) -> Iterator[PushWorld]:
    config = Config(tmp_path / "data", repositories=RepositoriesConfig(max_file_bytes=1_000_000))
    world = PushWorld(config, runtime, database, run)
    run(world.start())
    world.bare(NAME)
    run(world.add_repository())
    yield world
    world.idle()
    run(world.stop())


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return work_tree(tmp_path / "work")
