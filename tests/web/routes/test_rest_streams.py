"""Streams through the REST door: bytes both ways, and events."""

from __future__ import annotations

import http.client
import json
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Annotated, Any, cast

import attrs
import pytest
from pydantic import Field
from twisted.internet.defer import Deferred

from tests.support.daemon import wait_until
from tests.web.harness import Online, online
from tests.web.routes.things import Callers
from wit.access.actor import Actor
from wit.errors import NotFound
from wit.operations.access import Public, SignedIn
from wit.operations.call import Call
from wit.operations.registry import EVENTS, Input, Raw, Registry, Rest, Router, Style
from wit.operations.tracked import Tracked
from wit.runtime import Runtime
from wit.streams import BytesSource, StreamClosed
from wit.web.routes.rest import RestDoor
from wit.web.routes.rest_streams import MAX_STREAMS

TAR = "application/x-tar"

follow = Router("things")
things = Router("things.bytes", trpc=False)


class Named(Input):
    name: Annotated[str, Field(max_length=20)]


class Breaking:
    """A source that breaks off."""

    def __init__(self) -> None:
        self._data = [b"some"]

    async def read(self) -> bytes:
        if self._data:
            return self._data.pop()
        raise StreamClosed("it is gone")


@things.mutation(
    "put",
    access=SignedIn("user:write"),
    rest=Rest("PUT", "/api/v1/bytes", style=Style.V1, takes=TAR),
    max_body=1000,
)
async def put(call: Call, values: Named) -> dict[str, int]:
    size = 0
    while data := await call.body.read():
        size += len(data)
    return {values.name: size}


@things.query(
    "get", access=Public(), errors=("not_found",), rest=Rest("GET", "/api/bytes", gives=TAR)
)
async def get(call: Call, values: Named) -> Raw:
    match values.name:
        case "missing":
            raise NotFound("there is nothing")
        case "breaks":
            return Breaking()
        case "empty":
            return BytesSource()
    return BytesSource(b"some", b" bytes")


@follow.mutation("do", access=Public(), rest=Rest("POST", "/api/do"))
async def do(call: Call, values: Named) -> str:
    return values.name


@attrs.define
class Followers:
    open: int = 0
    held: list[Deferred[None]] = attrs.field(factory=list)


followers = Followers()


@follow.subscription("follow", access=Public(), rest=Rest("POST", "/api/do", gives=EVENTS))
async def follow_(call: Call, values: Named) -> AsyncIterator[Any]:
    followers.open += 1
    try:
        if values.name == "missing":
            raise NotFound("there is nothing")
        yield {"text": "ü\n"}
        if values.name == "waits":
            followers.held.append(Deferred())
            await followers.held[-1]
        if values.name == "breaks":
            raise NotFound("it is gone")
        yield Tracked("7", [1])
    finally:
        followers.open -= 1


@attrs.frozen
class Door:
    online: Online
    rest: RestDoor

    def send(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.online.port, timeout=10)
        connection.request(method, path, body, headers)
        return connection.getresponse()

    def follow(self, name: str) -> http.client.HTTPResponse:
        body = json.dumps({"name": name}).encode()
        kind = {"Content-Type": "application/json"}
        return self.send("POST", "/api/do", body, Accept=EVENTS, **kind)


@pytest.fixture
def door(run: Any, runtime: Runtime) -> Iterator[Door]:
    core: Any = SimpleNamespace(config=SimpleNamespace(public_url="http://h"), runtime=runtime)

    async def limit(request: Any, core: Any, preset: str, actor: Actor) -> None:
        return None

    rest = RestDoor(Registry([follow, things]), core, cast(Any, Callers()), limit)
    with online(run, runtime, [rest.route]) as site:
        yield Door(site, rest)


def test_bodies_that_are_streams(door: Door) -> None:
    anna = {"X-Caller": "anna"}
    assert door.send("PUT", "/api/v1/bytes?name=x", b"x" * 1000, **anna).read() == b'{"x":1000}'
    assert door.send("PUT", "/api/v1/bytes?name=x", b"x" * 1001, **anna).status == 413
    chunked = {**anna, "Transfer-Encoding": "chunked"}
    body = b"5dc\r\n" + b"x" * 1500 + b"\r\n0\r\n\r\n"
    assert door.send("PUT", "/api/v1/bytes?name=x", body, **chunked).status == 413
    assert door.send("PUT", "/api/v1/bytes", b"", **anna).status == 422
    assert door.send("PUT", "/api/v1/bytes?name=x", b"").status == 401


def test_answers_that_are_streams(door: Door) -> None:
    answer = door.send("GET", "/api/bytes?name=x")
    assert (answer.status, answer.headers["Content-Type"], answer.read()) == (
        200, TAR, b"some bytes",
    )  # fmt: skip
    assert door.send("GET", "/api/bytes?name=empty").read() == b""
    head = door.send("HEAD", "/api/bytes?name=x")
    assert (head.status, head.read()) == (200, b"")
    missing = door.send("GET", "/api/bytes?name=missing")
    assert (missing.status, json.loads(missing.read())["code"]) == (404, "not_found")
    with pytest.raises(http.client.IncompleteRead):
        door.send("GET", "/api/bytes?name=breaks").read()


def test_accept_says_whether_events_are_meant(door: Door) -> None:
    body, kind = b'{"name":"x"}', {"Content-Type": "application/json"}
    assert door.send("POST", "/api/do", body, **kind).read() == b'"x"'
    assert door.send("POST", "/api/do", body, Accept="text/html, */*", **kind).read() == b'"x"'
    answer = door.follow("x")
    assert (answer.status, answer.headers["Content-Type"]) == (200, EVENTS)
    first, second = answer.read().decode().split("\n\n\n")[:2]
    assert (first, second) == ('data: {"text":"ü\\n"}', "data: [1]\nid: 7")


def test_errors_before_and_after_the_first_event(door: Door) -> None:
    missing = door.follow("missing")
    assert (missing.status, missing.headers["Content-Type"]) == (404, "application/json")
    event = door.follow("breaks").read().decode().split("\n\n\n")[1]
    assert event.startswith("event: error\ndata: {") and "it is gone" in event
    assert door.follow("x" * 21).status == 400


def test_who_leaves_ends_it(door: Door) -> None:
    answer = door.follow("waits")
    assert answer.readline() == 'data: {"text":"ü\\n"}\n'.encode()
    assert followers.open == 1
    answer.close()
    wait_until(lambda: followers.open == 0, what="the end of the subscription")


def test_there_are_only_so_many_and_the_server_may_stop(door: Door, run: Any) -> None:
    open_ = [door.follow("waits") for _ in range(MAX_STREAMS)]
    assert [answer.status for answer in open_] == [200] * MAX_STREAMS
    assert door.follow("waits").status == 429

    async def stop() -> None:
        door.rest.finish_up()

    run(stop())
    for answer in open_:
        with pytest.raises(http.client.IncompleteRead):
            answer.read()
    assert followers.open == 0
