"""The world most tests of this folder start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.repositories.world import World, make_world
from wit.db.port import Database
from wit.runtime import Runtime


@pytest.fixture
def world(database: Database, runtime: Runtime, run, tmp_path: Path) -> World:
    return run(make_world(database, runtime, tmp_path))
