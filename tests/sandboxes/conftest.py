"""Providers of sandboxes, opened once each, and a sandbox that tests may share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import count

import attrs
import pytest
from twisted.internet import reactor

from tests.conftest import Run
from tests.sandboxes.plug import PROVIDERS, Plug, opener
from tests.sandboxes.support import Box
from wit.runtime import Runtime
from wit.sandboxes.provider import SandboxProvider, SandboxSpec


@pytest.fixture(scope="session", params=list(PROVIDERS))
def plug(
    request: pytest.FixtureRequest, run: Run, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plug]:
    """A started provider; the test runs once for each."""
    folder = tmp_path_factory.mktemp(f"sandboxes-{request.param}")
    with opener(request.param)(Runtime(reactor), folder, run) as plug:
        yield plug


@pytest.fixture
def provider(plug: Plug) -> SandboxProvider:
    return plug.provider


@pytest.fixture(scope="session")
def shared_boxes(plug: Plug, run: Run) -> Iterator[Iterator[Box]]:
    """The provider's shared sandbox, each time with another empty folder."""
    spec = SandboxSpec(id=uuid.uuid4().hex, env={"OF_SANDBOX": "sandbox value", "BOTH": "sandbox"})
    ref = run(plug.provider.create(spec))
    yield _with_folders(Box(plug.provider, ref, ""), run)
    run(plug.provider.destroy(ref))


def _with_folders(box: Box, run: Run) -> Iterator[Box]:
    """A hundred are made at once, as a command takes an engine half a second."""
    for first in count(0, 100):
        names = [f"test-{number}" for number in range(first, first + 100)]
        run(box.sh('mkdir "$@"', *names))
        yield from (attrs.evolve(box, folder=name) for name in names)


@pytest.fixture
def box(shared_boxes: Iterator[Box]) -> Box:
    """The provider's shared sandbox, and a folder in it that is the test's own."""
    return next(shared_boxes)


@pytest.fixture
def fresh(plug: Plug, run: Run) -> Iterator[Box]:
    """A sandbox of the test's own."""
    ref = run(plug.provider.create(SandboxSpec(id=uuid.uuid4().hex)))
    yield Box(plug.provider, ref, "")
    run(plug.provider.destroy(ref))
