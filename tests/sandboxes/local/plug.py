"""The local provider for the contract suite: as whoever runs the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import Run
from tests.sandboxes.plug import Plug
from wit.runtime import Runtime
from wit.sandboxes.local.provider import LocalProvider
from wit.sandboxes.provider import ProviderContext, SandboxProvider


@contextmanager
def open_local(runtime: Runtime, folder: Path, run: Run) -> Iterator[Plug]:
    context = ProviderContext(runtime, folder / "local", f"test-{folder.name}")
    provider = LocalProvider(context)

    @contextmanager
    def reopen() -> Iterator[SandboxProvider]:
        run(provider.stop())
        again = LocalProvider(context)
        run(again.start())
        try:
            yield again
        finally:
            run(again.stop())
            run(provider.start())

    run(provider.start())
    try:
        yield Plug(provider, reopen=reopen)
    finally:
        run(provider.stop())
