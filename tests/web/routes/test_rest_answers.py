"""What the REST door answers: values, errors, limits and pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.web.routes.things import BASE, Door, dropped, opened
from wit.runtime import Runtime


@pytest.fixture
def door(run: Any, runtime: Runtime) -> Iterator[Door]:
    with opened(run, runtime) as door:
        yield door


# values


def test_dates_are_iso_text_with_milliseconds(door: Door) -> None:
    made = door("POST", "/api/things/anna", {"name": "x"}, "anna")
    assert made.status == 201
    assert made.headers["Content-Type"] == "application/json"
    assert made.json["at"] == "2024-05-06T07:08:09.123Z"
    assert made.json["by"] == "u1"


def test_204_has_no_body(door: Door) -> None:
    done = door("DELETE", "/api/things/anna?limit=3")
    assert (done.status, done.body) == (204, b"")
    assert dropped[-1].limit == 3


def test_nothing_is_an_empty_body(door: Door) -> None:
    done = door("POST", "/api/v1/things/anna", {"name": "x"}, "anna")
    assert (done.status, done.body, done.headers["Content-Length"]) == (201, b"", "0")


def test_head_is_get_without_the_body(door: Door) -> None:
    got, head = door("GET", "/api/things/anna"), door("HEAD", "/api/things/anna")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["Content-Length"] == str(len(got.body))


def test_other_methods_and_paths(door: Door) -> None:
    refused = door("PUT", "/api/things/anna", {})
    assert (refused.status, refused.json) == (405, {"error": "Method not allowed"})
    assert refused.headers["Allow"] == "DELETE, GET, HEAD, POST"
    refused = door("PUT", "/api/v1/things/anna", {})
    documents = {"documentation_url": f"{BASE}/api/docs"}
    assert refused.json == {"message": "Method not allowed", **documents}
    assert refused.headers["X-API-Version"] == "v1"
    other = door("GET", "/api/other")
    assert (other.status, other.json) == (404, {"error": "Not found"})
    for path in ("/api/v1", "/api/v1/", "/api/v1/other/%2f", "/api/v1/other?x=1"):
        missing = door("GET", path)
        assert (missing.status, missing.json) == (404, {"message": "Not Found", **documents})
        assert missing.headers["X-API-Version"] == "v1"
        assert missing.headers["X-RateLimit-Limit"] == "7"
    assert door("GET", "/api/v10").json == {"error": "Not found"}
    assert door("GET", "/api/v1/other", caller="suspended").status == 403


# errors


def test_errors(door: Door) -> None:
    missing = door("GET", "/api/fail/gone")
    assert missing.status == 404
    assert missing.json["error"] == "thing not found"
    assert door("GET", "/api/fail/taken").status == 409


def test_unexpected_errors_keep_their_words(door: Door) -> None:
    for path in ("/api/fail/x", "/api/v1/fail/x"):
        failed = door("GET", path)
        assert failed.status == 500
        assert b"secret" not in failed.body
        assert failed.headers["X-Request-Id"].encode() in failed.body


def test_who_is_not_signed_in_is_told_how(door: Door) -> None:
    refused = door("POST", "/api/things/anna", {"name": "x"})
    assert (refused.status, refused.json["code"]) == (401, "unauthorized")
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="wit"'


def test_suspended_users_are_told_so(door: Door) -> None:
    refused = door("GET", "/api/things/anna", caller="suspended")
    assert (refused.status, refused.json["error"]) == (403, "this account is suspended")
    refused = door("GET", "/api/v1/things/anna", caller="suspended")
    assert (refused.status, refused.json["message"]) == (403, "this account is suspended")


def test_v1_errors(door: Door) -> None:
    anonymous = door("POST", "/api/v1/things/anna", {"name": "x"})
    assert (anonymous.status, anonymous.json["message"]) == (401, "Requires authentication")
    assert anonymous.json["documentation_url"] == f"{BASE}/api/docs"
    missing = door("GET", "/api/v1/fail/gone")
    assert (missing.status, missing.json["message"]) == (404, "Not Found")


def test_v1_validation_errors(door: Door) -> None:
    refused = door("POST", "/api/v1/things/anna", {"kind": "huge"}, "anna")
    assert refused.status == 422
    assert refused.json["message"] == "Validation Failed"
    assert refused.json["errors"] == [
        {"resource": "things", "field": "name", "code": "missing_field"},
        {"resource": "things", "field": "kind", "code": "invalid"},
    ]
    taken = door("POST", "/api/v1/things/anna", {"name": "taken"}, "anna")
    assert (taken.status, taken.json["message"]) == (422, "there is one")
    assert taken.json["errors"][0]["code"] == "already_exists"


def test_v1_names_the_scope_that_a_token_lacks(door: Door) -> None:
    refused = door("POST", "/api/v1/things/anna", {"name": "x"}, "token")
    assert (refused.status, refused.json["required_scopes"]) == (403, ["user:write"])
    refused = door("POST", "/api/v1/things/anna", {"name": "not yours"}, "anna")
    assert refused.status == 403
    assert "required_scopes" not in refused.json


def test_v1_does_not_know_cookies(door: Door) -> None:
    assert door("POST", "/api/v1/things/anna", {"name": "x"}, "cookie").status == 401
    assert door("POST", "/api/things/anna", {"name": "x"}, "cookie").status == 201


def test_v1_says_its_version(door: Door) -> None:
    for path in ("/api/v1/things/anna", "/api/v1/fail/gone"):
        assert door("GET", path).headers["X-API-Version"] == "v1"
    assert "X-API-Version" not in door("GET", "/api/things/anna").headers


def test_calls_are_counted_after_the_sign_in_and_before_anything_else(door: Door) -> None:
    refused = door("POST", "/api/things/anna", {}, "greedy")
    assert (refused.status, refused.headers["Retry-After"]) == (429, "9")
    assert refused.headers["X-RateLimit-Limit"] == "7"
    refused = door("GET", "/api/v1/things/anna", caller="greedy")
    assert (refused.status, refused.json["message"]) == (429, "too many requests")
    assert door.limits == [("standard", "u1"), ("api", "u1")]


# pages


def test_the_links_of_a_page(door: Door) -> None:
    def links(query: str) -> dict[str, str]:
        header = door("GET", f"/api/v1/things/anna{query}").headers["Link"] or ""
        parts = [part.split("; rel=") for part in header.split(", ") if part]
        return {name.strip('"'): target.strip("<>") for target, name in parts}

    here = f"{BASE}/api/v1/things/anna"
    assert links("") == {"next": f"{here}?page=2&per_page=30"}
    assert links("?page=2&known=true&per_page=25&sort=a%26b") == {
        "next": f"{here}?known=true&sort=a%26b&page=3&per_page=25",
        "last": f"{here}?known=true&sort=a%26b&page=3&per_page=25",
        "prev": f"{here}?known=true&sort=a%26b&page=1&per_page=25",
        "first": f"{here}?known=true&sort=a%26b&page=1&per_page=25",
    }
    assert set(links("?page=3")) == {"prev", "first"}


def test_a_page_is_a_list(door: Door) -> None:
    assert door("GET", "/api/v1/things/anna").json == [1, 2]
