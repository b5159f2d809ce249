"""What a container uses, from the engine's figures and, for the disk, from a look inside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred

from wit.errors import WitError
from wit.sandboxes.docker import scripts
from wit.sandboxes.docker.container import Container
from wit.sandboxes.provider import State, Usage

COUNTING_SECONDS = 10.0
"""Longer is not waited for files to be counted."""


async def usage_of(container: Container, limited: bool) -> Usage:
    """See SandboxProvider.usage; ``limited``: the workspace is a file system of its own size."""
    counting = Deferred.fromCoroutine(container.statistics())
    used, total, kills = None, None, 0
    if await container.state() is State.RUNNING:
        used, total = await _disk(container, limited)
        kills = await _kills(container)
    figures = await counting
    memory = figures.get("memory_stats") or {}
    cpu = (figures.get("cpu_stats") or {}).get("cpu_usage") or {}
    return Usage(
        memory_bytes=_memory(memory),
        memory_limit=_whole(memory.get("limit")),
        cpu_seconds=cpu["total_usage"] / 1e9 if "total_usage" in cpu else None,
        processes=_whole((figures.get("pids_stats") or {}).get("current")),
        disk_bytes=used,
        disk_limit=total,
        out_of_memory=kills,
    )


def _memory(figures: Mapping[str, Any]) -> int | None:
    """Without what is only cached, as the docker client counts it."""
    usage = figures.get("usage")
    if usage is None:
        return None
    found = figures.get("stats") or {}
    cached = found.get("total_inactive_file", found.get("inactive_file", 0))
    return max(0, int(usage) - int(cached))


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


async def _disk(container: Container, limited: bool) -> tuple[int | None, int | None]:
    """Used and allowed bytes; None for what is not known, as when the sandbox is too busy."""
    argv = scripts.files(scripts.DISK, "own" if limited else "shared")
    try:
        answer = await container.run(argv, seconds=COUNTING_SECONDS)
    except WitError:
        return None, None
    words = answer.stdout.split()
    if limited:
        # Of df's second line: device, size, used, available, part, folder.
        figures = answer.stdout.splitlines()[-1].split() if answer.code == 0 else []
        return (
            (int(figures[2]) * 1024, int(figures[1]) * 1024) if len(figures) > 2 else (None, None)
        )
    return (int(words[0]) * 1024, None) if words else (None, None)


async def _kills(container: Container) -> int:
    try:
        return await container.kills()
    except WitError:
        return 0
