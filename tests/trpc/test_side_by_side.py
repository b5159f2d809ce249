"""The same requests to wit and to a real @trpc/server with superjson and zod: the same answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.web.harness import Online

from .support import ask, get, post, run_client

Ask = Callable[[int], Any]
GOOD = {"Authorization": "Bearer good"}
INTERNAL = "internal error, request id "
SHOP = {"name": "abc", "size": 1, "kind": "small", "tags": ["a"]}


def batch(paths: str, inputs: Any = None, method: str = "GET", **headers: str) -> Ask:
    text = "" if inputs is None else json.dumps(inputs)
    if method == "GET":
        query = f"&input={quote(text)}" if text else ""
        return lambda port: ask(port, "GET", f"{paths}?batch=1{query}", **headers)
    return lambda port: ask(port, method, f"{paths}?batch=1", text, **headers)


def same(port: int, real: int, request: Ask, *, worded_alike: bool = True) -> Any:
    """Ask both; their answers, of which ours is returned."""
    ours, theirs = request(port), request(real)
    assert ours.status == theirs.status
    assert ours.headers["content-type"] == "application/json"
    assert ours.headers.get("allow") == theirs.headers.get("allow")
    ours_json, theirs_json = ours.json, theirs.json
    if not worded_alike:
        for answer in (ours_json, theirs_json):
            for item in answer if isinstance(answer, list) else [answer]:
                if "error" in item:
                    item["error"]["json"]["message"] = "..."
    assert json.dumps(ours_json) == json.dumps(theirs_json)  # the order of keys, too
    return ours


@pytest.mark.parametrize(
    "request_",
    [
        lambda port: get(port, "plain.date"),
        lambda port: get(port, "plain.nothing"),
        lambda port: get(port, "plain.none"),
        lambda port: get(port, "plain.fixed"),
        lambda port: get(port, "deep.inner.get"),
        lambda port: get(port, "plain.date/"),
        lambda port: get(port, "plain%2Edate"),
        lambda port: get(port, "plain.optional"),
        lambda port: get(port, "plain.optional", {"limit": 7, "unknown": 1}),
        lambda port: ask(port, "GET", "plain.optional?input=%7B%7D"),
        lambda port: ask(port, "GET", "plain.optional?input="),
        lambda port: get(port, "plain.me", **GOOD),
        lambda port: post(port, "plain.add", {"a": 1, "b": 2}),
        lambda port: ask(port, "POST", "plain.touch", ""),
        lambda port: ask(port, "POST", "plain.touch", "{}"),
        lambda port: ask(port, "POST", "plain.touch", "", Content_Type="APPLICATION/JSON;a=b"),
        lambda port: post(port, "plain.rename", {"name": "x"}, **GOOD),
        batch("plain.date"),
        batch("plain.date,plain.nothing,deep.inner.get"),
        batch("plain.date,plain.optional", {"1": {"json": {"limit": 9}}}),
        batch("plain.date,plain.optional", {"7": 1, "x": None}),
        batch("plain.add,plain.touch", {"0": {"json": {"a": 1, "b": 2}}}, "POST"),
        batch("plain.echo," * 49 + "plain.date"),
    ],
)
def test_success(wit: Online, real: int, request_: Ask) -> None:
    same(wit.port, real, request_, worded_alike=False)


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (404, lambda port: get(port, "plain.missing")),
        (404, lambda port: get(port, "plain")),
        (404, lambda port: get(port, "")),
        (404, lambda port: get(port, "__proto__")),
        (404, lambda port: get(port, "plain.constructor")),
        (404, lambda port: post(port, "plain.missing", {})),
        (404, lambda port: get(port, "plain.date,plain.date")),
        (405, lambda port: post(port, "plain.date", {})),
        (405, lambda port: get(port, "plain.add", {"a": 1, "b": 2})),
        (405, lambda port: ask(port, "PUT", "plain.add", "{}")),
        (405, lambda port: ask(port, "DELETE", "plain.date", "{}")),
        (415, lambda port: ask(port, "POST", "plain.add", Content_Length="0")),
        (415, lambda port: ask(port, "POST", "plain.add", "{}", Content_Type="text/plain")),
        (415, lambda port: ask(port, "POST", "plain.add", "{}", Content_Type="application/jsonx")),
        (415, lambda port: ask(port, "PUT", "plain.add")),
        (401, lambda port: get(port, "plain.me")),
        (401, lambda port: post(port, "plain.rename", {})),
        (401, lambda port: get(port, "plain.me", Authorization="Bearer wrong")),
        (400, lambda port: post(port, "plain.rename", {}, **GOOD)),
        (400, lambda port: post(port, "plain.add", None)),
        (400, lambda port: ask(port, "POST", "plain.add", "")),
        (400, lambda port: ask(port, "GET", "plain.date", trpc_accept="application/jsonl")),
        (400, lambda port: ask(port, "GET", "plain.date", Accept="a/b, application/jsonl")),
        (400, batch("plain.date,plain.add")),
        (401, batch("plain.me,plain.me")),
        (207, batch("plain.me,plain.missing")),
        (207, batch("plain.date,plain.missing,plain.me")),
        (400, batch("plain.date,plain.add", {}, "POST")),
        (405, batch("plain.date,plain.none", {}, "POST")),
        (404, batch("plain.missing,,plain")),
        (400, batch("plain.optional,plain.optional", [1, 2])),
        (400, batch("watch.breaks")),
        (207, batch("plain.date,plain.optional", {"1": {"json": {"limit": "x"}}})),
        (200, lambda port: ask(port, "GET", "plain.date?batch=2")),
    ],
)
def test_refusals(wit: Online, real: int, status: int, request_: Ask) -> None:
    assert same(wit.port, real, request_).status == status


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, lambda port: ask(port, "POST", "plain.add", "{")),
        (400, lambda port: ask(port, "GET", "plain.optional?input={")),
        (400, lambda port: ask(port, "POST", "plain.add", "null")),
        (400, lambda port: ask(port, "GET", "plain%ZZ")),
        (400, lambda port: ask(port, "GET", "plain%FF")),
        (400, batch("plain.optional,plain.optional", {"0": None})),
        (400, batch("plain.add,plain.add", 5, "POST")),
        (400, lambda port: ask(port, "POST", "plain.add,plain.add?batch=1", "{,}")),
        (400, batch(",".join(["plain.date"] * 51))),
        (
            400,
            lambda port: ask(
                port, "POST", "plain.add", '{"json":{},"meta":{"values":{"__proto__.a":["Date"]}}}'
            ),
        ),
        (500, lambda port: get(port, "plain.crash")),
        (207, batch("plain.crash,plain.date")),
    ],
)
def test_refusals_in_other_words(wit: Online, real: int, status: int, request_: Ask) -> None:
    assert same(wit.port, real, request_, worded_alike=False).status == status


@pytest.mark.parametrize(
    "code",
    [
        "BAD_REQUEST", "UNAUTHORIZED", "FORBIDDEN", "NOT_FOUND", "TIMEOUT", "CONFLICT",
        "PRECONDITION_FAILED", "PAYLOAD_TOO_LARGE", "TOO_MANY_REQUESTS", "SERVICE_UNAVAILABLE",
    ],
)  # fmt: skip
def test_errors(wit: Online, real: int, code: str) -> None:
    same(wit.port, real, lambda port: get(port, "plain.fail", {"code": code}))
    inputs = {"0": {"json": {"code": code}}, "2": {"json": {"code": code}}}
    same(wit.port, real, batch("plain.fail,plain.date,plain.fail", inputs))


@pytest.mark.parametrize(
    "value",
    [
        {},
        None,
        5,
        "x",
        [],
        {**SHOP, "name": "a"},
        {**SHOP, "name": "abcdef"},
        {**SHOP, "name": 5},
        {**SHOP, "name": None},
        {**SHOP, "name": ["a"]},
        {**SHOP, "size": 0},
        {**SHOP, "size": 10},
        {**SHOP, "size": 1.5},
        {**SHOP, "size": "x"},
        {**SHOP, "size": None},
        {**SHOP, "ratio": 0},
        {**SHOP, "ratio": 1},
        {**SHOP, "ratio": {}},
        {**SHOP, "step": 3},
        {**SHOP, "kind": "huge"},
        {**SHOP, "kind": 5},
        {**SHOP, "kind": None},
        {**SHOP, "only": "no"},
        {**SHOP, "only": 5},
        {**SHOP, "tags": []},
        {**SHOP, "tags": ["a", "b", "c"]},
        {**SHOP, "tags": ["a", 5]},
        {**SHOP, "tags": ["a", "long"]},
        {**SHOP, "tags": {}},
        {**SHOP, "tags": None},
        {**SHOP, "id": "x"},
        {**SHOP, "id": 5},
        {**SHOP, "code": "A"},
        {**SHOP, "three": "ab"},
        {**SHOP, "three": "abcd"},
        {**SHOP, "flag": "x"},
        {**SHOP, "flag": 5},
        {**SHOP, "note": 5},
        {**SHOP, "due": "x"},
        {**SHOP, "inner": 5},
        {**SHOP, "inner": {}},
        {**SHOP, "inner": {"deep": [{"x": 1}, {}, {"x": "y"}]}},
        {**SHOP, "map": {"a": 1, "b": "c"}},
        {**SHOP, "map": 5},
        {**SHOP, "either": True},
        {**SHOP, "either": {}},
        {**SHOP, "pick": {"type": "c"}},
        {**SHOP, "pick": {}},
        {**SHOP, "pick": {"type": "a"}},
        {**SHOP, "pick": {"type": "b", "b": "x"}},
        {**SHOP, "pick": 5},
        {**SHOP, "size": "5"},
        {**SHOP, "size": "5.5"},
        {**SHOP, "size": True},
        {**SHOP, "size": False},
        {**SHOP, "size": []},
        {**SHOP, "size": {}},
        {**SHOP, "size": 100.5},
        {**SHOP, "size": -1},
        {**SHOP, "size": 1e300},
        {**SHOP, "step": 2.5},
        {**SHOP, "ratio": "0.5"},
        {**SHOP, "ratio": True},
        {**SHOP, "flag": 1},
        {**SHOP, "flag": 0},
        {**SHOP, "flag": "true"},
        {**SHOP, "flag": None},
        {**SHOP, "note": ["x"]},
        {**SHOP, "note": False},
        {**SHOP, "remark": None},
        {**SHOP, "remark": "long text"},
        {**SHOP, "remark": 5},
        {**SHOP, "slug": "A"},
        {**SHOP, "slug": "ABCDE"},
        {**SHOP, "slug": "abcde"},
        {**SHOP, "slug": ""},
        {**SHOP, "id": "x" * 60},
        {**SHOP, "id": "{00000000-0000-4000-8000-000000000000}"},
        {**SHOP, "id": "00000000000040008000000000000000"},
        {**SHOP, "id": "urn:uuid:00000000-0000-4000-8000-000000000000"},
        {**SHOP, "id": "00000000-0000-4000-8000-000000000000\n"},
        {**SHOP, "id": None},
        {**SHOP, "three": None},
        {**SHOP, "due": "2024-01-01T00:00:00.000Z"},
        {**SHOP, "due": 5},
        {**SHOP, "due": None},
        {**SHOP, "numbers": [1, "2", 0, 2.5][1:]},
        {**SHOP, "numbers": "1,2"},
        {**SHOP, "numbers": {"0": 1}},
        {**SHOP, "only": None},
        {**SHOP, "only": True},
        {**SHOP, "inner": {"deep": [{"x": "1"}, {"x": True}, {"x": None}, None, "x", 1]}},
        {**SHOP, "inner": {"deep": {"x": 1}}},
        {**SHOP, "inner": {"deep": None}},
        {**SHOP, "inner": None},
        {**SHOP, "map": {"a": "1", "b": None, "c": True}},
        {**SHOP, "map": []},
        {**SHOP, "either": None},
        {**SHOP, "pick": None},
        {**SHOP, "pick": {"type": "b", "b": "5"}},
        {**SHOP, "pick": {"type": "b", "b": True}},
        {"name": "é" * 9, "size": "x", "kind": "ü", "tags": ["a", None]},
    ],
)
def test_issues(wit: Online, real: int, value: Any) -> None:
    """Input that does not fit, in the words of zod."""
    assert same(wit.port, real, lambda port: get(port, "plain.buy", value)).status == 400


@pytest.mark.parametrize(
    ("value", "values"),
    [
        ({**SHOP, "name": None}, {"name": ["undefined"]}),
        ({**SHOP, "name": "2024-01-01T00:00:00.000Z"}, {"name": ["Date"]}),
        ({**SHOP, "size": "NaN"}, {"size": ["number"]}),
        ({**SHOP, "ratio": "Infinity"}, {"ratio": ["number"]}),
        ({**SHOP, "tags": [["a", "b"]]}, {"tags": ["map"]}),
        ({**SHOP, "tags": ["a"]}, {"tags": ["set"]}),
        ({**SHOP, "tags": [None, "a"]}, {"tags.0": ["undefined"]}),
        ({**SHOP, "name": "5"}, {"name": ["bigint"]}),
        ({**SHOP, "size": "5"}, {"size": ["bigint"]}),
        ({**SHOP, "size": "-Infinity"}, {"size": ["number"]}),
        ({**SHOP, "size": "2024-01-01T00:00:00.000Z"}, {"size": ["Date"]}),
        ({**SHOP, "note": "2024-01-01T00:00:00.000Z"}, {"note": ["Date"]}),
        ({**SHOP, "kind": ["small"]}, {"kind": ["set"]}),
        ({**SHOP, "map": [["a", 1]]}, {"map": ["map"]}),
        ({**SHOP, "inner": [["deep", []]]}, {"inner": ["map"]}),
        ({**SHOP, "flag": "1"}, {"flag": ["bigint"]}),
        ({**SHOP, "name": "https://a.b/"}, {"name": ["URL"]}),
        ({**SHOP, "inner": None}, {"inner": ["undefined"]}),
    ],
)
def test_issues_of_odd_values(wit: Online, real: int, value: Any, values: Any) -> None:
    text = quote(json.dumps({"json": value, "meta": {"values": values, "v": 1}}))
    same(wit.port, real, lambda port: ask(port, "GET", f"plain.buy?input={text}"))


@pytest.mark.parametrize(
    "value",
    [
        SHOP,
        {**SHOP, "unknown": {"deep": [1]}, "size": 5.0},
        {**SHOP, "numbers": [1.0, 2e0, 3], "step": -5.0, "inner": {"deep": [{"x": 2.0, "y": 1}]}},
        {**SHOP, "note": None, "either": "5", "map": {}},
    ],
)
def test_what_fits(wit: Online, real: int, value: Any) -> None:
    """Unknown keys are dropped, and 5.0 is a whole number."""
    assert same(wit.port, real, lambda port: get(port, "plain.buy", value)).status == 200


@pytest.mark.parametrize(
    ("value", "values"),
    [
        ({**SHOP, "due": "2024-01-01T00:00:00.000Z"}, {"due": ["Date"]}),
        (
            {**SHOP, "remark": None, "numbers": None},
            {"remark": ["undefined"], "numbers": ["undefined"]},
        ),
        ({**SHOP, "size": 5, "x": "1"}, {"x": ["bigint"]}),
    ],
)
def test_odd_values_that_fit(wit: Online, real: int, value: Any, values: Any) -> None:
    text = quote(json.dumps({"json": value, "meta": {"values": values, "v": 1}}))
    reply = same(wit.port, real, lambda port: ask(port, "GET", f"plain.buy?input={text}"))
    assert reply.status == 200


@pytest.mark.parametrize("token", ["", "good"])
def test_the_client_sees_no_difference(wit: Online, real: int, token: str) -> None:
    """Every kind of link, and all that a client makes of the answers."""
    theirs = run_client(f"http://127.0.0.1:{real}", "links", token)
    ours = run_client(wit, "links", token)
    for outcomes in (ours, theirs):
        crashed = next(
            one["error"]
            for one in outcomes["http"]
            if "error" in one and one["error"]["data"]["path"] == "plain.crash"
        )
        assert crashed["data"]["code"] == "INTERNAL_SERVER_ERROR"
    text = json.dumps(ours)
    assert "the secret" not in text
    assert text.count(INTERNAL) == 6
    assert [_unworded(one) for link in ours.values() for one in link] == [
        _unworded(one) for link in theirs.values() for one in link
    ]


@pytest.mark.parametrize("token", ["", "good"])
def test_subscriptions_are_the_same(wit: Online, real: int, token: str) -> None:
    ours = run_client(wit, "subscriptions", token)
    theirs = run_client(f"http://127.0.0.1:{real}", "subscriptions", token)
    assert _all_unworded(ours) == _all_unworded(theirs)
    assert ours["breaks"][-1]["error"]["message"] == "it went away"
    assert "the secret" not in json.dumps(ours)
    assert ours["count"][-1] == "complete" and len(ours["count"]) == 5


@pytest.mark.parametrize(
    "target",
    [
        "watch.count?input=" + quote('{"json":{"to":3}}'),
        "watch.count?lastEventId=2&input=" + quote('{"json":{"to":3}}'),
        "watch.count?lastEventId=2",
        "watch.items",
        "watch.items?lastEventId=before",
        "watch.breaks",
        "watch.mine",
        "watch.mine?input=" + quote('{"json":{"n":"x"}}'),
    ],
)
def test_events_byte_for_byte(wit: Online, real: int, target: str) -> None:
    ours, theirs = (ask(port, "GET", target, **GOOD) for port in (wit.port, real))
    assert ours.body == theirs.body
    assert ours.status == theirs.status == 200
    for name in ("content-type", "cache-control", "x-accel-buffering", "vary"):
        assert ours.headers[name] == theirs.headers[name], name


def test_lines_of_a_streamed_batch(wit: Online, real: int) -> None:
    """Line by line the same, but for the numbers of the chunks and their order."""
    paths = "plain.date,plain.missing,plain.nothing,plain.optional"
    inputs = {"3": {"json": {"limit": "x"}}}
    request = batch(paths, inputs, trpc_accept="application/jsonl")
    ours, theirs = (request(port) for port in (wit.port, real))
    assert ours.status == theirs.status == 200
    assert ours.headers["content-type"] == theirs.headers["content-type"]
    assert ours.headers["transfer-encoding"] == "chunked"
    assert _tree(ours.body) == _tree(theirs.body)
    assert len(ours.body.splitlines()) == len(theirs.body.splitlines())


def _tree(lines: str) -> Any:
    """The whole answer with each chunk put in its place."""
    head, *chunks = (json.loads(line) for line in lines.splitlines())
    by_number = {chunk["json"][0]: chunk for chunk in chunks}

    def fill(value: Any, meta: Any) -> Any:
        data, *places = value
        filled = [data, meta]
        for key, kind, number in places:
            chunk = by_number.pop(number)
            assert chunk["json"][1] == 0
            values = chunk.get("meta", {}).get("values")
            filled.append((key, kind, fill(chunk["json"][2], _renumbered(values))))
        return filled

    tree = {key: fill(value, None) for key, value in head["json"].items()}
    assert not by_number
    return tree


def _renumbered(values: Any) -> Any:
    return values and sorted(values.items())


def _unworded(one: Any) -> Any:
    """Without the words of internal errors, which are the reference's own."""
    if "error" in one and one["error"]["data"]["code"] == "INTERNAL_SERVER_ERROR":
        one["error"]["message"] = one["error"]["shape"]["message"] = "..."
    return one


def _all_unworded(watched: Any) -> Any:
    for seen in watched.values():
        for one in seen:
            if isinstance(one, dict):
                told = one.get("error") or one["retries"]
                if told["data"] and told["data"]["code"] == "INTERNAL_SERVER_ERROR":
                    told["message"] = told["shape"]["message"] = "..."
    return watched
