"""AI keys of repositories (contract, trpc-notes.md, "repoAiKeys (6), userAiKeys (6)")."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from wit.access.actor import Level
from wit.accounts.ai_keys import Availability
from wit.operations.access import Repo
from wit.operations.ai_keys import AiKey, HasKeys, OfProvider, SetKey, ai_key
from wit.operations.call import Call
from wit.operations.inputs import OfRepo, OfRepoId
from wit.operations.registry import Router
from wit.operations.shapes import Success

READER = Repo(Level.READ, by="repoId", signed_in=True)
OWNER = Repo(Level.OWNER, by="repoId")

router = Router("repoAiKeys")


class Set(SetKey, OfRepoId):
    pass


class Delete(OfProvider, OfRepoId):
    pass


class RepoAvailability(TypedDict):
    available: bool
    source: Literal["repository", "server"] | None
    hasRepoKeys: bool
    hasServerKeys: bool


class Settings(TypedDict):
    isOwner: bool
    repoId: str
    keys: list[AiKey]
    availability: RepoAvailability


def _shown(found: Availability) -> RepoAvailability:
    return {
        "available": found.available,
        "source": "repository" if found.own else "server" if found.server else None,
        "hasRepoKeys": found.own,
        "hasServerKeys": found.server,
    }


@router.query("getSettings", access=Repo(Level.READ, signed_in=True))
async def get_settings(call: Call, values: OfRepo) -> Settings:
    """Whether there is a key to work with; to the owner also which."""
    keys, repo_id = call.core.repo_ai_keys, call.repo["id"]
    is_owner = call.repo["level"] is Level.OWNER
    return {
        "isOwner": is_owner,
        "repoId": repo_id,
        "keys": [ai_key(row) for row in await keys.list(repo_id)] if is_owner else [],
        "availability": _shown(await keys.availability(repo_id)),
    }


@router.query("list", access=OWNER)
async def list_(call: Call, values: OfRepoId) -> list[AiKey]:
    """The repository's keys, by provider: their last characters only."""
    return [ai_key(row) for row in await call.core.repo_ai_keys.list(call.repo["id"])]


@router.mutation("set", access=OWNER, errors=("invalid",))
async def set_(call: Call, values: Set) -> AiKey:
    """Keep a key for a provider, instead of the one before."""
    row = await call.core.repo_ai_keys.set(
        call.repo["id"], values.provider, values.apiKey, created_by_id=call.user_id
    )
    return ai_key(row)


@router.mutation("delete", access=OWNER, errors=("not_found",))
async def delete(call: Call, values: Delete) -> Success:
    """Forget a key."""
    await call.core.repo_ai_keys.remove(call.repo["id"], values.provider)
    return {"success": True}


@router.query("hasKeys", access=READER)
async def has_keys(call: Call, values: OfRepoId) -> HasKeys:
    """Whether the repository has any key of its own."""
    return {"hasKeys": await call.core.repo_ai_keys.has(call.repo["id"])}


@router.query("checkAvailability", access=READER)
async def check_availability(call: Call, values: OfRepoId) -> RepoAvailability:
    """Whether there is a key to work with, and whose."""
    return _shown(await call.core.repo_ai_keys.availability(call.repo["id"]))
