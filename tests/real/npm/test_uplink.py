"""Packages of other registries: of another wit, and of the one that npm is configured for here."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.npm.registry import Registry, required
from tests.support.daemon import Daemon

REAL = "once"
"""A package that every mirror has: small, and with a dependency."""


def configured_registry() -> str | None:
    """What npm is configured for, unless it cannot be reached."""
    asked = ("npm", "config", "get", "registry")
    url = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60).stdout
    try:
        with urllib.request.urlopen(f"{url.strip()}{REAL}", timeout=20):
            return url.strip()
    except (urllib.error.URLError, OSError):
        return None


class Before:
    """A daemon before other registries."""

    def __init__(self, folder: Path, registry: Registry, *uplinks: dict[str, object]) -> None:
        self.folder = folder
        self.uplinks = [uplink["name"] for uplink in uplinks]
        self.daemon = Daemon(
            folder / "data",
            environment={
                "WIT_PACKAGES_UPLINKS": json.dumps(uplinks),
                "OTHER_TOKEN": registry.tokens["alice"],
            },
        )
        self.daemon.environment["AUTH_BASE_URL"] = self.daemon.url().rstrip("/")
        self.daemon.start()

    def npm(self, *words: str, project: str, check: bool = True) -> str:
        """What npm says, which has a cache of its own in each project."""
        folder = self.folder / project
        if not folder.exists():
            folder.mkdir()
            (folder / "package.json").write_text('{"name":"project","version":"1.0.0"}')
            lines = [
                f"registry={self.daemon.url('api/packages/')}",
                "fetch-retries=0",
                "audit=false",
            ]
            (folder / ".npmrc").write_text("\n".join(lines))
        done = subprocess.run(
            ("npm", *words),
            cwd=folder,
            env={**os.environ, "HOME": str(folder), "npm_config_cache": str(folder / "cache")},
            capture_output=True,
            text=True,
            timeout=120,
        )
        said = done.stdout + done.stderr
        assert (done.returncode == 0) == check, f"{said}\n{self.daemon.log()[-3000:]}"
        return said

    def fetched(self, uplink: str) -> int:
        """Tarballs that came from the uplink."""
        url = f"http://127.0.0.1:{self.daemon.metrics_port}/metrics"
        name = f'wit_uplink_answers_total{{outcome="fetched",uplink="{uplink}",what="tarball"}} '
        with urllib.request.urlopen(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return sum(int(float(line.removeprefix(name))) for line in lines if line.startswith(name))


@pytest.fixture(scope="module")
def before(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Before]:
    settings = {"url": registry.url, "names": ["@alice/*", "package-*"], "readers": "everybody"}
    uplinks: list[dict[str, object]] = [
        {"name": "wit", "token_variable": "OTHER_TOKEN", "max_age_seconds": 0, **settings}
    ]
    if url := configured_registry():
        uplinks.append({"name": "up", "url": url})
    before = Before(tmp_path_factory.mktemp("before"), registry, *uplinks)
    yield before
    before.daemon.stop()


def test_a_wit_before_a_wit(registry: Registry, before: Before) -> None:
    name = registry.published()
    private = registry.package(registry.repository(private=True), "@alice/hidden")
    registry.npm("publish", cwd=private)
    before.npm("install", name, "@alice/hidden", project="one")
    project = before.folder / "one"
    assert required(project, name) == required(project, "@alice/hidden") == "1.0.0"
    lock = json.loads((project / "package-lock.json").read_text())["packages"]
    here = before.daemon.url("api/packages/")
    assert lock[f"node_modules/{name}"]["resolved"].startswith(here)
    assert before.fetched("wit") == 2

    registry.site.daemon.stop()
    try:
        before.npm("install", name, "@alice/hidden", project="two")
        assert required(before.folder / "two", name) == "1.0.0"
    finally:
        registry.site.daemon.start()
    assert before.fetched("wit") == 2, "they were kept"


def test_the_registry_that_npm_is_configured_for(before: Before) -> None:
    if "up" not in before.uplinks:
        pytest.skip("the registry that npm is configured for cannot be reached")
    before.npm("install", REAL, project="real")
    project = before.folder / "real"
    entry = json.loads((project / "package-lock.json").read_text())["packages"]
    entry = entry[f"node_modules/{REAL}"]
    assert entry["resolved"].startswith(before.daemon.url("api/packages/"))
    assert entry["integrity"].startswith("sha512-")
    fetched = before.fetched("up")
    assert fetched >= 2
    (project / "node_modules").rename(project / "first")
    before.npm("ci", "--cache", str(project / "empty"), project="real")
    assert (project / "node_modules" / REAL).is_dir()
    assert before.fetched("up") == fetched, "they were kept"
