"""The provider over the fake, for the suite that all providers share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import Run
from tests.sandboxes.daytona.fake import FakeDaytona
from tests.sandboxes.daytona.service import KEY
from tests.sandboxes.plug import Plug
from wit.runtime import Runtime
from wit.sandboxes.daytona.provider import DaytonaProvider
from wit.sandboxes.provider import ProviderContext


@contextmanager
def open_fake(folder: Path, run: Run) -> Iterator[FakeDaytona]:
    fake = FakeDaytona(folder)

    async def listen() -> None:
        fake.listen()

    run(listen())
    try:
        yield fake
    finally:
        run(fake.close())


@contextmanager
def open_provider(
    fake: FakeDaytona, runtime: Runtime, folder: Path, run: Run, **settings: str
) -> Iterator[DaytonaProvider]:
    known = {"api_key": KEY, "api_url": f"{fake.origin}/api", **settings}
    provider = DaytonaProvider(ProviderContext(runtime, folder, "tests", known))
    run(provider.start())
    try:
        yield provider
    finally:
        run(provider.stop())


@contextmanager
def open_daytona(runtime: Runtime, folder: Path, run: Run) -> Iterator[Plug]:
    with (
        open_fake(folder / "fake", run) as fake,
        open_provider(fake, runtime, folder / "own", run) as provider,
    ):
        yield Plug(
            provider,
            isolated=False,
            reopen=lambda: open_provider(fake, runtime, folder / "again", run),
        )
