"""What of ``/api/sandbox`` is no tRPC procedure (contract, rest.md)."""

from __future__ import annotations

from typing_extensions import TypedDict

from wit.access.actor import Level
from wit.operations.access import Repo
from wit.operations.call import Call
from wit.operations.inputs import OfRepoId
from wit.operations.registry import Rest, Router
from wit.operations.routers.sandbox import PLACE, OfSessions, StatusShape, status_shape
from wit.operations.sandbox_shapes import SIGNED_IN, SessionShape, session_shape
from wit.sandboxes.manager import SCOPE, Sandbox
from wit.sandboxes.records import Stage

OWN = Repo(Level.READ, by="repoId", signed_in=True, scope=SCOPE)

MOST = 100
"""Sandboxes that are counted or ended at once; nobody has so many."""

router = Router("sandboxPool", trpc=False)


class Sessions(TypedDict):
    sessions: list[SessionShape]


class Stats(TypedDict):
    totalSandboxes: int
    activeSandboxes: int
    idleSandboxes: int
    keyCount: int
    keys: list[str]


class Removed(TypedDict):
    success: bool
    removed: int
    message: str


@router.query(
    "status",
    access=Repo(Level.READ, by="repoId"),
    rest=Rest("GET", f"{PLACE}/{{repoId}}/status"),
)
async def status(call: Call, values: OfRepoId) -> StatusShape:
    """Whether a sandbox of the repository can be made now, and if not, why."""
    return await status_shape(call)


@router.query("sessions", access=OWN, rest=Rest("GET", f"{PLACE}/{{repoId}}/sessions"))
async def sessions(call: Call, values: OfSessions) -> Sessions:
    """Terminal sessions, newest first: the caller's; for administrators everybody's."""
    rows = await call.core.sandboxes.sessions(
        call.actor,
        call.repo,
        active_only=values.activeOnly,
        limit=values.limit,
        offset=values.offset,
    )
    return {"sessions": [session_shape(row) for row in rows]}


@router.query("stats", access=SIGNED_IN, rest=Rest("GET", f"{PLACE}/pool/stats"))
async def stats(call: Call) -> Stats:
    """The caller's own sandboxes, counted; a key is ``PROVIDER:REPOSITORY_ID``."""
    own = await call.core.sandboxes.list(call.actor, limit=MOST)
    keys = sorted({_key(sandbox) for sandbox in own})
    active = sum(sandbox.state == Stage.RUNNING for sandbox in own)
    return {
        "totalSandboxes": len(own),
        "activeSandboxes": active,
        "idleSandboxes": len(own) - active,
        "keyCount": len(keys),
        "keys": keys,
    }


@router.mutation("clear", access=OWN, rest=Rest("DELETE", f"{PLACE}/{{repoId}}/pool"))
async def clear(call: Call, values: OfRepoId) -> Removed:
    """End the caller's sandboxes of the repository, with everything in them."""
    sandboxes = call.core.sandboxes
    own = await sandboxes.list(call.actor, repo_id=call.repo["id"], limit=MOST)
    for sandbox in own:
        await sandboxes.destroy(call.actor, sandbox.id)
    return {"success": True, "removed": len(own), "message": f"{len(own)} sandboxes removed"}


def _key(sandbox: Sandbox) -> str:
    return f"{sandbox.provider}:{sandbox.repo_id or 'none'}"
