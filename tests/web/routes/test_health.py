from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.web.harness import Online, online
from wit.config import Config
from wit.db.port import DatabaseUnavailable
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.web.routes import health as health_room
from wit.web.routes.health import Health


class Pings:
    def __init__(self) -> None:
        self.answer: Any = 1.6

    async def ping(self) -> float:
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, Deferred):
            await self.answer
        return float(self.answer)


@pytest.fixture
def pings() -> Pings:
    return Pings()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def health(tmp_path: Path, runtime: Runtime, pings: Pings, metrics: Metrics) -> Health:
    (tmp_path / "repos").mkdir()
    return Health(Config(tmp_path), runtime, metrics, pings)


@pytest.fixture
def site(run: Callable[[Any], Any], runtime: Runtime, health: Health) -> Iterator[Online]:
    with online(run, runtime, [health.route()]) as served:
        yield served


def ask(site: Online, path: bytes) -> tuple[int, Any]:
    answer = site.exchange(b"GET " + path + b" HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
    _, _, body = answer.partition(b"\r\n\r\n")
    assert b"Cache-Control: no-store" in answer
    return int(answer.split()[1]), json.loads(body) if body.startswith(b"{") else body


def test_health_as_in_the_contract(site: Online, pings: Pings) -> None:
    status, said = ask(site, b"/health")
    assert status == 200
    assert said["timestamp"].endswith("Z")
    assert len(said["timestamp"]) == len("2026-11-22T16:00:00.123Z")
    del said["timestamp"]
    assert said == {
        "status": "ok",
        "version": "2.0.0",
        "database": {"connected": True, "latency": 2},
        "features": {
            "redis": False,
            "ai": False,
            "objectStorage": False,
            "vectorSearch": False,
        },
    }
    pings.answer = DatabaseUnavailable("gone")
    status, said = ask(site, b"/health")
    assert status == 200
    assert said["status"] == "degraded"
    assert said["database"] == {"connected": False, "latency": -1}


def test_a_database_that_hangs_is_not_waited_for(
    site: Online, pings: Pings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_room, "PING_SECONDS", 0.05)
    pings.answer = Deferred()
    assert ask(site, b"/health")[1]["database"]["connected"] is False
    assert ask(site, b"/livez") == (200, b"ok\n")


@pytest.mark.attack(70)
def test_readiness(
    site: Online,
    health: Health,
    pings: Pings,
    metrics: Metrics,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def degraded(reason: str) -> float | None:
        return metrics.registry.get_sample_value("wit_degraded", {"reason": reason})

    assert ask(site, b"/readyz") == (200, {"ready": True, "problems": {}})

    pings.answer = DatabaseUnavailable("gone")
    status, said = ask(site, b"/readyz")
    assert (status, list(said["problems"])) == (503, ["database"])
    assert degraded("database") == 1
    pings.answer = 1
    assert ask(site, b"/readyz")[0] == 200
    assert degraded("database") == 0

    real_statvfs = os.statvfs
    monkeypatch.setattr(os, "statvfs", lambda path: Full(real_statvfs(path)))
    assert list(ask(site, b"/readyz")[1]["problems"]) == ["disk"]
    assert degraded("disk") == 1
    monkeypatch.setattr(os, "statvfs", real_statvfs)

    monkeypatch.setattr(health_room, "descriptors_left", lambda: 3)
    assert list(ask(site, b"/readyz")[1]["problems"]) == ["fd"]
    monkeypatch.undo()

    (tmp_path / "repos").rmdir()
    assert list(ask(site, b"/readyz")[1]["problems"]) == ["repositories"]
    (tmp_path / "repos").mkdir()

    health.stopping = True
    assert list(ask(site, b"/readyz")[1]["problems"]) == ["stopping"]


class Full:
    def __init__(self, real: os.statvfs_result) -> None:
        self.f_files, self.f_favail, self.f_frsize = real.f_files, real.f_favail, real.f_frsize
        self.f_bavail = 1


def test_only_reading(site: Online) -> None:
    answer = site.exchange(
        b"POST /health HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"Allow: GET\r\n" in answer
