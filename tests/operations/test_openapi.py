"""The OpenAPI document: valid, complete, and saying what the declarations say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

import pytest
from openapi_spec_validator import validate
from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import Level, OrgRole
from wit.errors import ANSWERS
from wit.operations.access import Administrator, Org, Public, Repo, SignedIn
from wit.operations.api import wit_api
from wit.operations.call import Call
from wit.operations.openapi import codes, document
from wit.operations.openapi_parts import MEANING
from wit.operations.registry import Input, Page, Registry, Rest, Router, Style

API = wit_api()
BASE = "https://wit.example.org"


class Make(Input):
    owner: Annotated[str, Field(max_length=39)]
    name: Annotated[str, Field(min_length=1, max_length=10)] = ""
    size: Annotated[int, Field(le=5)] | None = None


class Thing(TypedDict):
    at: datetime


router = Router("things")


@router.query("get", access=Repo(Level.READ), rest=Rest("GET", "/api/things/{owner}"))
async def get(call: Call, values: Make) -> Thing:
    raise AssertionError


@router.mutation(
    "make",
    access=SignedIn("user:write"),
    errors=("conflict",),
    rest=(
        Rest("POST", "/api/things/{owner}", 201),
        Rest("PUT", "/api/v1/things/{owner}", 204, Style.V1),
    ),
)
async def make(call: Call, values: Make) -> Thing:
    raise AssertionError


@router.query("pages", access=Administrator(), rest=Rest("GET", "/api/v1/things", style=Style.V1))
async def pages(call: Call) -> Page[Thing]:
    raise AssertionError


@router.subscription("follow", access=SignedIn(None))
async def follow(call: Call) -> AsyncIterator[int]:
    yield 1


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return document(Registry([router]), BASE)


def test_the_api_has_a_valid_document() -> None:
    validate(document(API, BASE))


def test_everything_is_in_it() -> None:
    paths = document(API, BASE)["paths"]
    for operation in API:
        for rest in operation.rest:
            assert rest.method.lower() in paths[rest.path]
        if operation.trpc:
            (method,) = paths[f"/trpc/{operation.name}"]
            assert method == ("post" if operation.kind.value == "mutation" else "get")
    routes = {(rest.method, rest.path) for operation in API for rest in operation.rest}
    calls = sum(operation.trpc for operation in API)
    assert sum(map(len, paths.values())) == len(routes) + calls


def test_a_path_that_answers_json_and_events() -> None:
    described = document(API, BASE)["paths"]["/api/v1/sandboxes/{sandboxId}/exec"]["post"]
    assert described["operationId"] == "sandboxes.exec"
    content = described["responses"]["200"]["content"]
    assert content["application/json"] == {"schema": {"$ref": "#/components/schemas/ExecResult"}}
    assert "Server-Sent Events" in content["text/event-stream"]["schema"]["description"]


def test_streams_of_bytes() -> None:
    methods = document(API, BASE)["paths"]["/api/v1/sandboxes/{sandboxId}/archive"]
    schema = {"schema": {"type": "string", "format": "binary"}}
    assert methods["get"]["responses"]["200"]["content"] == {"application/x-tar": schema}
    assert methods["put"]["requestBody"]["content"] == {"application/x-tar": schema}
    assert [one["name"] for one in methods["put"]["parameters"]] == ["sandboxId", "path"]


def test_parameters(made: dict[str, Any]) -> None:
    assert made["paths"]["/api/things/{owner}"]["get"]["parameters"] == [
        {
            "name": "owner",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "maxLength": 39},
        },
        {
            "name": "name",
            "in": "query",
            "required": False,
            "schema": {"type": "string", "minLength": 1, "maxLength": 10},
        },
        {
            "name": "size",
            "in": "query",
            "required": False,
            "schema": {"type": "integer", "maximum": 5},
        },
    ]


def test_a_body_is_what_is_not_in_the_path(made: dict[str, Any]) -> None:
    body = made["paths"]["/api/things/{owner}"]["post"]["requestBody"]
    assert body["required"] is False
    schema = body["content"]["application/json"]["schema"]
    assert set(schema["properties"]) == {"name", "size"}
    assert {"type": "null"} in schema["properties"]["size"]["anyOf"]


def statuses(operation: dict[str, Any]) -> set[str]:
    return set(operation["responses"])


def test_answers(made: dict[str, Any]) -> None:
    paths = made["paths"]
    always = {"401", "403", "429", "503"}
    assert statuses(paths["/api/things/{owner}"]["get"]) == {"200", "400", "404", *always}
    assert statuses(paths["/api/things/{owner}"]["post"]) == {
        *("201", "400", "408", "409", "413", "415"),
        *always,
    }
    assert statuses(paths["/api/v1/things/{owner}"]["put"]) == {
        *("204", "400", "408", "413", "415", "422"),
        *always,
    }
    assert "content" not in paths["/api/v1/things/{owner}"]["put"]["responses"]["204"]
    refused = paths["/api/v1/things/{owner}"]["put"]["responses"]["422"]
    assert refused == {"$ref": "#/components/responses/V1Error.unprocessable"}


def test_pages(made: dict[str, Any]) -> None:
    answer = made["paths"]["/api/v1/things"]["get"]["responses"]["200"]
    assert answer["content"]["application/json"]["schema"] == {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Thing"},
    }
    assert "Link" in answer["headers"]


def test_trpc_calls(made: dict[str, Any]) -> None:
    get, make = made["paths"]["/trpc/things.get"]["get"], made["paths"]["/trpc/things.make"]["post"]
    (given,) = get["parameters"]
    assert (given["name"], given["required"]) == ("input", True)
    taken = {"$ref": "#/components/schemas/Make"}
    schema = given["content"]["application/json"]["schema"]
    assert schema["properties"]["json"] == taken
    assert make["requestBody"]["content"]["application/json"]["schema"] == schema
    follow = made["paths"]["/trpc/things.follow"]["get"]
    assert set(follow["responses"]["200"]["content"]) == {"text/event-stream"}


def test_who_may_call(made: dict[str, Any]) -> None:
    paths = made["paths"]
    assert paths["/api/things/{owner}"]["get"]["security"] == [
        {},
        {"bearer": []},
        {"oauth": ["repo:read"]},
        {"cookie": []},
    ]
    assert {} not in paths["/api/things/{owner}"]["post"]["security"]
    assert paths["/api/v1/things"]["get"]["security"] == [{"bearer": []}]
    assert "`repo:read`" in paths["/api/things/{owner}"]["get"]["description"]


def test_a_path_cannot_name_what_is_no_input() -> None:
    bad = Router("bad")
    bad.query("get", access=Public(), rest=Rest("GET", "/api/{nobody}"))(get)
    with pytest.raises(TypeError, match="nobody"):
        document(Registry([bad]), BASE)


def test_every_error_code_has_a_meaning() -> None:
    assert set(MEANING) == {*ANSWERS, "unprocessable"} - {"internal"}


def test_the_errors_that_a_declaration_can_give() -> None:
    def of(access: Any, taken: type[Input] | None = None) -> set[str]:
        one = Router("one")

        async def with_input(call: Call, values: Make) -> int:
            return 1

        async def without(call: Call) -> int:
            return 1

        one.query("get", access=access, errors=("internal",))(with_input if taken else without)
        return codes(one.operations[0], has_body=False)

    always = {"unauthorized", "forbidden", "rate_limited", "unavailable"}
    assert of(Public()) == always
    assert of(Public(), Make) == always | {"invalid"}
    assert of(Org(OrgRole.ADMIN), Make) == always | {"invalid", "not_found"}
