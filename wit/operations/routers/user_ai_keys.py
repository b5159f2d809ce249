"""The caller's keys of AI providers (contract, trpc-notes.md, "repoAiKeys (6), userAiKeys (6)")."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from wit.accounts.ai_keys import Availability
from wit.operations.access import SignedIn
from wit.operations.ai_keys import AiKey, HasKeys, OfProvider, SetKey, ai_key
from wit.operations.call import Call
from wit.operations.registry import Router
from wit.operations.shapes import Success

router = Router("userAiKeys")


class UserAvailability(TypedDict):
    available: bool
    source: Literal["user", "server"] | None
    hasUserKeys: bool
    hasServerKeys: bool


class Settings(TypedDict):
    keys: list[AiKey]
    availability: UserAvailability


def _shown(found: Availability) -> UserAvailability:
    return {
        "available": found.available,
        "source": "user" if found.own else "server" if found.server else None,
        "hasUserKeys": found.own,
        "hasServerKeys": found.server,
    }


@router.query("getSettings", access=SignedIn("user:read"))
async def get_settings(call: Call) -> Settings:
    """The caller's keys, and whether there is one to work with."""
    keys = call.core.user_ai_keys
    return {
        "keys": [ai_key(row) for row in await keys.list(call.user_id)],
        "availability": _shown(await keys.availability(call.user_id)),
    }


@router.query("list", access=SignedIn("user:read"))
async def list_(call: Call) -> list[AiKey]:
    """The caller's keys, by provider: their last characters only."""
    return [ai_key(row) for row in await call.core.user_ai_keys.list(call.user_id)]


@router.mutation("set", access=SignedIn("user:write"), errors=("invalid",))
async def set_(call: Call, values: SetKey) -> AiKey:
    """Keep a key for a provider, instead of the one before."""
    row = await call.core.user_ai_keys.set(call.user_id, values.provider, values.apiKey)
    return ai_key(row)


@router.mutation("delete", access=SignedIn("user:write"), errors=("not_found",))
async def delete(call: Call, values: OfProvider) -> Success:
    """Forget a key."""
    await call.core.user_ai_keys.remove(call.user_id, values.provider)
    return {"success": True}


@router.query("hasKeys", access=SignedIn("user:read"))
async def has_keys(call: Call) -> HasKeys:
    """Whether the caller has any key."""
    return {"hasKeys": await call.core.user_ai_keys.has(call.user_id)}


@router.query("checkAvailability", access=SignedIn("user:read"))
async def check_availability(call: Call) -> UserAvailability:
    """Whether there is a key for the caller to work with, and whose."""
    return _shown(await call.core.user_ai_keys.availability(call.user_id))
