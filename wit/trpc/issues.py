"""What is wrong with an input, in the words of zod 3.

Clients of the reference read the message of a BAD_REQUEST as JSON: a list of issues (contract,
trpc-notes.md, "Errors"). pydantic finds the same faults in the same order and calls them
otherwise; what it does not say (what a missing field should have been) is in the input's JSON
Schema. The order of the keys is zod's too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from itertools import groupby
from math import isnan
from typing import Any

from pydantic import BaseModel

from wit.trpc.superjson import UNDEFINED, BigInt, Tagged

MAX_ISSUES = 100
"""That are reported; a list of a million wrong items would make a far larger answer."""

MAX_ECHO = 200
"""Characters of the client's own text that an issue repeats."""

Issue = dict[str, Any]
Schema = dict[str, Any]
Error = tuple[tuple[int | str, ...], Any]
"""Where it is, below the schema at hand, and pydantic's details."""

_FORMATS = {"uuid": "uuid", "email": "email", "uri": "url", "date-time": "datetime"}
_PARSING = {"uuid": "uuid", "url": "url"}
_CHECKS = frozenset({"too_small", "too_big", "invalid_string", "custom", "not_multiple_of"})
"""Codes of faults in a value of the right type."""


def issue_text(errors: Iterable[Any], model: type[BaseModel], given: Any) -> str:
    """The message for pydantic's ``errors`` about ``given`` (UNDEFINED: there was no input)."""
    placed = [(error["loc"], error) for error in errors][:MAX_ISSUES]
    if placed and not placed[0][0]:  # the input as a whole
        placed[0] = ((), {**placed[0][1], "input": given})
    schema = _schema(model)
    found = list(_issues(placed, schema, [], schema.get("$defs", {})))
    return json.dumps(found, indent=2, ensure_ascii=False, default=str)


@cache
def _schema(model: type[BaseModel]) -> Schema:
    return model.model_json_schema()


def _issues(errors: Sequence[Error], schema: Schema, path: list[Any], defs: Any) -> Iterator[Issue]:
    """The issues of the part of the input at ``path``, which ``schema`` describes."""
    schema, options = _resolved(schema, defs)
    groups = [
        (part, [(loc[1:], error) for loc, error in group])
        for part, group in groupby(errors, key=lambda error: error[0][:1])
    ]
    if len(options) > 1 and all(part for part, _ in groups):
        # What comes next in pydantic's places is the name of the option that it tried.
        tried = [(str(part[0]), below) for part, below in groups]
        yield from _union(tried, schema, options, path, defs)
        return
    for part, below in groups:
        if part:
            yield from _issues(below, _child(schema, part[0]), [*path, part[0]], defs)
        else:
            yield from (_issue(error, schema, path) for _, error in below)


def _union(
    tried: list[tuple[str, list[Error]]],
    schema: Schema,
    options: list[Schema],
    path: list[Any],
    defs: Any,
) -> list[Issue]:
    """Issues of a value that is none of the options."""
    if "discriminator" in schema:
        tag, errors = tried[0]
        chosen = {"$ref": schema["discriminator"].get("mapping", {}).get(tag, "")}
        return list(_issues(errors, chosen, path, defs))
    found = [
        list(_issues(errors, option, path, defs))
        for (_, errors), option in zip(tried, options, strict=False)
    ]
    for issues in found:
        if all(issue["code"] in _CHECKS for issue in issues):
            return issues
    wrapped = [{"issues": issues, "name": "ZodError"} for issues in found]
    return [_with_message({"code": "invalid_union", "unionErrors": wrapped}, path, "Invalid input")]


def _resolved(schema: Schema, defs: Any) -> tuple[Schema, list[Schema]]:
    """``schema`` without references and without "or null", and what else it may be."""
    while True:
        if "$ref" in schema:
            schema = defs.get(schema["$ref"].rpartition("/")[2], {})
            continue
        options = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf") or []
        options = [option for option in options if option.get("type") != "null"]
        if len(options) != 1:
            return schema, options
        schema = options[0]


def _child(schema: Schema, part: int | str) -> Schema:
    found: Any
    if isinstance(part, int):
        found = schema.get("items", {})
    else:
        found = schema.get("properties", {}).get(part) or schema.get("additionalProperties", {})
    return found if isinstance(found, dict) else {}


def _issue(error: Any, schema: Schema, path: list[Any]) -> Issue:
    """One of pydantic's errors as zod's issue (zod 3, ``ZodError.ts`` and ``locales/en.ts``)."""
    kind: str = error["type"]
    context = error.get("ctx", {})
    value = UNDEFINED if kind == "missing" else error["input"]
    if "const" in schema and kind in ("missing", "literal_error"):
        return _literal(schema["const"], value, path)
    if "enum" in schema and kind in ("missing", "literal_error", "enum"):
        return _enum(schema["enum"], value, path)
    match kind:
        case "string_too_short" | "too_short":
            exact = schema.get("minLength", 0) == schema.get("maxLength")
            return _size("too_small", context["min_length"], kind, path, exact=exact)
        case "string_too_long" | "too_long":
            exact = schema.get("minLength", 0) == schema.get("maxLength")
            return _size("too_big", context["max_length"], kind, path, exact=exact)
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            return _bound(kind, context, path)
        case "int_from_float":
            return _wrong_type("integer", "float", path, checked=True)
        case "finite_number" if not _is_nan(value):
            return _checked({"code": "not_finite"}, path, "Number must be finite")
        case "multiple_of":
            step = _number(context["multiple_of"])
            issue = {"code": "not_multiple_of", "multipleOf": step}
            return _checked(issue, path, f"Number must be a multiple of {step}")
        case "string_pattern_mismatch":
            return _checked({"validation": "regex", "code": "invalid_string"}, path, "Invalid")
        case "union_tag_invalid" | "union_tag_not_found":
            tags = list(schema.get("discriminator", {}).get("mapping", {}))
            place = [*path, schema.get("discriminator", {}).get("propertyName", "")]
            message = f"Invalid discriminator value. Expected {_joined(tags)}"
            issue = {"code": "invalid_union_discriminator", "options": tags}
            return _with_message(issue, place, message)
        case "value_error" | "uuid_parsing" | "url_parsing":
            if known := _FORMATS.get(schema.get("format", "")) or _PARSING.get(kind):
                issue = {"validation": known, "code": "invalid_string"}
                return _checked(issue, path, f"Invalid {known}")
            return _checked({"code": "custom"}, path, str(context.get("error", error["msg"])))
    if kind == "missing" or kind.endswith(("_type", "_parsing")) or kind == "finite_number":
        return _wrong_type(_expected(schema), _type_name(value), path)
    return _checked({"code": "custom"}, path, error["msg"])


def _wrong_type(expected: str, received: str, path: list[Any], *, checked: bool = False) -> Issue:
    """``checked``: the type was right, and a check of zod's found the fault."""
    issue = {"code": "invalid_type", "expected": expected, "received": received}
    wrong = f"Expected {expected}, received {received}"
    message = "Required" if received == "undefined" else wrong
    return (_checked if checked else _with_message)(issue, path, message)


def _literal(wanted: Any, value: Any, path: list[Any]) -> Issue:
    received = {} if value is UNDEFINED else {"received": _echo(value)}
    issue = {**received, "code": "invalid_literal", "expected": wanted}
    message = f"Invalid literal value, expected {json.dumps(wanted, ensure_ascii=False)}"
    return _with_message(issue, path, message)


def _enum(options: list[Any], value: Any, path: list[Any]) -> Issue:
    choices = _joined(options)
    if isinstance(value, str):
        text = _echo(value)
        issue = {"received": text, "code": "invalid_enum_value", "options": options}
        message = f"Invalid enum value. Expected {choices}, received '{text}'"
        return _with_message(issue, path, message)
    received = _type_name(value)
    issue = {"expected": choices, "received": received, "code": "invalid_type"}
    message = f"Expected {choices}, received {received}"
    return _with_message(issue, path, "Required" if value is UNDEFINED else message)


def _size(code: str, limit: int, kind: str, path: list[Any], *, exact: bool) -> Issue:
    """A text or a list that is too short or too long."""
    text = kind.startswith("string")
    what, unit = ("String", "character(s)") if text else ("Array", "element(s)")
    how = "at least" if code == "too_small" else "at most"
    issue = {
        "code": code,
        "minimum" if code == "too_small" else "maximum": limit,
        "type": "string" if text else "array",
        "inclusive": True,
        "exact": exact,
    }
    return _checked(
        issue, path, f"{what} must contain {'exactly' if exact else how} {limit} {unit}"
    )


def _bound(kind: str, context: Any, path: list[Any]) -> Issue:
    """A number that is too small or too big."""
    small, inclusive = kind.startswith("greater"), kind.endswith("equal")
    limit = _number(next(iter(context.values())))
    comparison = f"{'greater' if small else 'less'} than {'or equal to ' if inclusive else ''}"
    issue = {
        "code": "too_small" if small else "too_big",
        "minimum" if small else "maximum": limit,
        "type": "number",
        "inclusive": inclusive,
        "exact": False,
    }
    return _checked(issue, path, f"Number must be {comparison}{limit}")


def _with_message(issue: Issue, path: list[Any], message: str) -> Issue:
    return {**issue, "path": path, "message": message}


def _checked(issue: Issue, path: list[Any], message: str) -> Issue:
    """An issue of a check: zod has its message before the path."""
    return {**issue, "message": message, "path": path}


def _expected(schema: Schema) -> str:
    """What zod calls the type that ``schema`` asks for."""
    name = "object" if "discriminator" in schema else schema.get("type", "unknown")
    if name == "string" and schema.get("format") == "date-time":
        return "date"
    return "number" if name == "integer" else str(name)


def _type_name(value: Any) -> str:
    """zod's ``getParsedType``."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case BigInt():
            return "bigint"
        case int() | float():
            return "nan" if _is_nan(value) else "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case datetime():
            return "date"
        case Tagged("map" | "set" as kind):
            return kind
    return "undefined" if value is UNDEFINED else "object"


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and isnan(value)


def _number(value: Any) -> Any:
    """As JavaScript writes it: 1.0 is 1."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _joined(options: list[Any]) -> str:
    return " | ".join(
        f"'{option}'" if isinstance(option, str) else str(option) for option in options
    )


def _echo(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= MAX_ECHO else value[:MAX_ECHO] + "..."
    return value if isinstance(value, (bool, int, float, type(None))) else _type_name(value)
