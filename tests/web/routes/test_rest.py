"""What the REST door makes of a query, a path and a body."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import pytest

from tests.web.harness import read_to_end
from tests.web.routes.things import Door, opened
from wit.runtime import Runtime


@pytest.fixture
def door(run: Any, runtime: Runtime) -> Iterator[Door]:
    with opened(run, runtime) as door:
        yield door


def test_the_query_is_coerced_to_the_inputs_types(door: Door) -> None:
    found = door("GET", "/api/things/anna?limit=5&open=false&labels=a&labels=b&other=1")
    assert found.status == 200
    assert found.json == {"owner": "anna", "limit": 5, "open": False, "labels": ["a", "b"]}
    assert door("GET", "/api/things/anna?labels=a").json["labels"] == ["a"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", 5), ("name", None), ("name", ["x"]), ("name", True), ("kind", None), ("kind", "BIG"),
        ("count", "5"), ("count", True), ("count", 5.5), ("count", [5]), ("count", ""),
        ("due", 5), ("due", "tomorrow"), ("due", "2024-05-06"), ("flag", 1), ("flag", "true"),
    ],
)  # fmt: skip
def test_a_body_is_taken_as_it_is(door: Door, field: str, value: Any) -> None:
    refused = door("POST", "/api/things/anna", {"name": "x", field: value}, "anna")
    assert refused.status == 400
    assert refused.json["error"].startswith(f"{field}: ")
    refused = door("POST", "/api/v1/things/anna", {"name": "x", field: value}, "anna")
    assert refused.status == 422
    assert refused.json["errors"] == [{"resource": "things", "field": field, "code": "invalid"}]


def test_numbers_and_dates_of_a_body(door: Door) -> None:
    body = {"name": "x", "count": 5.0, "due": "2024-05-06T07:08:09+02:00", "other": {}}
    made = door("POST", "/api/things/anna", body, "anna")
    assert (made.status, made.json["count"]) == (201, 5)
    assert made.json["due"] == "2024-05-06T05:08:09.000Z"


def test_numbers_of_the_path(door: Door) -> None:
    """Beside a body that is taken as it is."""
    made = door("PATCH", "/api/numbered/0005", {"count": 2}, "anna")
    assert (made.status, made.json) == (200, {"number": 5, "count": 2})
    assert door("PATCH", "/api/numbered/x", {"count": 2}).status == 400
    assert door("PATCH", "/api/numbered/5", {"count": "2"}).status == 400


def test_the_path_wins(door: Door) -> None:
    assert door("GET", "/api/things/anna?owner=bob&limit=1&limit=2").json["owner"] == "anna"
    made = door("POST", "/api/things/anna", {"owner": "bob", "name": "x"}, "anna")
    assert made.json["owner"] == "anna"


def test_of_a_repeated_field_the_last_counts(door: Door) -> None:
    assert door("GET", "/api/things/anna?limit=1&limit=2").json["limit"] == 2


def test_a_methods_input_is_its_body_alone(door: Door) -> None:
    made = door("POST", "/api/things/anna?kind=big&count=4", {"name": "x"}, "anna")
    assert (made.json["kind"], made.json["count"]) == ("small", None)


@pytest.mark.parametrize("query", ["?limit=many", "?limit=0", "?limit=%ff", "?a=1" + "&a=1" * 100])
def test_bad_queries(door: Door, query: str) -> None:
    refused = door("GET", "/api/things/anna" + query)
    assert refused.status == 400
    assert refused.json["code"] == "invalid"
    assert refused.json["requestId"] == refused.headers["X-Request-Id"]


@pytest.mark.parametrize(
    "body", [b"{", b"[1]", b'"x"', b"\xff", b'{"name": NaN}', b"[" * 90, b'{"name":"\\ud800"}']
)
def test_bodies_that_are_no_json_object(door: Door, body: bytes) -> None:
    refused = door.send("POST", "/api/things/anna", body, {"Content-Type": "application/json"})
    assert (refused.status, refused.json["code"]) == (400, "invalid")


def test_texts_have_no_nul(door: Door) -> None:
    assert door("GET", "/api/things/anna?labels=a%00").status == 400
    assert door("POST", "/api/things/anna", {"name": "a\0"}, "anna").status == 400
    assert door("POST", "/api/things/anna", {"name": "a\\u0000"}, "anna").status == 201


def test_other_content_types_are_refused(door: Door) -> None:
    """Also because a form of another site's page can send them without asking (CORS)."""
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        refused = door.send("POST", "/api/things/anna", b'{"name":"x"}', {"Content-Type": kind})
        assert (refused.status, refused.json["code"]) == (415, "media_type")
    kind = "Application/JSON; charset=utf-8"
    made = door.send("POST", "/api/things/anna", b'{"name":"x"}', {"Content-Type": kind})
    assert made.status == 201


def test_bodies_may_be_compressed_and_have_a_limit(door: Door) -> None:
    headers = {"Content-Type": "application/json"}
    packed = gzip.compress(b'{"name":"x"}')
    made = door.send("POST", "/api/things/anna", packed, {**headers, "Content-Encoding": "gzip"})
    assert made.status == 201
    refused = door.send("POST", "/api/things/anna", b" " * 101, headers)
    assert (refused.status, refused.json["code"]) == (413, "too_large")


def test_no_body_is_an_empty_one(door: Door) -> None:
    refused = door.send("POST", "/api/things/anna", None, {})
    assert (refused.status, refused.json["error"]) == (400, "name: Field required")


def test_the_body_is_asked_for_only_when_the_caller_may_send_it(door: Door) -> None:
    head = (
        b"POST /api/things/anna HTTP/1.1\r\nHost: x\r\nContent-Length: 90\r\n"
        b"Content-Type: application/json\r\nExpect: 100-continue\r\n\r\n"
    )
    with door.online.connect() as connection:
        connection.sendall(head)
        answer = read_to_end(connection)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"100 Continue" not in answer
