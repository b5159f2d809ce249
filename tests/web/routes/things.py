"""A few made-up operations behind the REST door, and a client of it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.message import Message
from types import SimpleNamespace
from typing import Annotated, Any, Literal, NotRequired, cast

import attrs
from pydantic import AwareDatetime, Field
from typing_extensions import TypedDict

from tests.web.harness import Online, online
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


dropped: list[Find] = []
"""What was asked of ``drop``, which answers nothing."""


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
    dropped.append(values)
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


@contextmanager
def opened(run: Any, runtime: Runtime) -> Iterator[Door]:
    """The door on a port of its own."""
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
