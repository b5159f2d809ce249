"""Servers for pushes, and a work tree to push from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.git.pushing import PushServer, work_tree
from tests.git.receive_pack.support import Make
from wit.config import Config
from wit.config import Git as GitConfig
from wit.runtime import Runtime


@pytest.fixture
def make_server(tmp_path: Path, run: Any, runtime: Runtime) -> Iterator[Make]:
    servers: list[PushServer] = []

    def make(**git_settings: Any) -> PushServer:
        server = PushServer(Config(tmp_path / "data", git=GitConfig(**git_settings)), runtime)
        run(server.start())
        servers.append(server)
        return server

    yield make
    for server in servers:
        run(server.stop())


@pytest.fixture
def server(make_server: Make) -> PushServer:
    return make_server()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return work_tree(tmp_path / "work")
