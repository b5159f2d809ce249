"""Providers of sandboxes, opened once each, and a sandbox that tests may share."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from itertools import count

import pytest
from twisted.internet import reactor

from tests.conftest import Run
from tests.sandboxes.plug import PROVIDERS, Plug, opener
from tests.sandboxes.support import Box
from wit.runtime import Runtime
from wit.sandboxes.provider import SandboxProvider, SandboxSpec

_numbers = count(1)


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
def shared_ref(plug: Plug, run: Run) -> Iterator[str]:
    spec = SandboxSpec(id=uuid.uuid4().hex, env={"OF_SANDBOX": "sandbox value", "BOTH": "sandbox"})
    ref = run(plug.provider.create(spec))
    yield ref
    run(plug.provider.destroy(ref))


@pytest.fixture
def box(plug: Plug, shared_ref: str, run: Run) -> Iterator[Box]:
    """The provider's shared sandbox, and a folder in it that is the test's own."""
    box = Box(plug.provider, shared_ref, f"test-{next(_numbers)}")
    run(box.sh(f"mkdir {box.folder}", cwd="/workspace"))
    yield box
    run(box.sh(f"rm -rf {box.folder}", cwd="/workspace"))


@pytest.fixture
def fresh(plug: Plug, run: Run) -> Iterator[Box]:
    """A sandbox of the test's own."""
    ref = run(plug.provider.create(SandboxSpec(id=uuid.uuid4().hex)))
    yield Box(plug.provider, ref, "")
    run(plug.provider.destroy(ref))
