"""The TypeScript declaration of the tRPC API: ``AppRouter`` for ``createTRPCClient<AppRouter>``.

Made from the registry for @trpc/client 11 with superjson as transformer: a date is a ``Date`` in
answers, and a ``Date`` or its ISO text in inputs. It imports types alone, from @trpc/server, which
@trpc/client needs anyway.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, get_origin

from wit.operations.registry import Kind, Operation, Registry
from wit.operations.schemas import REFERENCE, Schema, Schemas, make_schemas
from wit.operations.tracked import Tracked

HEAD = """\
// The tRPC API of wit, made from its registry of procedures. For @trpc/client 11 and superjson:
//
//   import { createTRPCClient, httpBatchLink } from '@trpc/client';
//   import superjson from 'superjson';
//   import type { AppRouter } from './wit';
//
//   const wit = createTRPCClient<AppRouter>({
//     links: [httpBatchLink({ url: 'https://wit.example.org/trpc', transformer: superjson })],
//   });

import type {
  TRPCBuiltRouter,
  TRPCDefaultErrorShape,
  TRPCMutationProcedure,
  TRPCQueryProcedure,
  TRPCSubscriptionProcedure,
} from '@trpc/server';

type Query<I, O> = TRPCQueryProcedure<{ input: I; output: O; meta: object }>;
type Mutation<I, O> = TRPCMutationProcedure<{ input: I; output: O; meta: object }>;
type Subscription<I, O> = TRPCSubscriptionProcedure<{
  input: I;
  output: AsyncIterable<O>;
  meta: object;
}>;
"""

ROOT = "{ ctx: object; meta: object; errorShape: TRPCDefaultErrorShape; transformer: true }"

TAKEN = frozenset(
    ("AppRouter", "Array", "AsyncIterable", "Date", "Mutation", "Query", "Record", "Routers")
)
"""Names that a shape cannot have here."""

_IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


def declaration(registry: Registry) -> str:
    """The whole ``.d.ts``."""
    schemas = make_schemas(registry)
    served = [operation for operation in registry if operation.trpc]
    parts = [HEAD, *_shapes(schemas, served)]
    routers: dict[str, Any] = {}
    for operation in served:
        *path, name = operation.name.split(".")
        router = routers
        for part in path:
            router = router.setdefault(part, {})
        router[name] = operation
    for name, router in routers.items():
        parts.append(f"type {_router(name)} = {_record(router, schemas, '')};\n")
    types = {name: _router(name) for name in routers}
    for alias, name in registry.aliases.items():
        if name in routers:
            types[alias] = _merged(types.get(alias), _router(name))
    records = "".join(f"  {name}: {text};\n" for name, text in types.items())
    parts.append(f"type Routers = {{\n{records}}};\n")
    parts.append(f"export type AppRouter = TRPCBuiltRouter<\n  {ROOT},\n  Routers\n>;\n")
    return "\n".join(parts)


def _shapes(schemas: Schemas, served: list[Operation]) -> Iterator[str]:
    """The named shapes that inputs and outputs need; a name for each of the two uses."""
    for suffix, roots in (
        ("", [schemas.outputs[operation.name] for operation in served]),
        ("Input", [schemas.inputs[op.name] for op in served if op.input is not None]),
    ):
        for name in sorted(_reached(schemas, roots)):
            text = _type(schemas.shapes[name], suffix, "")
            yield f"export type {_identifier(name)}{suffix} = {text};\n"


def _reached(schemas: Schemas, roots: list[Schema]) -> set[str]:
    reached: set[str] = set()
    waiting = [name for root in roots for name in _references(root)]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += _references(schemas.shapes[name])
    return reached


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"].removeprefix(REFERENCE)
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)


def _record(router: dict[str, Any], schemas: Schemas, indent: str) -> str:
    inner = indent + "  "
    lines = []
    for name, entry in router.items():
        if isinstance(entry, dict):
            text = _record(entry, schemas, inner)
        else:
            text = _procedure(entry, schemas, inner)
            lines.append(_comment(entry.summary, inner))
        lines.append(f"{inner}{_key(name)}: {text};\n")
    return "{\n" + "".join(lines) + indent + "}"


def _procedure(operation: Operation, schemas: Schemas, indent: str) -> str:
    if operation.input is None:
        taken = "void"
    else:
        taken = _type(schemas.inputs[operation.name], "Input", indent)
        if operation.input_optional:
            taken += " | void"
    kind = {Kind.QUERY: "Query", Kind.MUTATION: "Mutation", Kind.SUBSCRIPTION: "Subscription"}
    output = schemas.outputs[operation.name]
    if get_origin(operation.output) is Tracked:
        data = schemas.resolve(output)["prefixItems"][1]
        given = f"{{ id: string; data: {_type(data, '', indent)} }}"
    else:
        given = _type(output, "", indent)
    return f"{kind[operation.kind]}<{taken}, {given}>"


def _type(schema: Schema, suffix: str, indent: str) -> str:
    """The TypeScript type of what fits ``schema``; ``suffix`` tells inputs from outputs."""
    if "$ref" in schema:
        return _identifier(schema["$ref"].removeprefix(REFERENCE)) + suffix
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(map(json.dumps, schema["enum"]))
    for union in ("anyOf", "oneOf"):
        if union in schema:
            return " | ".join(dict.fromkeys(_type(part, suffix, indent) for part in schema[union]))
    match schema.get("type"):
        case "string":
            if schema.get("format") == "date-time":
                return "Date"
            return "string"
        case "integer" | "number":
            return "number"
        case "boolean":
            return "boolean"
        case "null":
            return "null"
        case "array" if "prefixItems" in schema:
            return f"[{', '.join(_type(part, suffix, indent) for part in schema['prefixItems'])}]"
        case "array":
            return f"Array<{_type(schema.get('items', {}), suffix, indent)}>"
        case "object":
            return _object(schema, suffix, indent)
    return "unknown"


def _object(schema: Schema, suffix: str, indent: str) -> str:
    properties: dict[str, Schema] = schema.get("properties", {})
    others = schema.get("additionalProperties")
    if not properties:
        if others is None:
            return "Record<string, unknown>"
        of = _type(others, suffix, indent) if isinstance(others, dict) else "unknown"
        return f"Record<string, {of}>"
    required = schema.get("required", ())
    inner = indent + "  "
    fields = "".join(
        f"{inner}{_key(name)}{'' if name in required else '?'}: {_type(part, suffix, inner)};\n"
        for name, part in properties.items()
    )
    return "{\n" + fields + indent + "}"


def _key(name: str) -> str:
    return name if _IDENTIFIER.fullmatch(name) else json.dumps(name)


def _identifier(name: str) -> str:
    """``tokens.Create`` becomes ``TokensCreate``."""
    joined = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9_$]+", name))
    return f"{joined}Shape" if joined in TAKEN else joined


def _merged(own: str | None, router: str) -> str:
    """A router under an alias; what is declared under the alias's own name goes first."""
    return router if own is None else f"Omit<{router}, keyof {own}> & {own}"


def _router(name: str) -> str:
    return _identifier(name) + "Router"


def _comment(text: str, indent: str) -> str:
    return f"{indent}/** {text.replace('*/', '* /')} */\n" if text else ""
