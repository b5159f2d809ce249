"""Inputs made up from their JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

UUID = "11111111-2222-4333-8444-555555555555"

BY_FORMAT = {
    "uuid": UUID,
    "email": "somebody@example.org",
    "uri": "https://example.org/page",
    "date-time": "2024-05-06T07:08:09.000Z",
    "date": "2024-05-06",
}

BY_PATTERN = ("main", "a1", "d73a4a", "a" * 32, "a" * 40, "https://example.org/page")
"""Texts of which one fits each pattern that is in use."""


class CannotFill(Exception):
    """There is no made-up value for a schema."""


def sample(schema: Mapping[str, Any]) -> Any:
    """Some value that fits ``schema``, whose references are resolved. Raises CannotFill."""
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return sample(schema[union][0])
    kind = schema.get("type")
    match kind[0] if isinstance(kind, list) else kind:
        case "string":
            return _text(schema)
        case "integer" | "number":
            low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
            return int(min(max(low, 1), schema.get("maximum", low + 1)))
        case "boolean":
            return True
        case "array":
            return [sample(schema["items"]) for _ in range(max(schema.get("minItems", 0), 1))]
        case "object":
            properties = schema.get("properties", {})
            return {name: sample(part) for name, part in properties.items()}
        case "null":
            return None
        case None:
            return "anything"
    raise CannotFill(str(schema))


def _text(schema: Mapping[str, Any]) -> str:
    if schema.get("format") in BY_FORMAT:
        return BY_FORMAT[schema["format"]]
    low, high = schema.get("minLength", 0), schema.get("maxLength", 10_000)
    if pattern := schema.get("pattern"):
        for text in BY_PATTERN:
            if re.search(pattern, text) and low <= len(text) <= high:
                return text
        raise CannotFill(f"no text for {pattern}")
    return "sample".ljust(low, "x")[:high]
