"""What the routers of users' and of repositories' AI keys share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict

from wit.db.port import Row
from wit.operations.registry import Input

Provider = Literal["openai", "anthropic", "coderabbit", "openrouter"]
Secret = Annotated[str, Field(min_length=1, max_length=500)]


class OfProvider(Input):
    provider: Provider


class SetKey(OfProvider):
    apiKey: Secret


class AiKey(TypedDict):
    """A key by its last characters."""

    id: str
    provider: Provider
    keyHint: str
    createdAt: datetime
    updatedAt: datetime


class HasKeys(TypedDict):
    hasKeys: bool


def ai_key(row: Row) -> AiKey:
    return {
        "id": row["id"],
        "provider": row["provider"],
        "keyHint": row["key_hint"],
        "createdAt": row["created_at"],
        "updatedAt": row["updated_at"],
    }
