"""The REST door over a few made-up operations: inputs, answers, errors, pages, headers."""

from __future__ import annotations

import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message
from types import SimpleNamespace
from typing import Annotated, Any, Literal, NotRequired, cast

import attrs
import pytest
from pydantic import AwareDatetime, Field
from typing_extensions import TypedDict

from tests.web.harness import Online, online, read_to_end
from wit.access.actor import ANONYMOUS, Actor, Origin
from wit.errors import Conflict, Forbidden, NotFound, RateLimited
from wit.operations.access import Public, SignedIn
from wit.operations.call import Call, Client
from wit.operations.inputs import Maybe
from wit.operations.registry import Input, Page, Registry, Rest, Router, Style
from wit.runtime import Runtime
from wit.web.routes.rest import RestDoor
from wit.web.streaming import Request

BASE = "https://wit.example.org"

router = Router("things")
v1 = Router("v1.things", trpc=False)
cast(Any, router).seen = []


class Find(Input):
    owner: str
    limit: Annotated[int, Field(ge=1, le=100)] = 30
    open: bool = True
    labels: list[str] = []


class Make(Input):
    owner: str
    name: Annotated[str, Field(min_length=1, max_length=20)]
    kind: Literal["big", "small"] = "small"
    count: int | None = None
    due: Maybe[AwareDatetime] = None
    flag: bool = False


class Numbered(Input):
    number: int
    count: int


class Pages(Input):
    owner: str
    page: Annotated[int, Field(ge=1)] = 1
    per_page: Annotated[int, Field(ge=1, le=100)] = 30
    sort: str = ""
    known: bool = False


class Named(Input):
    owner: str


class Made(TypedDict):
    owner: str
    name: str
    kind: str
    count: int | None
    by: str | None
    at: datetime
    due: NotRequired[datetime | None]


@router.query("find", access=Public(), rest=Rest("GET", "/api/things/{owner}"))
async def find(call: Call, values: Find) -> dict[str, Any]:
    return values.model_dump()


@router.mutation(
    "make",
    access=SignedIn("user:write"),
    rest=Rest("POST", "/api/things/{owner}", 201),
    max_body=100,
)
async def make(call: Call, values: Make) -> Made:
    return {
        "owner": values.owner,
        "name": values.name,
        "kind": values.kind,
        "count": values.count,
        "due": values.due,
        "by": call.actor.user_id,
        "at": datetime(2024, 5, 6, 7, 8, 9, 123456, UTC),
    }


@router.mutation("drop", access=Public(), rest=Rest("DELETE", "/api/things/{owner}", 204))
async def drop(call: Call, values: Find) -> bool:
    cast(Any, router).seen.append(values)
    return True


@router.mutation("number", access=Public(), rest=Rest("PATCH", "/api/numbered/{number}"))
async def number(call: Call, values: Numbered) -> dict[str, int]:
    return values.model_dump()


@router.query("fail", access=Public(), rest=Rest("GET", "/api/fail/{owner}"))
async def fail(call: Call, values: Named) -> None:
    if values.owner == "gone":
        raise NotFound("thing not found")
    if values.owner == "taken":
        raise Conflict("there is one")
    raise RuntimeError("a secret detail")


@v1.query("list", access=Public(), rest=Rest("GET", "/api/v1/things/{owner}", style=Style.V1))
async def list_(call: Call, values: Pages) -> Page[int]:
    return Page([1, 2], more=values.page < 3, total=75 if values.known else None)


@v1.mutation(
    "make",
    access=SignedIn("user:write"),
    errors=("conflict",),
    rest=Rest("POST", "/api/v1/things/{owner}", 201, Style.V1),
)
async def v1_make(call: Call, values: Make) -> None:
    if values.name == "taken":
        raise Conflict("there is one")
    if values.name == "not yours":
        raise Forbidden("that is not yours")


@v1.query("fail", access=Public(), rest=Rest("GET", "/api/v1/fail/{owner}", style=Style.V1))
async def v1_fail(call: Call, values: Named) -> None:
    if values.owner == "gone":
        raise NotFound("thing not found")
    raise RuntimeError("a secret detail")


class Callers:
    """The caller is what the X-Caller header says."""

    async def of(self, request: Request) -> Any:
        name = request.header(b"X-Caller") or ""
        if name == "suspended":
            raise Forbidden("this account is suspended")
        actor = ANONYMOUS
        if name:
            scopes = frozenset(("user:read",)) if name == "token" else None
            actor = Actor("u1", "anna", Origin.SESSION, scopes=scopes)
        return SimpleNamespace(
            actor=actor, client=Client(request.address), by_cookie=name == "cookie"
        )


@attrs.define
class Answer:
    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@attrs.frozen
class Door:
    online: Online
    limits: list[tuple[str, str | None]]

    def __call__(
        self, method: str, path: str, body: Any = None, caller: str = "", **headers: str
    ) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        return self.send(method, path, data, {"Content-Type": "application/json"}, caller)

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        caller: str = "anna",
    ) -> Answer:
        if caller:
            headers = {**headers, "X-Caller": caller}
        request = urllib.request.Request(
            self.online.url + path, data=body, method=method, headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except urllib.error.HTTPError as refused:
            return Answer(refused.code, refused.headers, refused.read())


@pytest.fixture
def door(run: Any, runtime: Runtime) -> Iterator[Door]:
    limits: list[tuple[str, str | None]] = []

    async def limit(request: Request, core: Any, preset: str, actor: Actor) -> None:
        limits.append((preset, actor.user_id))
        request.setHeader(b"X-RateLimit-Limit", b"7")
        if request.header(b"X-Caller") == "greedy":
            raise RateLimited("too many requests", 9)

    core: Any = SimpleNamespace(config=SimpleNamespace(public_url=BASE), runtime=runtime)
    rest = RestDoor(Registry([router, v1]), core, cast(Any, Callers()), limit)
    with online(run, runtime, [rest.route]) as site:
        yield Door(site, limits)


# inputs


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


# answers


def test_dates_are_iso_text_with_milliseconds(door: Door) -> None:
    made = door("POST", "/api/things/anna", {"name": "x"}, "anna")
    assert made.status == 201
    assert made.headers["Content-Type"] == "application/json"
    assert made.json["at"] == "2024-05-06T07:08:09.123Z"
    assert made.json["by"] == "u1"


def test_204_has_no_body(door: Door) -> None:
    done = door("DELETE", "/api/things/anna?limit=3")
    assert (done.status, done.body) == (204, b"")
    assert cast(Any, router).seen[-1].limit == 3


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
