"""Inputs and answers that the procedures of sandboxes share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import Level
from wit.db.port import Row
from wit.operations.access import Repo, SignedIn
from wit.operations.registry import Input
from wit.sandboxes.manager import SCOPE, Sandbox

SIGNED_IN = SignedIn(SCOPE)
"""Whose sandbox it is decides :class:`wit.sandboxes.manager.Sandboxes`, for every door alike."""

WRITER = Repo(Level.WRITE, scope=SCOPE)

FINDING = ("not_found", "forbidden")
"""Errors of what looks at a sandbox."""

USING = (*FINDING, "invalid", "conflict", "precondition_failed", "unavailable")
"""Errors of what uses one."""

SandboxId = Annotated[str, Field(min_length=32, max_length=32, pattern=r"^[0-9a-f]+$")]
ProviderName = Annotated[str, Field(min_length=1, max_length=32)]
NetworkName = Literal["none", "restricted", "full"]
Path = Annotated[str, Field(min_length=1, max_length=4096)]
Word = Annotated[str, Field(max_length=128 * 1024)]
"""One argument of a command; what the kernel takes."""


class OfSandbox(Input):
    sandboxId: SandboxId


class SandboxShape(TypedDict):
    id: str
    repoId: str | None
    userId: str
    provider: str
    state: str
    """creating, running, paused, ended or lost."""
    reason: str | None
    """Why it is over."""
    branch: str | None
    commit: str | None
    image: str | None
    network: NetworkName
    memoryBytes: int
    cpus: float
    processes: int
    diskBytes: int
    idleSeconds: int
    lifeSeconds: int
    createdAt: datetime
    usedAt: datetime
    expiresAt: datetime
    endedAt: datetime | None


class SessionShape(TypedDict):
    """A terminal session (contract, trpc.json, ``SandboxSession``)."""

    id: str
    repoId: str
    userId: str
    provider: str
    providerId: str
    branch: str | None
    state: str
    metadata: str | None
    startedAt: datetime
    endedAt: datetime | None
    exitCode: int | None


def sandbox_shape(sandbox: Sandbox) -> SandboxShape:
    return {
        "id": sandbox.id,
        "repoId": sandbox.repo_id,
        "userId": sandbox.user_id,
        "provider": sandbox.provider,
        "state": sandbox.state,
        "reason": sandbox.reason,
        "branch": sandbox.branch,
        "commit": sandbox.commit,
        "image": sandbox.image,
        "network": sandbox.network.value,
        "memoryBytes": sandbox.limits.memory_bytes,
        "cpus": sandbox.limits.cpus,
        "processes": sandbox.limits.processes,
        "diskBytes": sandbox.limits.disk_bytes,
        "idleSeconds": sandbox.idle_seconds,
        "lifeSeconds": sandbox.life_seconds,
        "createdAt": sandbox.created_at,
        "usedAt": sandbox.used_at,
        "expiresAt": sandbox.expires_at,
        "endedAt": sandbox.ended_at,
    }


def session_shape(row: Row) -> SessionShape:
    """From a row of ``sandbox_sessions``."""
    return {
        "id": row["id"],
        "repoId": row["repo_id"],
        "userId": row["user_id"],
        "provider": row["provider"],
        "providerId": row["provider_id"],
        "branch": row["branch"],
        "state": row["state"],
        "metadata": row["metadata"],
        "startedAt": row["started_at"],
        "endedAt": row["ended_at"],
        "exitCode": row["exit_code"],
    }
