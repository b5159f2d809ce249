"""The life of sandboxes: wit's own procedures, beside the contract's ``sandbox``."""

from __future__ import annotations

from typing import Annotated, Any

import attrs
from pydantic import Field
from typing_extensions import TypedDict

from wit.config import MIB
from wit.db.port import Row
from wit.operations.call import Call
from wit.operations.inputs import Limit, Maybe, Offset, OfRepo
from wit.operations.registry import Input, Router
from wit.operations.sandbox_shapes import (
    FINDING,
    SIGNED_IN,
    USING,
    WRITER,
    NetworkName,
    OfSandbox,
    ProviderName,
    SandboxShape,
    sandbox_shape,
)
from wit.operations.shapes import Success
from wit.operations.v1_shapes import route
from wit.sandboxes.manager import NewSandbox
from wit.sandboxes.provider import Limits, Network

PLACE = "/sandboxes"
ONE = f"{PLACE}/{{sandboxId}}"
OF_REPO = "/repos/{owner}/{repo}/sandboxes"

Seconds = Annotated[int, Field(ge=60, le=30 * 86400)]
MEMORY, DISK = 16 * MIB, 1 * MIB
"""The least with which anything works."""
MOST = 2**50

router = Router("sandboxes")


class Create(Input):
    """What is left out is as the repository, and then the server, has it."""

    provider: Maybe[ProviderName] = None
    image: Maybe[Annotated[str, Field(min_length=1, max_length=255)]] = None
    network: Maybe[NetworkName] = None
    memoryBytes: Maybe[Annotated[int, Field(ge=MEMORY, le=MOST)]] = None
    cpus: Maybe[Annotated[float, Field(ge=0.01, le=1024)]] = None
    processes: Maybe[Annotated[int, Field(ge=8, le=MOST)]] = None
    diskBytes: Maybe[Annotated[int, Field(ge=DISK, le=MOST)]] = None
    seconds: Maybe[Seconds] = None
    """How long it lives at a time, unless something runs in it."""


class CreateOfRepo(OfRepo, Create):
    ref: Maybe[Annotated[str, Field(min_length=1, max_length=255)]] = None
    """Branch, tag or commit; HEAD."""
    checkout: bool = True


class Listed(Input):
    """``everybody``: not only the caller's; for administrators."""

    everybody: bool = False
    activeOnly: bool = True
    limit: Limit = 50
    offset: Offset = 0


class ListedOfRepo(OfRepo, Listed):
    pass


class Extend(OfSandbox):
    seconds: Seconds


class UsageShape(TypedDict):
    """null is "not known"."""

    memoryBytes: int | None
    memoryLimit: int | None
    cpuSeconds: float | None
    processes: int | None
    diskBytes: int | None
    diskLimit: int | None
    outOfMemory: int


class FeaturesShape(TypedDict):
    pause: bool
    survivesRestart: bool
    networks: list[str]
    limited: list[str]
    images: bool
    hosted: bool


class ProviderShape(TypedDict):
    """``reason``: when not ready, what is missing; ``detail`` is for administrators."""

    name: str
    ready: bool
    reason: str
    features: FeaturesShape
    detail: dict[str, str]


async def _create(call: Call, values: Create, repo: Row | None = None) -> SandboxShape:
    new = NewSandbox(
        repo=repo,
        provider=values.provider,
        image=values.image,
        network=None if values.network is None else Network(values.network),
        limits=await _limits(call, values, repo),
        seconds=values.seconds,
    )
    if isinstance(values, CreateOfRepo):
        new = attrs.evolve(new, ref=values.ref, checkout=values.checkout)
    return sandbox_shape(await call.core.sandboxes.create(call.actor, new))


async def _limits(call: Call, values: Create, repo: Row | None) -> Limits | None:
    """What is asked for, with what is usual for the rest; None if nothing is."""
    wanted: dict[str, Any] = {
        name: value
        for name, value in (
            ("memory_bytes", values.memoryBytes),
            ("cpus", values.cpus),
            ("processes", values.processes),
            ("disk_bytes", values.diskBytes),
        )
        if value is not None
    }
    if not wanted:
        return None
    config = call.core.config.sandboxes
    usual = Limits(config.memory_bytes, config.cpus, config.processes, config.disk_bytes)
    if repo is not None:
        usual = (await call.core.sandboxes.settings.get(repo["id"])).limits(usual)
    return attrs.evolve(usual, **wanted)


@router.mutation(
    "create", access=WRITER, errors=USING, limit="strict", rest=route("POST", OF_REPO, 201)
)
async def create(call: Call, values: CreateOfRepo) -> SandboxShape:
    """A new sandbox of the repository, with its files at a commit, ready to be used."""
    return await _create(call, values, call.repo)


@router.mutation(
    "createEmpty", access=SIGNED_IN, errors=USING, limit="strict", rest=route("POST", PLACE, 201)
)
async def create_empty(call: Call, values: Create) -> SandboxShape:
    """A new sandbox of no repository, where the server allows that."""
    return await _create(call, values)


@router.mutation("open", access=WRITER, errors=USING, rest=route("PUT", f"{OF_REPO}/current"))
async def open_(call: Call, values: OfRepo) -> SandboxShape:
    """The caller's sandbox of the repository: the one there is, or a new one.

    A conflict if the last one was lost: who wants a new one then, creates it.
    """
    return sandbox_shape(await call.core.sandboxes.for_repository(call.actor, call.repo))


@router.query("list", access=SIGNED_IN, errors=FINDING, rest=route("GET", PLACE))
async def list_(call: Call, values: Listed) -> list[SandboxShape]:
    """Sandboxes, newest first: the caller's, or all of the site."""
    return await _listed(call, values, None)


@router.query("listOfRepo", access=WRITER, errors=FINDING, rest=route("GET", OF_REPO))
async def list_of_repo(call: Call, values: ListedOfRepo) -> list[SandboxShape]:
    """Sandboxes of a repository, newest first: the caller's, or everybody's."""
    return await _listed(call, values, call.repo["id"])


async def _listed(call: Call, values: Listed, repo_id: str | None) -> list[SandboxShape]:
    found = await call.core.sandboxes.list(
        call.actor,
        repo_id=repo_id,
        mine=not values.everybody,
        active_only=values.activeOnly,
        limit=values.limit,
        offset=values.offset,
    )
    return [sandbox_shape(sandbox) for sandbox in found]


@router.query("get", access=SIGNED_IN, errors=FINDING, rest=route("GET", ONE))
async def get(call: Call, values: OfSandbox) -> SandboxShape:
    """One's own, or any for administrators of its repository or the site."""
    return sandbox_shape(await call.core.sandboxes.get(call.actor, values.sandboxId))


@router.mutation(
    "destroy", access=SIGNED_IN, errors=(*FINDING, "unavailable"), rest=route("DELETE", ONE)
)
async def destroy(call: Call, values: OfSandbox) -> Success:
    """End a sandbox, with everything in it."""
    await call.core.sandboxes.destroy(call.actor, values.sandboxId)
    return {"success": True}


@router.mutation("extend", access=SIGNED_IN, errors=USING, rest=route("POST", f"{ONE}/extend"))
async def extend(call: Call, values: Extend) -> SandboxShape:
    """A lease of so many seconds from now on."""
    sandboxes = call.core.sandboxes
    return sandbox_shape(await sandboxes.extend(call.actor, values.sandboxId, values.seconds))


@router.mutation("pause", access=SIGNED_IN, errors=USING, rest=route("POST", f"{ONE}/pause"))
async def pause(call: Call, values: OfSandbox) -> SandboxShape:
    """Freeze a sandbox in which nothing runs, where the provider can do that."""
    return sandbox_shape(await call.core.sandboxes.pause(call.actor, values.sandboxId))


@router.mutation("resume", access=SIGNED_IN, errors=USING, rest=route("POST", f"{ONE}/resume"))
async def resume(call: Call, values: OfSandbox) -> SandboxShape:
    """Have a paused sandbox run again, as every use of it does."""
    return sandbox_shape(await call.core.sandboxes.resume(call.actor, values.sandboxId))


@router.query("usage", access=SIGNED_IN, errors=USING, rest=route("GET", f"{ONE}/usage"))
async def usage(call: Call, values: OfSandbox) -> UsageShape:
    """What a sandbox uses now."""
    found = await call.core.sandboxes.usage(call.actor, values.sandboxId)
    return {
        "memoryBytes": found.memory_bytes,
        "memoryLimit": found.memory_limit,
        "cpuSeconds": found.cpu_seconds,
        "processes": found.processes,
        "diskBytes": found.disk_bytes,
        "diskLimit": found.disk_limit,
        "outOfMemory": found.out_of_memory,
    }


@router.query("providers", access=SIGNED_IN, rest=route("GET", f"{PLACE}/providers"))
async def providers(call: Call) -> list[ProviderShape]:
    """The providers of the server, and which of them are ready."""
    return [
        {
            "name": one.name,
            "ready": one.ready,
            "reason": one.reason,
            "features": {
                "pause": one.features.pause,
                "survivesRestart": one.features.survives_restart,
                "networks": sorted(one.features.networks),
                "limited": sorted(one.features.limited),
                "images": one.features.images,
                "hosted": one.features.hosted,
            },
            "detail": dict(one.detail) if call.actor.is_admin else {},
        }
        for one in call.core.sandboxes.providers()
    ]
