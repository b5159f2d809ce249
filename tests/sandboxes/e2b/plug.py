"""E2B's provider before the fake, for the suite that all providers pass."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.sandboxes.e2b.fake import FakeE2B
from tests.sandboxes.e2b.records import KEY
from tests.sandboxes.plug import Plug
from wit.runtime import Runtime
from wit.sandboxes.e2b.provider import E2bProvider
from wit.sandboxes.provider import ProviderContext, SandboxProvider


def make_provider(fake: FakeE2B, folder: Path, **settings: str) -> E2bProvider:
    """A provider before the fake; an empty setting is none."""
    given = {"api_key": KEY, "api_url": fake.url, "sandbox_url": fake.url, **settings}
    return E2bProvider(
        ProviderContext(
            runtime=fake.runtime,
            folder=folder,
            instance="wit under & test",
            settings={name: value for name, value in given.items() if value},
        )
    )


@contextmanager
def open_fake(runtime: Runtime, folder: Path, run: Run) -> Iterator[FakeE2B]:
    pytest.importorskip("e2b", reason="the fake's daemon is made of E2B's own package")
    if shutil.which("bwrap") is None:
        pytest.skip("the fake's sandboxes need bubblewrap")
    fake = FakeE2B(runtime, folder)
    run(fake.start())
    try:
        yield fake
    finally:
        run(fake.stop())


@contextmanager
def open_e2b(runtime: Runtime, folder: Path, run: Run) -> Iterator[Plug]:
    with open_fake(runtime, folder, run) as fake:

        @contextmanager
        def opened() -> Iterator[SandboxProvider]:
            provider = make_provider(fake, folder)
            run(provider.start())
            try:
                yield provider
            finally:
                run(provider.stop())

        with opened() as provider:
            yield Plug(provider, isolated=True, crowd=4, reopen=opened)
