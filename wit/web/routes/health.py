"""How the daemon is: for people (/health), for supervisors (/livez) and for balancers (/readyz)."""

from __future__ import annotations

import os
import resource
from datetime import UTC
from typing import Protocol

from twisted.internet.defer import Deferred, TimeoutError
from twisted.logger import Logger

from wit import config
from wit.errors import WitError
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.web.answers import JSON, TEXT, json_bytes
from wit.web.site import Route, exactly
from wit.web.streaming import Request

VERSION = "2.0.0"
"""What /health calls the version: that of the contract, which clients compare with."""

FEATURES = {"redis": False, "ai": False, "objectStorage": False, "vectorSearch": False}
"""The optional parts that the contract's /health tells about; wit has none of them yet."""

PING_SECONDS = 2.0
"""Within which the database must answer."""

MIN_FREE_BYTES = 128 * 1024 * 1024
"""Disk space below which no more pushes should come."""

MIN_FREE_DESCRIPTORS = 64
"""File descriptors below which no more connections should come."""


class Pinged(Protocol):
    """wit.db.port.Database, as far as it is used here."""

    async def ping(self) -> float: ...


class Health:
    """Looks at what the daemon needs. Each finding is also a ``degraded`` metric.

    ``stopping`` is set by whoever stops the daemon: no balancer shall send more then.
    """

    log = Logger()

    def __init__(
        self, settings: config.Config, runtime: Runtime, metrics: Metrics, database: Pinged
    ) -> None:
        self.stopping = False
        self._settings = settings
        self._runtime = runtime
        self._database = database
        self._gauges = {
            reason: metrics.degraded.labels(reason)
            for reason in ("database", "repositories", "disk", "fd")
        }

    def route(self) -> Route:
        return exactly(
            {
                b"/health": {b"GET": self.health},
                b"/livez": {b"GET": self.livez},
                b"/readyz": {b"GET": self.readyz},
            }
        )

    async def health(self, request: Request) -> None:
        latency = await self._ping()
        now = self._runtime.now().astimezone(UTC)
        answer = {
            "status": "ok" if latency >= 0 else "degraded",
            "version": VERSION,
            "timestamp": now.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "database": {"connected": latency >= 0, "latency": latency},
            "features": FEATURES,
        }
        request.setHeader(b"Cache-Control", b"no-store")
        request.answer(200, JSON, json_bytes(answer))

    async def livez(self, request: Request) -> None:
        request.setHeader(b"Cache-Control", b"no-store")
        request.answer(200, TEXT, b"ok\n")

    async def readyz(self, request: Request) -> None:
        problems = await self.problems()
        if self.stopping:
            problems["stopping"] = "the server is stopping"
        request.setHeader(b"Cache-Control", b"no-store")
        request.answer(
            503 if problems else 200,
            JSON,
            json_bytes({"ready": not problems, "problems": problems}),
        )

    async def problems(self) -> dict[str, str]:
        """What is wrong now, by the ``reason`` of the degraded metric; sets the metric."""
        problems = await self._runtime.in_thread(self._look_around)
        if await self._ping() < 0:
            problems["database"] = "the database does not answer"
        for reason, gauge in self._gauges.items():
            gauge.set(reason in problems)
        return problems

    async def _ping(self) -> int:
        """Milliseconds of one round trip; -1 if there is no answer in time."""
        answer = Deferred.fromCoroutine(self._database.ping())
        answer.addTimeout(PING_SECONDS, self._runtime.reactor)
        try:
            return round(await answer)
        except (WitError, TimeoutError):
            return -1
        except Exception:
            self.log.failure("the database check failed")
            return -1

    def _look_around(self) -> dict[str, str]:
        """The checks that may block, for a thread."""
        problems = {}
        repos_dir = str(self._settings.repos_dir)
        if not os.access(repos_dir, os.R_OK | os.W_OK | os.X_OK):
            problems["repositories"] = "the repositories folder cannot be written"
        else:
            disk = os.statvfs(repos_dir)
            no_inodes = disk.f_files > 0 and disk.f_favail == 0
            if disk.f_bavail * disk.f_frsize < MIN_FREE_BYTES or no_inodes:
                problems["disk"] = "the disk of the repositories is full"
        if descriptors_left() < MIN_FREE_DESCRIPTORS:
            problems["fd"] = "the file descriptors are running out"
        return problems


def descriptors_left() -> int:
    """How many more files this process may open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        return limit - len(os.listdir("/proc/self/fd"))
    except OSError:  # too few even for looking
        return 0
