"""What is wrong with an input, in the words of zod 3.

Clients of the reference read the message of a BAD_REQUEST as JSON: a list of issues (contract,
trpc-notes.md, "Errors"). pydantic finds the same faults in the same order and calls them
otherwise; what it does not say (what a missing field should have been) is in the input's JSON
Schema. The order of the keys is zod's too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from itertools import groupby
from math import isnan
from operator import ge, gt, le, lt
from typing import Any

from pydantic import BaseModel
from pydantic_core import SchemaValidator, core_schema

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
_CHECKS = frozenset({"too_small", "too_big", "invalid_string", "custom", "not_multiple_of"})
"""Codes of faults in a value of the right type."""

_NUMBER_CHECKS = frozenset(
    {
        "int_type",
        "int_from_float",
        "greater_than",
        "greater_than_equal",
        "less_than",
        "less_than_equal",
        "multiple_of",
        "finite_number",
    }
)
"""pydantic's kinds of faults in a value that is a number."""

_BOUNDS: tuple[tuple[str, Callable[[float, float], bool], str, str], ...] = (
    ("minimum", lt, "too_small", "greater than or equal to"),
    ("exclusiveMinimum", le, "too_small", "greater than"),
    ("maximum", gt, "too_big", "less than or equal to"),
    ("exclusiveMaximum", ge, "too_big", "less than"),
)
"""Of a schema: a bound's name, what fails it, zod's code and words."""


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
            yield from (issue for _, error in below for issue in _told(error, schema, path))


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


def _told(error: Any, schema: Schema, path: list[Any]) -> list[Issue]:
    """One of pydantic's errors as zod's issues (zod 3, ``ZodError.ts`` and ``locales/en.ts``)."""
    kind: str = error["type"]
    context = error.get("ctx", {})
    value: Any = UNDEFINED if kind == "missing" else error["input"]
    if "const" in schema and kind in ("missing", "literal_error"):
        return [_literal(schema["const"], value, path)]
    if "enum" in schema and kind in ("missing", "literal_error", "enum"):
        return [_enum(schema["enum"], value, path)]
    match kind:
        case "too_short":
            return [_size("too_small", context["min_length"], "array", schema, path)]
        case "too_long":
            return [_size("too_big", context["max_length"], "array", schema, path)]
        case "union_tag_invalid" | "union_tag_not_found":
            tags = list(schema.get("discriminator", {}).get("mapping", {}))
            place = [*path, schema.get("discriminator", {}).get("propertyName", "")]
            message = f"Invalid discriminator value. Expected {_joined(tags)}"
            issue = {"code": "invalid_union_discriminator", "options": tags}
            return [_with_message(issue, place, message)]
        case "string_too_short" | "string_too_long" | "string_pattern_mismatch":
            if failed := list(_text_checks(value, schema, path)):
                return failed
        case "missing":
            return [_wrong_type(_expected(schema), "undefined", path)]
        case _ if kind in _NUMBER_CHECKS and _type_name(value) == "number":
            return _number_issues(value, schema, path)
        case _ if kind.endswith(("_type", "_parsing")) or kind == "finite_number":
            return [_wrong_type(_expected(schema), _type_name(value), path)]
    if known := _FORMATS.get(schema.get("format", "")):
        issue = {"validation": known, "code": "invalid_string"}
        return [_checked(issue, path, f"Invalid {known}")]
    return [_checked({"code": "custom"}, path, str(context.get("error", error["msg"])))]


def _text_checks(value: str, schema: Schema, path: list[Any]) -> Iterator[Issue]:
    """All that is wrong with a text: pydantic stops at the first fault, zod goes on."""
    if len(value) < schema.get("minLength", 0):
        yield _size("too_small", schema["minLength"], "string", schema, path)
    if len(value) > schema.get("maxLength", len(value)):
        yield _size("too_big", schema["maxLength"], "string", schema, path)
    if "pattern" in schema and not _matches(schema["pattern"], value):
        yield _checked({"validation": "regex", "code": "invalid_string"}, path, "Invalid")


def _matches(pattern: str, value: str) -> bool:
    """By pydantic's own expressions, which take a time that is linear in the text."""
    return bool(_pattern(pattern).isinstance_python(value))


@cache
def _pattern(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=pattern))


def _number_issues(value: float, schema: Schema, path: list[Any]) -> list[Issue]:
    """All that is wrong with a number. An infinite one often breaks a bound; if it does not, zod
    would have taken it."""
    return list(_number_checks(value, schema, path)) or [
        _checked({"code": "not_finite"}, path, "Number must be finite")
    ]


def _number_checks(value: float, schema: Schema, path: list[Any]) -> Iterator[Issue]:
    whole = isinstance(value, int) or value.is_integer()
    if schema.get("type") == "integer" and not whole:
        yield _wrong_type("integer", "float", path, checked=True)
    for name, fails, code, words in _BOUNDS:
        if name in schema and fails(value, schema[name]):
            yield _bound(code, schema[name], words, path)
    if "multipleOf" in schema and (not whole or value % schema["multipleOf"]):
        step = _number(schema["multipleOf"])
        issue = {"code": "not_multiple_of", "multipleOf": step}
        yield _checked(issue, path, f"Number must be a multiple of {step}")


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


def _size(code: str, limit: int, kind: str, schema: Schema, path: list[Any]) -> Issue:
    """A text (``string``) or a list (``array``) that is too short or too long."""
    low, high = ("minLength", "maxLength") if kind == "string" else ("minItems", "maxItems")
    exact = low in schema and schema[low] == schema.get(high)
    what, unit = ("String", "character(s)") if kind == "string" else ("Array", "element(s)")
    how = "at least" if code == "too_small" else "at most"
    issue = {
        "code": code,
        "minimum" if code == "too_small" else "maximum": limit,
        "type": kind,
        "inclusive": True,
        "exact": exact,
    }
    return _checked(
        issue, path, f"{what} must contain {'exactly' if exact else how} {limit} {unit}"
    )


def _bound(code: str, limit: float, words: str, path: list[Any]) -> Issue:
    """A number that is too small or too big."""
    issue = {
        "code": code,
        "minimum" if code == "too_small" else "maximum": _number(limit),
        "type": "number",
        "inclusive": words.endswith("equal to"),
        "exact": False,
    }
    return _checked(issue, path, f"Number must be {words} {_number(limit)}")


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
