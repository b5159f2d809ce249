"""One world for each engine of the database; what takes long to make is made once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from twisted.internet import reactor

from tests.conftest import Run
from tests.sandboxes.manager.world import Ground, World, make_ground, make_world
from wit.runtime import Runtime


@pytest.fixture(scope="session")
def grounds(
    request: pytest.FixtureRequest,
    run: Run,
    plain_git_environment: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Ground]]:
    made: dict[str, Ground] = {}

    def ground_on(engine: str) -> Ground:
        if engine not in made:
            url = ""
            if engine == "postgresql":
                url = request.getfixturevalue("postgres_server").new_database()
            folder = tmp_path_factory.mktemp(f"sandboxes-{engine}")
            made[engine] = run(make_ground(url, Runtime(reactor), folder))
        return made[engine]

    yield ground_on
    for ground in made.values():
        run(ground.core.close())


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def ground(request: pytest.FixtureRequest, grounds: Callable[[str], Ground]) -> Ground:
    return grounds(request.param)


@pytest.fixture
def world(ground: Ground, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = run(make_world(ground, Path(tmp_path_factory.mktemp("world"))))
    yield world
    run(world.service.stop())
