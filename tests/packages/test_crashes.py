"""kill -9 while publishing: the version is wholly there or wholly absent, and can be published."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.packages import crash
from tests.packages.publishing_support import Registry, document, make_registry, manifest
from wit.db.port import Database
from wit.db.tables import (
    events,
    package_dist_tags,
    package_maintainers,
    package_numbers,
    package_versions,
    packages,
)
from wit.errors import Conflict
from wit.runtime import Runtime

TABLES = (packages, package_versions, package_dist_tags, package_maintainers, package_numbers)
LAST = select(package_versions).order_by(package_versions.c.published_at.desc()).limit(1)
IN_THE_TRANSACTION = ("before the commit", "after the commit")
"""Points at which it matters which database it is; the others are visited with one of them."""


@pytest.fixture
def registry(database: Database, runtime: Runtime, run: Any, tmp_path: Path) -> Registry:
    made: Registry = run(make_registry(database, runtime, tmp_path))
    return made


def publish_and_die(registry: Registry, database_url: str, body: Any, point: str) -> None:
    order = {
        "database": database_url,
        "user": registry.ada.user_id,
        "name": body["name"],
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
    }
    done = subprocess.run(
        [sys.executable, "-m", crash.__name__, str(registry.world.config.data_dir), point],
        input=json.dumps(order), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, f"{point}: {done.stderr}"


def test_killed(run: Any, registry: Registry, database_url: str) -> None:
    points = crash.POINTS if database_url.startswith("sqlite") else IN_THE_TRANSACTION
    db, parts = registry.world.db, registry.packages

    async def rows() -> list[int]:
        published = select(events).where(events.c.type == "package.published")
        counts = [len(await db.fetch_all(select(table))) for table in TABLES]
        return [*counts, len(await db.fetch_all(published))]

    async def look(point: str, body: Any, before: list[int]) -> None:
        if point == "after the commit":
            assert await rows() == [count + 1 for count in before], point
            row = await db.fetch_one(LAST)
            assert row is not None
            assert await parts.blobs.size(row["tarball_sha512"]) == row["tarball_size"]
            with pytest.raises(Conflict):
                await registry.publish(registry.ada, body)
        else:
            assert await rows() == before, point
            assert (await registry.publish(registry.ada, body)).versions == ["1.0.0"]

    for number, point in enumerate(points):
        body = document(manifest(f"tool{number}", "1.0.0", "ada/tools"))
        before = run(rows())
        publish_and_die(registry, database_url, body, point)
        run(look(point, body, before))
