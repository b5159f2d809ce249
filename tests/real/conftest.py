"""Every way for git into the shared daemons: protocol × version × engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import site as sites_
from tests.support.site import Door, Person, Site, refs

__all__ = ["Door", "Person", "Site", "refs"]


@pytest.fixture(params=["http", "ssh"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[0, 1, 2], ids=["v0", "v1", "v2"])
def version(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def door(site: Site, kind: str, version: int) -> Door:
    """Every protocol and version, as alice."""
    return Door(site, kind, version, site.alice)


@pytest.fixture
def door_v2(site: Site, kind: str) -> Door:
    """Both protocols, version 2, as alice."""
    return Door(site, kind, 2, site.alice)


@pytest.fixture
def repo(site: Site, new_name: str) -> str:
    """An empty private repository of alice's."""
    return site.create(new_name)


@pytest.fixture(scope="session")
def work_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sites_.make_work(tmp_path_factory.mktemp("template") / "work")


@pytest.fixture
def work(work_template: Path, tmp_path: Path) -> Path:
    """A working copy with three commits, a branch and two tags."""
    return Path(shutil.copytree(work_template, tmp_path / "work"))
