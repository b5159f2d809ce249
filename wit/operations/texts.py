"""Values that come as text, as what an input asks for: those of a path, a query, a JSON date.

A text that cannot be read stays as it is; the input then says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, get_args, get_origin

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from wit.operations.registry import Input

Reader = Callable[[Any], Any]

_READERS: dict[Any, Reader] = {
    kind: TypeAdapter(kind).validate_strings for kind in (bool, int, float, datetime)
}
_READERS[AwareDatetime] = _READERS[datetime]
_DATES = (_READERS[datetime],)


def read_texts(model: type[Input], texts: Mapping[str, str | list[str]]) -> dict[str, Any]:
    """Fields of a path or a query; those of :func:`list_fields` are lists."""
    readers = _readers(model)
    return {name: _read(readers.get(name, ()), value) for name, value in texts.items()}


def read_dates(model: type[Input], values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a JSON object, of which only the dates are text (RFC 3339)."""
    readers = _readers(model)
    return {
        name: _read(_DATES, value) if _DATES[0] in readers.get(name, ()) else value
        for name, value in values.items()
    }


def list_fields(model: type[Input]) -> frozenset[str]:
    """The fields that are lists, perhaps among others: a query may repeat them."""
    return frozenset(
        name for name, field in model.model_fields.items() if list in _kinds(field.annotation)
    )


@cache
def _readers(model: type[Input]) -> dict[str, tuple[Reader, ...]]:
    """How the text of each field is read; it is not if the field can be a text."""
    kinds = {name: _kinds(field.annotation) for name, field in model.model_fields.items()}
    return {
        name: tuple(_READERS[kind] for kind in found if kind in _READERS)
        for name, found in kinds.items()
        if str not in found
    }


def _kinds(annotation: Any) -> list[Any]:
    """The types that a value, or an item of a list, can have; ``list`` if it can be one."""
    parts = [kind for part in get_args(annotation) for kind in _kinds(part)]
    return [list, *parts] if get_origin(annotation) is list else parts or [annotation]


def _read(readers: tuple[Reader, ...], value: Any) -> Any:
    if isinstance(value, list):
        return [_read(readers, item) for item in value]
    if isinstance(value, str):
        for reader in readers:
            try:
                return reader(value)
            except ValidationError:
                continue
    return value
