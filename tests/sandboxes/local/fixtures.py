"""The local provider, started once for all tests here."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator

import pytest
from twisted.internet import reactor

from tests.conftest import Run
from tests.sandboxes.local.plug import open_local
from tests.sandboxes.support import Box
from wit.runtime import Runtime
from wit.sandboxes.local.provider import LocalProvider
from wit.sandboxes.provider import Limits, Network, SandboxSpec

MIB = 1024 * 1024
SMALL = Limits(memory_bytes=128 * MIB, cpus=1.0, processes=64, disk_bytes=32 * MIB)

NewBox = Callable[..., Box]


@pytest.fixture(scope="session")
def local(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalProvider]:
    with open_local(Runtime(reactor), tmp_path_factory.mktemp("local"), run) as plug:
        assert isinstance(plug.provider, LocalProvider)
        yield plug.provider


@pytest.fixture
def new_box(local: LocalProvider, run: Run) -> Iterator[NewBox]:
    """``new_box(limits=..., network=..., env=...)``: sandboxes that go with the test."""
    made: list[str] = []

    def make(
        limits: Limits = SMALL, network: Network = Network.NONE, env: dict[str, str] | None = None
    ) -> Box:
        spec = SandboxSpec(uuid.uuid4().hex, limits, network, env=env or {})
        made.append(run(local.create(spec)))
        return Box(local, made[-1], "")

    yield make
    for ref in made:
        run(local.destroy(ref))
