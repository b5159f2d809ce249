"""A provider before the shared engine, and a sandbox that the tests of this folder share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet import reactor

from tests.conftest import Run
from tests.sandboxes.docker.plug import engine_of, opened
from tests.sandboxes.support import Box
from tests.support.engine import RealEngine
from wit.runtime import Runtime
from wit.sandboxes.docker.provider import DockerProvider
from wit.sandboxes.provider import SandboxSpec


@pytest.fixture(scope="session")
def engine() -> RealEngine:
    """The test run's Docker engine."""
    return engine_of("docker")


@pytest.fixture(scope="module")
def docker(engine: RealEngine, run: Run) -> Iterator[DockerProvider]:
    with opened(engine, Runtime(reactor), Path(), run) as provider:
        yield provider
        for left in run(provider.sandboxes()):
            run(provider.destroy(left.ref))


@pytest.fixture(scope="module")
def inside(docker: DockerProvider, run: Run) -> Box:
    """A sandbox that is not to be broken."""
    return Box(docker, run(docker.create(SandboxSpec(id=uuid.uuid4().hex))), "")
