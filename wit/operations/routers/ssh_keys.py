"""SSH keys of the caller (contract, trpc-notes.md, "sshKeys, tokens, oauthApps")."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from wit.db.port import Row
from wit.operations.access import SignedIn
from wit.operations.call import Call
from wit.operations.inputs import ById, Uuid
from wit.operations.registry import Input, Router
from wit.operations.shapes import Success

Title = Annotated[str, Field(min_length=1, max_length=100)]

_SHOWN = 12
"""Characters at each end of a key's data in a preview."""

router = Router("sshKeys")


class Add(Input):
    title: Title
    publicKey: Annotated[str, Field(min_length=1, max_length=10_000)]


class UpdateTitle(Input):
    id: Uuid
    title: Title


class Verify(Input):
    fingerprint: Annotated[str, Field(min_length=1, max_length=200)]


class Added(TypedDict):
    id: str
    title: str
    fingerprint: str
    keyType: str
    publicKeyPreview: str
    createdAt: datetime


class Key(Added):
    lastUsedAt: datetime | None


class WholeKey(TypedDict):
    id: str
    title: str
    fingerprint: str
    keyType: str
    publicKey: str
    lastUsedAt: datetime | None
    createdAt: datetime


class Verified(TypedDict):
    valid: bool
    userId: str | None
    keyId: NotRequired[str]
    keyType: NotRequired[str]


def preview(public_key: str) -> str:
    """The type, both ends of the data, and the comment."""
    kind, data, *comment = public_key.split(" ", 2)
    return " ".join((kind, f"{data[:_SHOWN]}...{data[-_SHOWN:]}", *comment))


def added(row: Row) -> Added:
    return {
        "id": row["id"],
        "title": row["title"],
        "fingerprint": row["fingerprint"],
        "keyType": row["key_type"],
        "publicKeyPreview": preview(row["public_key"]),
        "createdAt": row["created_at"],
    }


def key(row: Row) -> Key:
    return {**added(row), "lastUsedAt": row["last_used_at"]}


@router.query("list", access=SignedIn("user:read"))
async def list_(call: Call) -> list[Key]:
    """The caller's keys, oldest first."""
    return [key(row) for row in await call.core.keys.list(call.user_id)]


@router.query("get", access=SignedIn("user:read"), errors=("not_found",))
async def get(call: Call, values: ById) -> WholeKey:
    """One of the caller's keys, with the whole public key."""
    row = await call.core.keys.get(call.user_id, values.id)
    return {
        "id": row["id"],
        "title": row["title"],
        "fingerprint": row["fingerprint"],
        "keyType": row["key_type"],
        "publicKey": row["public_key"],
        "lastUsedAt": row["last_used_at"],
        "createdAt": row["created_at"],
    }


@router.mutation("add", access=SignedIn(None), errors=("invalid", "conflict"))
async def add(call: Call, values: Add) -> Added:
    """A new key. It will have all of the caller's power, so no token can add one."""
    return added(await call.core.keys.add(call.user_id, values.publicKey, values.title))


@router.mutation("updateTitle", access=SignedIn("user:write"), errors=("invalid", "not_found"))
async def update_title(call: Call, values: UpdateTitle) -> Key:
    """Call one of the caller's keys something else."""
    return key(await call.core.keys.rename(call.user_id, values.id, values.title))


@router.mutation("delete", access=SignedIn("user:write"), errors=("not_found",))
async def delete(call: Call, values: ById) -> Success:
    """Remove one of the caller's keys: it opens nothing from now on."""
    await call.core.keys.remove(call.user_id, values.id)
    return {"success": True}


@router.query("verify", access=SignedIn("user:read"))
async def verify(call: Call, values: Verify) -> Verified:
    """Whose key has this fingerprint; only somebody who has seen the key knows it."""
    found = await call.core.keys.by_fingerprint(values.fingerprint)
    if found is None or found[0]["suspended"]:
        return {"valid": False, "userId": None}
    user, row = found
    return {
        "valid": True,
        "userId": user["id"],
        "keyId": row["id"],
        "keyType": row["key_type"],
    }
