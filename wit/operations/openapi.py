"""The OpenAPI 3.1 document of all operations: their REST routes, and their tRPC calls.

Made from the registry alone. What a call can answer follows from its declaration: who may call it,
what it takes, and the errors that it names.
"""

from __future__ import annotations

import re

from wit import __version__
from wit.access.actor import OAUTH_SCOPES, Level
from wit.operations.access import Administrator, Org, Package, Public, Repo
from wit.operations.openapi_parts import (
    ERROR,
    ERROR_SCHEMAS,
    RESPONSES,
    SECURITY,
    STATUS,
    TRPC_ERROR,
    V1_ERROR,
)
from wit.operations.registry import (
    EVENTS,
    JSON,
    Kind,
    Operation,
    Page,
    Registry,
    Rest,
    Style,
)
from wit.operations.schemas import REFERENCE, Schema, Schemas, make_schemas
from wit.packages.rights import Act

ALWAYS = ("unauthorized", "forbidden", "rate_limited", "unavailable")
"""A wrong credential, a suspended user, too many calls, a lost database: whatever is called."""

_EVENTS: Schema = {
    "description": "Server-Sent Events (HTML standard, section 9.2); the data of each is JSON."
}

DESCRIPTION = """\
Everything that wit offers to programs. Each procedure is served by tRPC (`/trpc/NAME`, with
superjson), many also by REST. Sign in with a personal access token, an OAuth token or a session
token as Bearer, or with the session cookie.
"""


def document(registry: Registry, base: str) -> Schema:
    """``base`` is the server's public address."""
    schemas = make_schemas(registry)
    paths: dict[str, dict[str, Schema]] = {}
    groups: dict[str, None] = {}
    for operation in registry:
        groups.setdefault(_group(operation))
        for number, rest in enumerate(operation.rest):
            name = operation.name if number == 0 else f"{operation.name}.{number + 1}"
            described = {"operationId": name, **_rest(operation, rest, schemas)}
            methods = paths.setdefault(rest.path, {})
            if (shared := methods.get(rest.method.lower())) is not None:
                events, described = sorted((shared, described), key=_gives_json)
                _success_of(described)["content"].update(_success_of(events)["content"])
            methods[rest.method.lower()] = described
        if operation.trpc:
            method = "post" if operation.kind is Kind.MUTATION else "get"
            described = {"operationId": f"trpc.{operation.name}", **_trpc(operation, schemas)}
            paths[f"/trpc/{operation.name}"] = {method: described}
    return {
        "openapi": "3.1.0",
        "info": {"title": "wit", "version": __version__, "description": DESCRIPTION},
        "servers": [{"url": base}],
        "tags": [{"name": name} for name in groups],
        "paths": paths,
        "components": {
            "schemas": {**schemas.shapes, **ERROR_SCHEMAS},
            "responses": RESPONSES,
            "securitySchemes": SECURITY,
        },
    }


def codes(operation: Operation, *, has_body: bool) -> set[str]:
    """The error codes that a call may end with."""
    found = {*ALWAYS, *operation.errors} - {"internal"}
    if operation.input is not None or has_body:
        found.add("invalid")
    if has_body:
        found |= {"too_large", "media_type", "timeout"}
    if isinstance(operation.access, Repo | Org | Package):
        found |= {"not_found", "invalid"}
    return found


def _rest(operation: Operation, rest: Rest, schemas: Schemas) -> Schema:
    in_path = re.findall(r"\{([^}]*)\}", rest.path)
    fields = schemas.fields(operation)
    required = schemas.required(operation)
    if missing := [name for name in in_path if name not in fields]:
        raise TypeError(f"{operation.name}: {rest.path} has no input fields {missing}")
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _plain(fields[name])}
        for name in in_path
    ]
    others = {name: field for name, field in fields.items() if name not in in_path}
    has_body = rest.has_body
    described = _described(operation)
    if rest.takes != JSON:
        schema = {"type": "string", "format": "binary"}
        described["requestBody"] = {"required": True, "content": {rest.takes: {"schema": schema}}}
    elif has_body and others:
        needed = [name for name in others if name in required]
        described["requestBody"] = {
            "required": bool(needed),
            "content": {"application/json": {"schema": _object(others, needed)}},
        }
    if not rest.has_json_body:
        parameters += [
            {"name": name, "in": "query", "required": name in required, "schema": _plain(field)}
            for name, field in others.items()
        ]
    if parameters:
        described["parameters"] = parameters
    v1 = rest.style is Style.V1
    errors = codes(operation, has_body=has_body)
    if v1 and errors & {"invalid", "conflict"}:
        errors = (errors - {"conflict"}) | {"unprocessable"}
    described["responses"] = {
        str(rest.status): _success(operation, rest, schemas),
        **_errors(errors, V1_ERROR if v1 else ERROR),
    }
    described["security"] = _security(operation, cookie=not v1)
    return described


def _success(operation: Operation, rest: Rest, schemas: Schemas) -> Schema:
    response: Schema = {"description": "Done."}
    if rest.status != 204 and operation.output not in (None, type(None)):
        schema = _EVENTS if rest.gives == EVENTS else schemas.outputs[operation.name]
        response["content"] = {rest.gives: {"schema": schema}}
    if getattr(operation.output, "__origin__", None) is Page:
        response["headers"] = {
            "Link": {
                "description": "The pages around this one (RFC 8288): next, prev, first, last.",
                "schema": {"type": "string"},
            }
        }
    return response


def _success_of(described: Schema) -> Schema:
    return next(answer for status, answer in described["responses"].items() if status < "300")


def _gives_json(described: Schema) -> bool:
    return JSON in _success_of(described)["content"]


def _trpc(operation: Operation, schemas: Schemas) -> Schema:
    described = _described(operation)
    mutation = operation.kind is Kind.MUTATION
    taken: Schema = {
        "type": "object",
        "properties": {
            "json": schemas.inputs.get(operation.name, {}),
            "meta": {"$ref": REFERENCE + "SuperjsonMeta"},
        },
        "required": [] if operation.input_optional else ["json"],
    }
    content = {"application/json": {"schema": taken}}
    if mutation:
        described["requestBody"] = {"required": not operation.input_optional, "content": content}
    elif operation.input is not None:
        described["parameters"] = [
            {
                "name": "input",
                "in": "query",
                "required": not operation.input_optional,
                "description": "superjson",
                "content": content,
            }
        ]
    output = schemas.outputs[operation.name]
    if operation.kind is Kind.SUBSCRIPTION:
        given = {EVENTS: {"schema": _EVENTS}}
    else:
        data = _object({"json": output, "meta": {"$ref": REFERENCE + "SuperjsonMeta"}}, ["json"])
        result = _object({"data": data}, ["data"])
        given = {"application/json": {"schema": _object({"result": result}, ["result"])}}
    described["responses"] = {
        "200": {"description": "The result, as superjson.", "content": given},
        **_errors(codes(operation, has_body=mutation) | {"invalid"}, TRPC_ERROR),
    }
    described["security"] = _security(operation, cookie=True)
    return described


def _described(operation: Operation) -> Schema:
    access = operation.access
    who = f"For: {access.describe()}."
    if access.scope is not None:
        who += f" A token needs the scope `{access.scope}`."
    return {
        "tags": [_group(operation)],
        "summary": operation.summary or operation.name,
        "description": "\n\n".join(part for part in (operation.description, who) if part),
    }


def _group(operation: Operation) -> str:
    return operation.name.rpartition(".")[0]


def _errors(found: set[str], shape: str) -> Schema:
    return {
        str(STATUS[code]): {"$ref": f"#/components/responses/{shape}.{code}"}
        for code in sorted(found, key=STATUS.__getitem__)
    }


def _security(operation: Operation, *, cookie: bool) -> list[Schema]:
    """The ways to sign in for it; an empty one where nobody has to."""
    access = operation.access
    ways: list[Schema] = [{"bearer": []}]
    if access.scope in OAUTH_SCOPES and not isinstance(access, Administrator):
        ways.append({"oauth": [access.scope]})
    if cookie:
        ways.append({"cookie": []})
    anybody = (
        isinstance(access, Public)
        or (isinstance(access, Repo) and access.level <= Level.READ and not access.signed_in)
        or (isinstance(access, Package) and access.act is Act.SEE)
    )
    return [{}, *ways] if anybody else ways


def _plain(schema: Schema) -> Schema:
    """Of a path or query: there is no null there."""
    if "anyOf" not in schema:
        return schema
    parts = [part for part in schema["anyOf"] if part.get("type") != "null"]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    if rest.get("default", 0) is None:
        del rest["default"]
    return {**parts[0], **rest} if len(parts) == 1 else {**rest, "anyOf": parts}


def _object(properties: Schema, required: list[str]) -> Schema:
    found: Schema = {"type": "object", "properties": properties}
    if required:
        found["required"] = required
    return found
