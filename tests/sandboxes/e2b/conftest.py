"""The fake, and providers before it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.conftest import Run
from tests.sandboxes.e2b.fake import FakeE2B
from tests.sandboxes.e2b.plug import make_provider, open_fake
from wit.runtime import Runtime
from wit.sandboxes.e2b.provider import E2bProvider
from wit.sandboxes.provider import SandboxSpec

Make = Callable[..., E2bProvider]


@attrs.frozen
class Impatient(Runtime):
    """Sleeps for no time at all, and keeps in mind for how long it should have."""

    slept: list[float] = attrs.field(factory=list)

    def sleep(self, seconds: float) -> Deferred[None]:
        self.slept.append(seconds)
        return super().sleep(0)


@pytest.fixture(scope="session")
def fake(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeE2B]:
    with open_fake(Impatient(reactor), tmp_path_factory.mktemp("e2b"), run) as fake:
        yield fake


@pytest.fixture
def slept(fake: FakeE2B) -> list[float]:
    """How long the providers before the fake would have waited, from now on."""
    assert isinstance(fake.runtime, Impatient)
    fake.runtime.slept.clear()
    return fake.runtime.slept


@pytest.fixture(autouse=True)
def no_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "fake" in request.fixturenames:
        request.getfixturevalue("fake").faults.clear()


@pytest.fixture
def make(fake: FakeE2B, run: Run, tmp_path: Path) -> Iterator[Make]:
    """``make(**settings)``: a provider before the fake."""
    made: list[E2bProvider] = []

    def make(**settings: str) -> E2bProvider:
        provider = make_provider(fake, tmp_path, **settings)
        made.append(provider)
        return provider

    yield make
    for provider in made:
        run(provider.stop())


@pytest.fixture
def e2b(make: Make) -> E2bProvider:
    return make()


@pytest.fixture(scope="session")
def ref(fake: FakeE2B, run: Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A sandbox that tests share; every provider before the fake finds it."""
    provider = make_provider(fake, tmp_path_factory.mktemp("shared"))
    ref: str = run(provider.create(new_spec()))
    run(provider.stop())
    return ref


@pytest.fixture
def own_ref(e2b: E2bProvider, fake: FakeE2B, run: Run) -> Iterator[str]:
    """A sandbox of the test's own."""
    ref: str = run(e2b.create(new_spec()))
    yield ref
    if ref in fake.boxes:
        run(e2b.destroy(ref))


def new_spec(**values: Any) -> SandboxSpec:
    return SandboxSpec(id=uuid.uuid4().hex, **values)
