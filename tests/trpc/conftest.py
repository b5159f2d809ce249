from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.web.harness import Online, online
from wit.config import Config
from wit.runtime import Runtime
from wit.trpc.door import TrpcDoor

from .procedures import Gate
from .support import NODE, make_door


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def door(runtime: Runtime, tmp_path: Path, gate: Gate) -> TrpcDoor:
    return make_door(runtime, Config(tmp_path), gate)


@pytest.fixture
def wit(run: Callable[[Any], Any], runtime: Runtime, door: TrpcDoor) -> Iterator[Online]:
    """The door with the test's procedures."""
    with online(run, runtime, [door.route]) as served:
        yield served


@pytest.fixture(scope="session")
def real() -> Iterator[int]:
    """The port of a real @trpc/server with the same procedures."""
    assert (NODE / "node_modules").exists(), "run `scripts/setup dev .venv`: it runs npm ci"
    with subprocess.Popen(
        ["node", str(NODE / "trpc_server.mjs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None and server.stdin is not None
        yield int(server.stdout.readline())
        server.stdin.close()
