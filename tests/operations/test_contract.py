"""The declared procedures are those of the contract: their kinds, inputs and outputs.

The contract's facts are in contract.json (see make_contract.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.operations.samples import sample
from wit.operations.api import wit_api
from wit.operations.schemas import make_schemas

CONTRACT: dict[str, dict[str, Any]] = json.loads(
    Path(__file__).with_name("contract.json").read_text()
)
REGISTRY = wit_api()
SCHEMAS = make_schemas(REGISTRY)

MISSING: frozenset[str] = frozenset(())
"""Procedures of the contract that are not built yet."""

OTHER_OUTPUTS = {
    # why a token does not work is nobody's business who does not own it
    "tokens.verify": frozenset((".reason",)),
}
"""Keys of answers, by procedure, that are left out on purpose."""

OTHER_DEFAULTS: frozenset[str] = frozenset(())
"""Fields, as ``procedure.field``, whose default is another one on purpose."""

BUILT = sorted(name for name in CONTRACT if (op := REGISTRY.get(name)) and op.trpc)


def test_the_missing_procedures_are_exactly_these() -> None:
    assert set(CONTRACT) - set(BUILT) == MISSING


@pytest.mark.parametrize("name", BUILT)
def test_kind(name: str) -> None:
    operation = REGISTRY.get(name)
    assert operation is not None
    assert operation.kind.value == CONTRACT[name]["kind"]


@pytest.mark.parametrize("name", BUILT)
def test_inputs_of_the_contract_are_accepted(name: str) -> None:
    operation = REGISTRY.get(name)
    assert operation is not None
    schema = CONTRACT[name]["input"]
    if schema is None or CONTRACT[name]["inputOptional"]:
        assert operation.input_optional, "the contract lets the whole input be left out"
    if schema is None:
        return
    assert operation.input is not None, "the contract has an input"
    full = sample(schema)
    least = {key: full[key] for key in schema.get("required", ())}
    for values in (full, least):
        try:
            checked = operation.input.model_validate(values)
        except ValidationError as error:
            pytest.fail(f"{values} is refused: {error}")
    assert set(schema["properties"]) <= set(operation.input.model_fields), "fields are missing"
    for key, part in schema["properties"].items():
        if "default" in part and f"{name}.{key}" not in OTHER_DEFAULTS:
            assert getattr(checked, key) == part["default"], f"the default of {key}"


@pytest.mark.parametrize("name", BUILT)
def test_outputs_have_the_contracts_keys(name: str) -> None:
    lacking = sorted(
        set(_lacking(SCHEMAS.outputs[name], CONTRACT[name]["output"], ""))
        - OTHER_OUTPUTS.get(name, frozenset())
    )
    assert not lacking


def _lacking(schema: dict[str, Any], shape: Any, path: str) -> list[str]:
    """The keys of the contract's ``shape`` that values of ``schema`` do not have.

    What all alternatives of the contract have must always be there; the rest may be."""
    parts = _alternatives(schema)
    shapes = shape.get("any", [shape]) if shape is not None else []
    if any(not part or _open(part) for part in parts):
        return []
    lacking = []
    if inner := [found["list"] for found in shapes if "list" in found]:
        items = [part.get("items", {}) for part in parts if part.get("type") == "array"]
        lacking += _lacking({"anyOf": items}, _any(inner), f"{path}[]") if items else [f"{path}[]"]
    objects = [found["object"] for found in shapes if "object" in found]
    ours = [part for part in parts if part.get("type") == "object"]
    for name in dict.fromkeys(key.removesuffix("?") for found in objects for key in found):
        here = f"{path}.{name}"
        holders = [part for part in ours if name in part["properties"]]
        if not holders:
            lacking.append(here)
        elif all(name in found for found in objects) and any(
            name not in part.get("required", ()) for part in ours
        ):
            lacking.append(f"{here} always")
        else:
            nested = [found.get(name, found.get(f"{name}?")) for found in objects]
            schemas = [part["properties"][name] for part in holders]
            lacking += _lacking({"anyOf": schemas}, _any(nested), here)
    return lacking


def _any(shapes: list[Any]) -> Any:
    flat = [one for shape in shapes if shape for one in shape.get("any", [shape])]
    return {"any": flat} if flat else None


def _alternatives(schema: dict[str, Any]) -> list[dict[str, Any]]:
    schema = SCHEMAS.resolve(schema)
    parts = schema.get("anyOf", schema.get("oneOf"))
    if parts is None:
        return [] if schema.get("type") == "null" else [schema]
    return [found for part in parts for found in _alternatives(part)]


def _open(schema: dict[str, Any]) -> bool:
    """A map with any keys."""
    return schema.get("type") == "object" and "properties" not in schema
