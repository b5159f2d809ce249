"""The paths of repositories on disk."""

from __future__ import annotations

import pytest

from tests.repositories.world import World, name
from wit.errors import Invalid


@pytest.mark.attack(30)
@pytest.mark.parametrize(
    "disk_path",
    [
        "/repos/../evil/x.git",
        "/repos/Ada/../../x.git",
        "/repos-evil/Ada/x.git",
        "/repos/Ada/x",
        "/repos/Ada/x/y.git",
        "/repos/Ada/.git",
        "/repos//Ada/x.git",
        "/repos/.wit/trash.git",
        "/repos/Ada/x.git\0",
        "/etc/passwd",
        "Ada/x.git",
        "",
    ],
)
def test_a_disk_path_never_leaves_the_folder(world: World, disk_path: str) -> None:
    with pytest.raises(Invalid):
        world.manager.folders.path(disk_path)


def test_disk_paths_and_folders(world: World) -> None:
    folders = world.manager.folders
    assert folders.path(folders.disk_path(name("Ada/x"))) == world.path("Ada/x")
