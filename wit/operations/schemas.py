"""The inputs and outputs of all operations as JSON Schema (draft 2020-12), from pydantic.

One pass over the whole registry, so that a shape that several operations share has one name. Of
the documents for machines (OpenAPI, TypeScript) this is the common half.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import attrs
from pydantic import TypeAdapter

from wit.operations.registry import Operation, Registry

Schema = dict[str, Any]

REFERENCE = "#/components/schemas/"


@attrs.frozen
class Schemas:
    inputs: Mapping[str, Schema]
    """By the operation's name; an operation without input has none."""
    outputs: Mapping[str, Schema]
    shapes: Mapping[str, Schema]
    """What the others refer to as ``{"$ref": REFERENCE + name}``."""

    def resolve(self, schema: Schema) -> Schema:
        """The shape itself, if ``schema`` only refers to it."""
        while "$ref" in schema:
            schema = self.shapes[schema["$ref"].removeprefix(REFERENCE)]
        return schema

    def fields(self, operation: Operation) -> dict[str, Schema]:
        """The input's fields."""
        if operation.input is None:
            return {}
        properties: dict[str, Schema] = self.resolve(self.inputs[operation.name])["properties"]
        return properties

    def required(self, operation: Operation) -> set[str]:
        """The input's fields that have no default."""
        if operation.input is None:
            return set()
        return set(self.resolve(self.inputs[operation.name]).get("required", ()))


def make_schemas(registry: Registry) -> Schemas:
    adapters = list(_adapters(registry))
    found, definitions = TypeAdapter.json_schemas(adapters, ref_template=REFERENCE + "{model}")
    shapes = definitions.get("$defs", {})
    names = _short_names(shapes)
    return Schemas(
        inputs=_of_mode(found, "validation", names),
        outputs=_of_mode(found, "serialization", names),
        shapes={names[name]: _tidy(shape, names) for name, shape in sorted(shapes.items())},
    )


def _adapters(
    registry: Registry,
) -> Iterator[tuple[str, Literal["validation", "serialization"], TypeAdapter[Any]]]:
    for operation in registry:
        if operation.input is not None:
            yield operation.name, "validation", TypeAdapter(operation.input)
        yield operation.name, "serialization", operation.output_adapter


def _of_mode(found: Mapping[Any, Schema], mode: str, names: Mapping[str, str]) -> dict[str, Schema]:
    return {
        key: _tidy(schema, names) for (key, of_mode), schema in found.items() if of_mode == mode
    }


def _short_names(shapes: Mapping[str, Schema]) -> dict[str, str]:
    """Where two modules have shapes of one name, pydantic writes the whole path
    (``wit__operations__routers__tokens__Create``); ``tokens.Create`` will do."""
    names: dict[str, str] = {}
    for name in shapes:
        parts = name.split("__")
        short = ".".join(parts[-2:]) if parts[0] == "wit" else name
        names[name] = name if short in names.values() else short
    return names


def _tidy(value: Any, names: Mapping[str, str]) -> Any:
    """With the short names, without the titles that only repeat the fields' names, and without
    defaults that would be refused as a value: they only say that nothing was given."""
    if isinstance(value, list):
        return [_tidy(part, names) for part in value]
    if not isinstance(value, dict):
        return value
    tidy = {
        key: REFERENCE + names[part.removeprefix(REFERENCE)]
        if key == "$ref"
        else _tidy(part, names)
        for key, part in value.items()
        if not (key == "title" and isinstance(part, str))
    }
    nothing = tidy.get("default", 0)
    if (nothing == "" and tidy.get("minLength", 0)) or (nothing is None and "anyOf" not in tidy):
        del tidy["default"]
    return tidy
