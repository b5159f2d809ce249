"""superjson beside the real one in Node, both ways; and what no honest client sends."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from math import isnan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.errors import Invalid
from wit.operations.json_text import MAX_DEPTH, parse_json
from wit.trpc.superjson import (
    MAX_NOTES,
    UNDEFINED,
    BigInt,
    Tagged,
    deserialize,
    dumps,
    serialize,
)

from .support import NODE

Node = Callable[..., Any]

# A value is described as tests/real/node/values.mjs does: [kind, content].

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
keys = (st.sampled_from(["a", "b", "", ".", "\\", "a.b", "\\.", "a\\", "0", "1.5"]) | texts).filter(
    lambda key: key not in ("__proto__", "constructor", "prototype")
)
numbers = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda number: number != 0
)
plain = st.tuples(st.just("plain"), st.none() | st.booleans() | numbers | texts)
dates = st.datetimes(timezones=st.just(UTC)).map(
    lambda date: ("Date", f"{date:%Y-%m-%dT%H:%M:%S}.{date.microsecond // 1000:03}Z".zfill(24))
)
odd = (
    st.just(("undefined",))
    | st.integers().map(lambda n: ("bigint", str(n)))
    | st.sampled_from([("number", name) for name in ("NaN", "Infinity", "-Infinity", "-0")])
    | st.sampled_from([("regexp", "/a+\\//gi"), ("URL", "https://example.org/?a=1")])
    | st.tuples(st.just("Error"), st.sampled_from(["Error", "TypeError"]), texts)
    | st.lists(st.integers(0, 255), max_size=3).map(lambda n: ("typed-array", "Uint8Array", n))
)
descriptions = st.recursive(
    plain | dates | odd,
    lambda inner: (
        st.lists(inner, max_size=4).map(lambda items: ("list", items))
        | st.dictionaries(keys, inner, max_size=4).map(lambda d: ("object", [*d.items()]))
        | st.dictionaries(keys, inner, max_size=3).map(
            lambda d: ("map", [(("plain", key), item) for key, item in d.items()])
        )
        | st.lists(inner.filter(lambda i: i != ("number", "-0")), max_size=3, unique_by=repr).map(
            lambda items: ("set", items)
        )
    ),
    max_leaves=12,
)


def value_of(description: Any) -> Any:
    """What ``description`` is on our side."""
    kind, *content = description
    match kind:
        case "undefined":
            return UNDEFINED
        case "bigint":
            return BigInt(int(content[0]))
        case "number":
            return float(content[0])
        case "Date":
            return datetime.fromisoformat(content[0])
        case "map":
            return Tagged("map", [[value_of(key), value_of(item)] for key, item in content[0]])
        case "set":
            return Tagged("set", [value_of(item) for item in content[0]])
        case "list":
            return [value_of(item) for item in content[0]]
        case "object":
            return {key: value_of(item) for key, item in content[0]}
        case "Error":
            return Tagged("Error", {"name": content[0], "message": content[1]})
        case "typed-array":
            return Tagged("typed-array", content[1], content[0])
        case "regexp" | "URL":
            return Tagged(kind, content[0])
    return content[0]


def normal(value: Any) -> Any:
    """Comparable: with types told apart, and without undefined keys, which we do not keep."""
    match value:
        case dict():
            items = {k: normal(v) for k, v in value.items() if v is not UNDEFINED}
            return ("object", items)
        case list():
            return ("list", [normal(item) for item in value])
        case Tagged():
            return (value.kind, value.array, normal(value.content))
        case float() if isnan(value):
            return "NaN"
        case BigInt():
            return ("bigint", value.value)
        case bool() | None | str() | datetime():
            return (type(value).__name__, value)
        case int() | float():
            return ("number", repr(float(value)))
    return value


def described(description: Any) -> Any:
    """As Node describes it: keys in their order, tuples as lists, numbers as it writes them."""
    kind, *content = json.loads(json.dumps(description))
    if kind == "object":
        return [kind, sorted((key, described(item)) for key, item in content[0])]
    if kind == "map":
        return [kind, sorted((key[1], described(item)) for key, item in content[0])]
    if kind in ("list", "set"):
        return [kind, [described(item) for item in content[0]]]
    if kind == "plain" and isinstance(content[0], (int, float)) and content[0] is not True:
        return [kind, float(content[0])]
    return [kind, *content]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    """``node(write=description)`` gives a payload, ``node(read=payload)`` a description."""
    with subprocess.Popen(
        ["node", str(NODE / "superjson.mjs")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None

        def ask(**command: Any) -> Any:
            assert process.stdin is not None and process.stdout is not None
            print(json.dumps(command), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()


@given(description=descriptions)
def test_we_read_what_the_real_one_writes(node: Node, description: Any) -> None:
    payload = parse_json(json.dumps(node(write=description)))
    assert normal(deserialize(payload)) == normal(value_of(description))


@given(description=descriptions)
def test_the_real_one_reads_what_we_write(node: Node, description: Any) -> None:
    payload = json.loads(dumps(value_of(description)))
    assert described(node(read=payload)) == described(description)


@given(description=descriptions)
def test_notes_are_those_of_the_real_one(node: Node, description: Any) -> None:
    ours = serialize(value_of(description)).get("meta", {})
    theirs = node(write=description).get("meta", {})
    assert json.loads(json.dumps(ours.get("values"))) == theirs.get("values")


def test_the_contracts_examples() -> None:
    date = datetime(2024, 1, 2, 3, 4, 5, 678900, UTC)
    text = "2024-01-02T03:04:05.678Z"
    assert serialize(date) == {"json": text, "meta": {"values": ["Date"], "v": 1}}
    assert serialize([{"createdAt": date}]) == {
        "json": [{"createdAt": text}],
        "meta": {"values": {"0.createdAt": ["Date"]}, "v": 1},
    }
    assert serialize(UNDEFINED) == {"json": None, "meta": {"values": ["undefined"], "v": 1}}
    assert serialize({"a": 1, "b": None}) == {"json": {"a": 1, "b": None}}
    east = date.astimezone(timezone(timedelta(hours=5)))
    assert serialize(east)["json"] == text
    assert (
        deserialize({"json": {"x": None}, "meta": {"values": {"x": ["undefined"]}, "v": 1}}) == {}
    )


@pytest.mark.parametrize("value", [datetime(2024, 1, 1), object(), b"x", {"a": [1j]}])
def test_what_has_no_form(value: Any) -> None:
    with pytest.raises(TypeError):
        dumps(value)


def test_forbidden_keys_are_sent_without_notes(node: Node) -> None:
    """The real client refuses a whole answer with such a path."""
    date = datetime(2024, 1, 1, tzinfo=UTC)
    sent = serialize({"constructor": {"at": date}, "a.constructor": date, "prototype": 1})
    assert sent["meta"]["values"] == {"a\\.constructor": ["Date"]}
    assert ["prototype", ["plain", 1]] in node(read=json.loads(json.dumps(sent)))[1]


@pytest.mark.parametrize(
    "values",
    [
        {"__proto__.polluted": ["Date"]},
        {"constructor.prototype.polluted": ["undefined"]},
        {"a.missing": ["Date"]},
        {"a.0": ["Date"]},
        {"list.-1": ["Date"]},
        {"list.01e0": ["Date"]},
        {"list.99999999999999999999": ["Date"]},
        {"list.٣": ["Date"]},
        {"text": ["Date"]},
        {"text": ["bigint"]},
        {"text": ["number"]},
        {"long": ["bigint"]},
        {"list": ["Date"]},
        {"list": ["bigint"]},
        {"late": ["Date"]},
        {"a\\b": ["Date"]},
        {"a": []},
        {"a": ["map", []]},
        {"a": ["map", {}, {}]},
        {"a": "Date"},
        {"list.0": ["set"], "list.0.0": ["Date"]},
        [["Date"], 1],
        "Date",
        5,
    ],
)
def test_hostile_notes(values: Any) -> None:
    json_ = {
        "a": {},
        "list": [[1]],
        "text": "x",
        "long": "9" * 5000,
        "late": "+275760-09-13T00:00:00.000Z",
        "__proto__": {"polluted": None},
        "constructor": {"prototype": {"polluted": None}},
    }
    with pytest.raises(Invalid):
        deserialize({"json": json_, "meta": {"values": values, "v": 1}})


@pytest.mark.parametrize(
    "meta",
    [
        None,
        5,
        [],
        {"v": 1},
        {"referentialEqualities": {"a": ["b"]}, "v": 1},
        {"referentialEqualities": [["a"]], "unknown": {}, "v": 9},
        {"values": {"a": [["class", "Car"]]}, "v": 1},
        {"values": {"a": ["unheard-of"]}, "v": 1},
        {"values": {"a": [["custom", "x"], {}]}, "v": 1},
        {"values": None},
        {"values": {}},
    ],
)
def test_unknown_meta_is_passed_over(meta: Any) -> None:
    assert deserialize({"json": {"a": 1}, "meta": meta}) == {"a": 1}


def test_old_paths_escape_dots_only() -> None:
    payload = {"json": {"a\\": {"b.c": None}}, "meta": {"values": {"a\\.b\\.c": ["undefined"]}}}
    with pytest.raises(Invalid):
        deserialize(json.loads(json.dumps(payload)))
    payload = {"json": {"a\\b": {"b.c": None}}, "meta": {"values": {"a\\b.b\\.c": ["undefined"]}}}
    assert deserialize(payload) == {"a\\b": {}}


@pytest.mark.parametrize("payload", [None, 5, "x", [], [{"json": 1}]])
def test_what_is_no_superjson(payload: Any) -> None:
    with pytest.raises(Invalid):
        deserialize(payload)


def test_an_empty_object_is_undefined() -> None:
    assert deserialize({}) is UNDEFINED


@pytest.mark.parametrize(
    "text",
    [
        "[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1),
        '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1),
        "[" * 1_000_000,
        "9" * 5000,
        "NaN",
        "[Infinity]",
        '"\\u0000"',
        '{"\\\\\\u0000": 1}',
        '"\\ud800"',
        '["\\udc00x"]',
        '{"\\uD83D": 1}',
        '"\x01"',
        "{",
        "",
        "{'a': 1}",
    ],
)
def test_json_that_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_json(text)


def test_json_that_is_not() -> None:
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(parse_json(deep)) == deep
    assert parse_json("[" + "[]," * 1000 + "[]]") == [[]] * 1001
    assert parse_json('"\\\\u0000 \\ud83d\\ude00"') == "\\u0000 \U0001f600"


def test_too_many_notes() -> None:
    payload = {
        "json": [None] * (MAX_NOTES + 1),
        "meta": {"values": {str(n): ["undefined"] for n in range(MAX_NOTES + 1)}, "v": 1},
    }
    with pytest.raises(Invalid):
        deserialize(payload)
