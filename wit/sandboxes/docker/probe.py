"""Whether an engine can keep sandboxes apart and within limits; tried as far as that is cheap."""

from __future__ import annotations

from typing import Any

import attrs

from wit.runtime import Runtime
from wit.sandboxes.docker.creation import MEMORY, Settings, quota
from wit.sandboxes.docker.engine import Engine, Refused, escaped
from wit.sandboxes.docker.images import Images, missing
from wit.sandboxes.provider import Readiness


@attrs.frozen
class Probed:
    readiness: Readiness
    quota: bool
    """Volumes can have a size."""
    network: bool
    """There is a network for sandboxes that may have one."""
    cpu: bool


async def probe(engine: Engine, settings: Settings, images: Images, runtime: Runtime) -> Probed:
    """Raises Unavailable when the engine does not answer."""
    version = await engine.version()
    info = await engine.call("GET", "/info")
    problem = _problem(info, settings)
    if not problem and not await images.can_have(settings.image):
        problem = missing(settings.image)
    has_quota = settings.workspace != MEMORY and await _has_quota(engine, runtime)
    network = bool(settings.network) and await _has_network(engine, settings.network)
    detail = {
        "engine": f"{info.get('ServerVersion', '?')} at {engine.address.text}",
        "api": version,
        "image": settings.image,
        "disk": _disk(settings, has_quota),
        "network": _network(settings, network),
    }
    if engine.address.host and not engine.address.tls:
        detail["connection"] = "not encrypted: whoever can read it is root on the engine's machine"
    ready = Readiness(not problem, problem, detail)
    return Probed(ready, has_quota, network, bool(info.get("CpuCfsQuota", True)))


def _problem(info: dict[str, Any], settings: Settings) -> str:
    """What is missing; empty if nothing is."""
    if info.get("OSType", "linux") != "linux":
        return "the container engine runs no Linux containers"
    for name, what in (("MemoryLimit", "memory"), ("PidsLimit", "processes")):
        if info.get(name) is False:
            return (
                f"the container engine cannot limit {what}: give it cgroups "
                "(a rootless engine needs cgroup v2 with the memory and pids controllers)"
            )
    options = " ".join(info.get("SecurityOptions") or [])
    if "name=seccomp" not in options or "profile=unconfined" in options:
        return "the container engine filters no system calls: turn its seccomp profile on"
    if settings.runtime and settings.runtime not in (info.get("Runtimes") or {}):
        return f"the container engine has no runtime {settings.runtime}"
    return ""


async def _has_quota(engine: Engine, runtime: Runtime) -> bool:
    """Whether a volume can have a size, which takes a file system with project quotas."""
    name = f"wit-probe-{runtime.random_bytes(8).hex()}"
    options = quota(1024 * 1024, await engine.is_podman())
    body = {"Name": name, "DriverOpts": options}
    try:
        await engine.call("POST", "/volumes/create", body=body)
    except Refused:
        return False
    await engine.call("DELETE", f"/volumes/{name}", {"force": "1"})
    return True


async def _has_network(engine: Engine, name: str) -> bool:
    try:
        await engine.call("GET", f"/networks/{escaped(name)}")
    except Refused as refused:
        if refused.status == 404:
            return False
        raise
    return True


def _disk(settings: Settings, quota: bool) -> str:
    if settings.workspace == MEMORY:
        return "limited; in memory, and lost when the engine stops"
    if quota:
        return "limited, by project quotas"
    return (
        "only the size of each file is limited: the engine's volumes have no quotas (xfs mounted "
        "with pquota has them; the option docker.workspace=memory limits, too)"
    )


def _network(settings: Settings, there: bool) -> str:
    if not settings.network:
        return "none; docker_network in [sandboxes] names the one of sandboxes with a full network"
    return settings.network if there else f"none: the engine has no network {settings.network}"
