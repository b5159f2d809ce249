"""Inputs and parts of inputs that many procedures share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, Field, PlainSerializer, WithJsonSchema

from wit.operations.registry import Input


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError("Invalid uuid") from None


Uuid = Annotated[
    str,
    Field(max_length=45),
    AfterValidator(_uuid),
    PlainSerializer(str),
    WithJsonSchema({"type": "string", "format": "uuid"}),
]
"""A UUID as text, in its canonical form."""

OwnerName = Annotated[str, Field(min_length=1, max_length=39)]
RepoTitle = Annotated[str, Field(min_length=1, max_length=104)]
"""A repository's name, perhaps with ``.git``."""
UserId = Annotated[str, Field(min_length=1, max_length=64)]
Offset = Annotated[int, Field(ge=0, le=1_000_000)]


Limit = Annotated[int, Field(ge=1, le=100)]
MAX_LIST = 1000
ListLimit = Annotated[int, Field(ge=1, le=MAX_LIST)]
"""Of lists that the contract gives no limit."""
SearchText = Annotated[str, Field(min_length=1, max_length=200)]


class ById(Input):
    id: Uuid


class OfRepo(Input):
    owner: OwnerName
    repo: RepoTitle


class OfRepoId(Input):
    repoId: Uuid


class OfUser(Input):
    username: OwnerName


def given(values: Input, columns: Mapping[str, str], name: str) -> dict[str, str | None]:
    """What a caller wants to change: the columns of the fields that were sent.

    null clears a field; that of ``name``, which cannot be empty, is as if it had not been sent.
    """
    return {
        column: getattr(values, field)
        for field, column in columns.items()
        if field in values.model_fields_set
        and not (field == name and getattr(values, field) is None)
    }
