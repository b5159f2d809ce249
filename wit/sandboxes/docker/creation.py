"""What the engine is told about a new sandbox. Pure: values in, request bodies out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from wit.errors import ConfigError, Invalid
from wit.sandboxes.provider import WORKSPACE, Limits, Network, SandboxSpec

DEFAULT_IMAGE = "wit-sandbox:latest"
VOLUME, MEMORY = "volume", "memory"
TEMPORARY_BYTES = 256 * 1024**2
"""Of /tmp, which is in memory; the sandbox's limit of memory counts it, too."""
BYTES_PER_INODE = 4096
PAGE = 4096
KEEPER_USER = "65534:65534"
"""Of the process that keeps the container up: commands run as somebody else and cannot end it."""
FOREVER = "2147483647"

_ID = re.compile(r"[0-9a-f]{32}")
_USER = re.compile(r"[1-9][0-9]{0,8}:[0-9]{1,9}")
_IMAGE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._/:@-]{0,254}")
_NETWORK = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}")
# Names of networks that are none: they would share the engine's or another container's.
_NO_NETWORKS = ("host", "none", "default", "container")


class Labels:
    """Of containers and volumes: how a restarted daemon finds its sandboxes again."""

    INSTANCE = "dev.wit.instance"
    SANDBOX = "dev.wit.sandbox"
    WORKSPACE = "dev.wit.workspace"


@attrs.frozen
class Settings:
    """The operator's settings, read."""

    image: str = DEFAULT_IMAGE
    network: str = ""
    """The engine's network for sandboxes with Network.FULL; without one they cannot be had."""
    user: str = "1000:1000"
    workspace: str = VOLUME
    pull: bool = False
    runtime: str = ""
    """Of the engine's, like ``runsc`` (gVisor); empty is its default."""


@attrs.frozen
class Traits:
    """What is special about an engine."""

    podman: bool = False
    quota: bool = False
    """Volumes can have a size."""


def read_settings(found: Mapping[str, str]) -> Settings:
    """Raises ConfigError."""
    settings = Settings(
        image=found.get("image") or DEFAULT_IMAGE,
        network=found.get("network", ""),
        user=found.get("user") or "1000:1000",
        workspace=found.get("workspace") or VOLUME,
        pull=found.get("pull", "never") in ("missing", "true", "1"),
        runtime=found.get("runtime", ""),
    )
    if not _IMAGE.fullmatch(settings.image):
        raise ConfigError(f"{settings.image!r} is no name of an image")
    if not _USER.fullmatch(settings.user):
        raise ConfigError(f"user: {settings.user!r} must be two numbers, like 1000:1000; not root")
    if settings.workspace not in (VOLUME, MEMORY):
        raise ConfigError(f"workspace: expected {VOLUME} or {MEMORY}, not {settings.workspace!r}")
    if found.get("pull", "never") not in ("never", "missing", "true", "false", "1", "0"):
        raise ConfigError(f"pull: expected never or missing, not {found['pull']!r}")
    if settings.network and (
        not _NETWORK.fullmatch(settings.network) or settings.network in _NO_NETWORKS
    ):
        raise ConfigError(f"network: {settings.network!r} must be a network of sandboxes' own")
    return settings


def name_of(sandbox_id: str) -> str:
    """Of the container and of its volume; the provider's ref. Raises Invalid."""
    if not _ID.fullmatch(sandbox_id):
        raise Invalid("a sandbox's id is 32 hexadecimal digits")
    return f"wit-sandbox-{sandbox_id}"


def image_of(spec: SandboxSpec, settings: Settings) -> str:
    """Raises Invalid for what cannot be the name of an image."""
    image = spec.image or settings.image
    if not _IMAGE.fullmatch(image):
        raise Invalid(f"{image!r} is no name of a container image")
    return image


def labels_of(spec: SandboxSpec, settings: Settings, instance: str) -> dict[str, str]:
    return {
        Labels.INSTANCE: instance,
        Labels.SANDBOX: spec.id,
        Labels.WORKSPACE: settings.workspace,
    }


def settings_label(labels: Mapping[str, str]) -> str:
    """Where a container has its files: VOLUME or MEMORY."""
    return labels.get(Labels.WORKSPACE, VOLUME)


def volume_body(
    spec: SandboxSpec, settings: Settings, instance: str, traits: Traits
) -> dict[str, Any]:
    """For ``POST /volumes/create``."""
    size = spec.limits.disk_bytes
    options = quota(size, traits.podman) if traits.quota else {}
    if settings.workspace == MEMORY:
        # The engine mounts it when the container starts, and unmounts it when it stops.
        owner, _, group = settings.user.partition(":")
        # Podman takes "size" for a quota on its own disk.
        limit = f"nr_blocks={size // PAGE}" if traits.podman else f"size={size}"
        flags = f"nosuid,nodev,mode=0755,uid={owner},gid={group},nr_inodes={_inodes(size)},{limit}"
        options = {"type": "tmpfs", "device": "tmpfs", "o": flags}
    return {
        "Name": name_of(spec.id),
        "Labels": labels_of(spec, settings, instance),
        **({"DriverOpts": options} if options else {}),
    }


def quota(size: int, podman: bool) -> dict[str, str]:
    """Options of a volume of that size."""
    return {"o": f"size={size}"} if podman else {"size": str(size)}


def container_body(
    spec: SandboxSpec, settings: Settings, instance: str, traits: Traits
) -> dict[str, Any]:
    """For ``POST /containers/create``. Raises Invalid."""
    for name, value in spec.env.items():
        if not name or "=" in name or "\0" in name + value:
            raise Invalid(f"{name!r} cannot be a variable")
    env = {"HOME": WORKSPACE, **spec.env}
    return {
        "Image": image_of(spec, settings),
        # The engine's own init is process 1; it has this one to start, and reaps all others.
        "Entrypoint": ["sleep", FOREVER],
        "Cmd": [],
        "User": KEEPER_USER,
        "WorkingDir": WORKSPACE,
        "Hostname": "sandbox",
        "Env": [f"{name}={value}" for name, value in env.items()],
        "Labels": labels_of(spec, settings, instance),
        "Healthcheck": {"Test": ["NONE"]},
        "StopTimeout": 1,
        "NetworkDisabled": spec.network is Network.NONE,
        "HostConfig": _host_config(spec, settings, traits),
    }


def _host_config(spec: SandboxSpec, settings: Settings, traits: Traits) -> dict[str, Any]:
    limits = spec.limits
    temporary = _memory_folder(min(TEMPORARY_BYTES, limits.disk_bytes), traits.podman)
    return {
        "NetworkMode": settings.network if spec.network is Network.FULL else "none",
        "Memory": limits.memory_bytes,
        "MemorySwap": limits.memory_bytes,
        "NanoCpus": int(limits.cpus * 1e9),
        "PidsLimit": limits.processes,
        "ShmSize": min(64 * 1024**2, limits.memory_bytes // 4),
        "Ulimits": _ulimits(limits, traits.quota or settings.workspace == MEMORY),
        "OomScoreAdj": 500,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": temporary},  # noqa: S108
        "Mounts": [{"Type": "volume", "Source": name_of(spec.id), "Target": WORKSPACE}],
        "Init": True,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Privileged": False,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "none"},
        **({"Runtime": settings.runtime} if settings.runtime else {}),
    }


def _memory_folder(size: int, podman: bool) -> str:
    options = f"rw,exec,nosuid,nodev,size={size},mode=1777"
    # Podman does not know this one; an inode is memory, too, and counts as such in any case.
    return options if podman else f"{options},nr_inodes={_inodes(size)}"


def _inodes(size: int) -> int:
    return max(1024, size // BYTES_PER_INODE)


def _ulimits(limits: Limits, disk_is_kept: bool) -> list[dict[str, Any]]:
    # nproc counts a user's processes on the whole machine: PidsLimit is what limits.
    bounds = {"nofile": 4096, "nproc": 32768, "core": 0}
    if not disk_is_kept:
        bounds["fsize"] = limits.disk_bytes
    return [{"Name": name, "Soft": bound, "Hard": bound} for name, bound in bounds.items()]
