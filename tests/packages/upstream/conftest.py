"""An uplink that does what a test wants, and what is before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.packages.upstream.registry import Registry
from wit.config import Config, Packages, Server, Uplink
from wit.db.port import Database
from wit.metrics import Metrics
from wit.packages.upstream.upstream import Upstream
from wit.runtime import Runtime

SITE = "https://wit.example"


@pytest.fixture
def registry(run: Any) -> Iterator[Registry]:
    registry = Registry()
    run(registry.start())
    yield registry
    run(registry.stop())


class House:
    """An Upstream on a folder of its own, made anew as often as a test likes."""

    def __init__(self, run: Any, runtime: Runtime, folder: Path, registry: Registry) -> None:
        self.run = run
        self.runtime = runtime
        self.folder = folder
        self.registry = registry
        self.metrics = Metrics()
        self.made: list[Upstream] = []

    def open(
        self,
        *,
        db: Database | None = None,
        uplinks: tuple[Uplink, ...] | None = None,
        environ: dict[str, str] | None = None,
        max_tarball_bytes: int = 10**7,
        **uplink: Any,
    ) -> Upstream:
        settings: dict[str, Any] = {"name": "up", "url": self.registry.url, "timeout_seconds": 20.0}
        settings |= uplink
        config = Config(
            self.folder,
            server=Server(public_url=SITE),
            packages=Packages(
                uplinks=(Uplink(**settings),) if uplinks is None else uplinks,
                max_tarball_bytes=max_tarball_bytes,
            ),
        )
        upstream = Upstream(config, cast(Database, db), self.runtime, self.metrics, environ or {})
        self.made.append(upstream)
        return upstream

    def counted(self, what: str, outcome: str) -> int:
        labels = {"uplink": "up", "what": what, "outcome": outcome}
        return int(self.metrics.registry.get_sample_value("wit_uplink_answers_total", labels) or 0)

    def close(self) -> None:
        for upstream in self.made:
            self.run(upstream.stop())


@pytest.fixture
def house(run: Any, runtime: Runtime, tmp_path: Path, registry: Registry) -> Iterator[House]:
    house = House(run, runtime, tmp_path, registry)
    yield house
    house.close()
