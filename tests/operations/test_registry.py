"""Declaring procedures, and what a wrong declaration says when its module is imported."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

import pytest
from pydantic import Field

from wit.access.actor import Level
from wit.operations.access import Public, Repo
from wit.operations.api import ALIASES, wit_api
from wit.operations.call import Call
from wit.operations.registry import EVENTS, Input, Kind, Page, Registry, Rest, Router, load

API = wit_api()


class Named(Input):
    name: Annotated[str, Field(max_length=10)]


class Optional(Input):
    limit: int = 5


def declare(procedure: Callable[..., Any], kind: str = "query", **declaration: Any) -> Router:
    router = Router("things")
    getattr(router, kind)("one", **{"access": Public(), **declaration})(procedure)
    return router


async def plain(call: Call) -> int:
    return 1


async def named(call: Call, values: Named) -> str:
    """What it does.

    And more of it,
    on two lines.
    """
    return values.name


async def optional(call: Call, values: Optional) -> int:
    return values.limit


async def paged(call: Call) -> Page[int]:
    return Page([1], more=False)


async def stream(call: Call) -> AsyncIterator[int]:
    yield 1


def test_without_access_it_cannot_be_declared() -> None:
    router = Router("things")
    with pytest.raises(TypeError, match="access"):
        router.query("one")  # type: ignore[call-arg]
    assert router.operations == []


def test_a_declaration() -> None:
    access = Repo(Level.READ)
    (operation,) = declare(named, access=access, errors=("conflict",), limit="search").operations
    assert operation.name == "things.one"
    assert operation.kind is Kind.QUERY
    assert operation.access is access
    assert (operation.input, operation.input_optional, operation.output) == (Named, False, str)
    assert operation.errors == ("conflict",)
    assert operation.limit == "search"
    assert operation.summary == "What it does."
    assert operation.description == "And more of it,\non two lines."


def test_inputs_may_be_missing_when_all_fields_have_defaults() -> None:
    assert declare(plain).operations[0].input is None
    assert declare(plain).operations[0].input_optional
    assert declare(optional).operations[0].input_optional


def test_outputs() -> None:
    schema = {"type": "array", "items": {"type": "integer"}}
    assert declare(paged).operations[0].output_adapter.json_schema() == schema
    assert declare(stream, "subscription").operations[0].output is int


def test_a_rest_route_may_stand_alone() -> None:
    rest = Rest("GET", "/api/things")
    assert declare(plain, rest=rest).operations[0].rest == (rest,)


async def no_output(call: Call):  # type: ignore[no-untyped-def]
    return 1


async def three(call: Call, values: Named, more: int) -> int:
    return more


async def no_input_type(call: Call, values: dict[str, Any]) -> int:
    return 1


def not_async(call: Call) -> int:
    return 1


@pytest.mark.parametrize(
    ("procedure", "kind"),
    [
        (no_output, "query"),
        (three, "query"),
        (no_input_type, "mutation"),
        (not_async, "query"),
        (stream, "query"),
        (plain, "subscription"),
    ],
)
def test_signatures_that_cannot_be_served(procedure: Callable[..., Any], kind: str) -> None:
    with pytest.raises(TypeError, match=r"things\.one"):
        declare(procedure, kind)


def test_unknown_error_codes() -> None:
    with pytest.raises(TypeError, match="teapot"):
        declare(plain, errors=("teapot",))


def test_names_that_are_none() -> None:
    with pytest.raises(TypeError):
        Router("two words")
    with pytest.raises(TypeError):
        Router("things").query("a.b", access=Public())


def test_nothing_is_declared_twice() -> None:
    with pytest.raises(TypeError, match=r"things\.one is declared twice"):
        Registry([declare(plain), declare(plain)])


def test_no_route_is_taken_twice() -> None:
    first, second = Router("first"), Router("second")
    first.query("one", access=Public(), rest=Rest("GET", "/api/{a}"))(plain)
    second.query("one", access=Public(), rest=Rest("GET", "/api/{b}"))(plain)
    with pytest.raises(TypeError, match=r"second\.one: GET /api/\{b\} is taken"):
        Registry([first, second])


def test_json_and_events_may_share_a_path() -> None:
    things = Router("things")
    things.mutation("do", access=Public(), rest=Rest("POST", "/api/do"))(plain)
    events = Rest("POST", "/api/do", gives=EVENTS)
    things.subscription("follow", access=Public(), rest=events)(stream)
    assert len(Registry([things])) == 2
    for kind, route in (("subscription", Rest("POST", "/api/x")), ("mutation", events)):
        bad = Router("bad")
        getattr(bad, kind)("one", access=Public(), rest=route)(
            stream if kind == "subscription" else plain
        )
        with pytest.raises(TypeError, match=r"bad\.one"):
            Registry([bad])


def test_streams_of_bytes_are_for_rest_alone() -> None:
    for route in (Rest("PUT", "/a", takes="image/png"), Rest("GET", "/a", gives="image/png")):
        with pytest.raises(TypeError, match=r"things\.one"):
            Router("things").query("one", access=Public(), rest=route)(plain)
        Router("things", trpc=False).query("one", access=Public(), rest=route)(plain)


def test_aliases_are_names_of_routers() -> None:
    registry = Registry([declare(plain)], {"stuff": "things"})
    assert registry.get("stuff.one") is registry.get("things.one") is not None
    for unknown in ("stuff.two", "other.one", "stuff", "", "one", "stuff.one.more"):
        assert registry.get(unknown) is None


def test_what_is_declared_under_an_alias_goes_first() -> None:
    own = Router("stuff")
    own.query("one", access=Public())(plain)
    registry = Registry([declare(plain), own], {"stuff": "things"})
    assert registry.get("stuff.one") is own.operations[0]


def test_the_api_is_what_is_in_its_folders() -> None:
    assert len(API) == len(load("wit.operations.routers", "wit.operations.v1"))
    assert all(operation.trpc or operation.rest for operation in API), "served by no door"
    assert all(operation.summary for operation in API), "without a docstring"
    assert ALIASES["repository"] == "repos"


@pytest.mark.parametrize("operation", API, ids=lambda operation: operation.name)
def test_every_text_and_list_of_an_input_has_a_limit(operation: Any) -> None:
    def unlimited(schema: Any, path: str) -> list[str]:
        found = []
        if isinstance(schema, dict):
            kind = schema.get("type")
            if kind == "string" and not schema.keys() & {"maxLength", "enum", "const", "format"}:
                found.append(path)
            if kind == "array" and "maxItems" not in schema:
                found.append(f"{path}[]")
            for key, part in schema.items():
                found += unlimited(part, f"{path}.{key}")
        elif isinstance(schema, list):
            found = [lack for part in schema for lack in unlimited(part, path)]
        return found

    if operation.input is not None:
        assert not unlimited(operation.input.model_json_schema(), "")
