"""Inputs and parts of inputs that many procedures share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, PlainSerializer, WithJsonSchema
from pydantic_core import CoreSchema

from wit.operations.registry import Input

T = TypeVar("T")


class _NotNull:
    """Takes the null out of ``T | None``, for pydantic and for the JSON Schema."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: Any = handler(source)
        inner: CoreSchema = schema["schema"]  # of "nullable"
        return inner


Maybe = Annotated[T | None, _NotNull]
"""``field: Maybe[str] = None``: may be left out, and is None then; null is refused, as by zod's
``optional()``. ``field: str | None = None`` takes null as well, as ``nullish()``."""


_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def _uuid(text: str) -> str:
    """In lower case; other ways to write one, such as in braces, are refused."""
    found = text.lower()
    if not _UUID.fullmatch(found):
        raise ValueError("Invalid uuid")
    return found


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
