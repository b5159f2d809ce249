"""The procedures of tests/real/node/trpc_server.mjs, declared here; and some that only wit has."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator
from twisted.internet.defer import Deferred
from typing_extensions import TypedDict

from wit import errors
from wit.operations.access import Public, SignedIn
from wit.operations.call import Call
from wit.operations.inputs import Maybe, Uuid
from wit.operations.registry import Input, Registry, Router
from wit.operations.tracked import Tracked
from wit.trpc.superjson import UNDEFINED, BigInt

AT = datetime(2024, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
SECRET = "the secret of the database"

ERRORS: dict[str, errors.WitError] = {
    "BAD_REQUEST": errors.Invalid("this is BAD_REQUEST"),
    "UNAUTHORIZED": errors.Unauthorized("this is UNAUTHORIZED"),
    "FORBIDDEN": errors.Forbidden("this is FORBIDDEN"),
    "NOT_FOUND": errors.NotFound("this is NOT_FOUND"),
    "TIMEOUT": errors.TimedOut("this is TIMEOUT"),
    "CONFLICT": errors.Conflict("this is CONFLICT"),
    "PRECONDITION_FAILED": errors.PreconditionFailed("this is PRECONDITION_FAILED"),
    "PAYLOAD_TOO_LARGE": errors.TooLarge("this is PAYLOAD_TOO_LARGE"),
    "TOO_MANY_REQUESTS": errors.RateLimited("this is TOO_MANY_REQUESTS", 7),
    "SERVICE_UNAVAILABLE": errors.Unavailable("this is SERVICE_UNAVAILABLE", 9),
}


class Any_(Input):
    value: Any


class Limit(Input):
    limit: int = 3


class Code(Input):
    code: Literal[
        "BAD_REQUEST",
        "UNAUTHORIZED",
        "FORBIDDEN",
        "NOT_FOUND",
        "TIMEOUT",
        "CONFLICT",
        "PRECONDITION_FAILED",
        "PAYLOAD_TOO_LARGE",
        "TOO_MANY_REQUESTS",
        "SERVICE_UNAVAILABLE",
    ]


class A(Input):
    type: Literal["a"]
    a: str


class B(Input):
    type: Literal["b"]
    b: int


class X(Input):
    x: int


class Deep(Input):
    deep: list[X]


class Shop(Input):
    name: Annotated[str, Field(min_length=2, max_length=5)]
    size: Annotated[int, Field(ge=1, le=9)]
    ratio: Annotated[float, Field(gt=0, lt=1)] = 0.5
    step: Annotated[int, Field(multiple_of=5)] = 0
    kind: Literal["small", "large"]
    only: Literal["yes"] = "yes"
    tags: Annotated[list[Annotated[str, Field(max_length=3)]], Field(min_length=1, max_length=2)]
    id: Uuid = "00000000-0000-4000-8000-000000000000"
    code: Annotated[str, Field(pattern="^[a-z]+$")] = "a"
    slug: Annotated[str, Field(min_length=2, max_length=4, pattern="^[a-z]+$")] = "ab"
    three: Annotated[str, Field(min_length=3, max_length=3)] = "abc"
    flag: bool = False
    note: str | None = None
    remark: Maybe[Annotated[str, Field(max_length=3)]] = None
    numbers: Annotated[list[Annotated[int, Field(ge=1)]], Field(max_length=3)] = []
    due: datetime = AT
    inner: Maybe[Deep] = None
    map: dict[str, int] = {}
    either: str | int = ""
    pick: Annotated[A | B, Field(discriminator="type")] = A(type="a", a="")


class Numbers(Input):
    a: int
    b: int


class Name(Input):
    name: str


class To(Input):
    to: int
    lastEventId: str | None = None


class N(Input):
    n: int


class Odd(Input):
    """What zod would say with refine()."""

    word: Annotated[str, AfterValidator(lambda word: _refuse())] = ""

    @field_validator("word")
    @classmethod
    def unused(cls, word: str) -> str:
        return word


def _refuse() -> str:
    raise ValueError("no such word")


class Me(TypedDict):
    user: str


class Tick(TypedDict):
    n: int
    at: datetime


plain = Router("plain")
deep = Router("deep.inner")
watch = Router("watch")


@plain.query("echo", access=Public())
async def echo(call: Call, values: Any_) -> Any:
    return values.value


@plain.query("fixed", access=Public())
async def fixed(call: Call) -> dict[str, Any]:
    return {
        "at": AT,
        "list": [{"at": AT}],
        "a.b\\c": AT,
        "nothing": None,
        "missing": UNDEFINED,
        "text": "ü €",
        "big": BigInt(12345678901234567890),
        "set": {1},
        "wrong": float("nan"),
        "zero": -0.0,
    }


@plain.query("date", access=Public())
async def date(call: Call) -> datetime:
    return AT


@plain.query("nothing", access=Public())
async def nothing(call: Call) -> Any:
    return UNDEFINED


@plain.query("none", access=Public())
async def none(call: Call) -> None:
    return None


@plain.query("optional", access=Public())
async def optional(call: Call, values: Limit) -> int:
    return values.limit


@plain.query("fail", access=Public())
async def fail(call: Call, values: Code) -> None:
    raise ERRORS[values.code]


@plain.query("crash", access=Public())
async def crash(call: Call) -> None:
    raise RuntimeError(SECRET)


@plain.query("unsendable", access=Public())
async def unsendable(call: Call) -> Any:
    return {"what": re.compile(SECRET)}


@plain.query("buy", access=Public())
async def buy(call: Call, values: Shop) -> bool:
    return True


@plain.query("odd", access=Public())
async def odd(call: Call, values: Odd) -> bool:
    return True


@plain.mutation("add", access=Public(), max_body=100_000)
async def add(call: Call, values: Numbers) -> dict[str, Any]:
    return {"sum": values.a + values.b, "at": AT}


@plain.mutation("touch", access=Public())
async def touch(call: Call) -> Any:
    return UNDEFINED


@plain.query("me", access=SignedIn("user:read"))
async def me(call: Call) -> Me:
    return {"user": call.actor.username}


@plain.mutation("rename", access=SignedIn("user:read"))
async def rename(call: Call, values: Name) -> dict[str, str]:
    return {"user": call.actor.username, "name": values.name}


@deep.query("get", access=Public())
async def get(call: Call) -> str:
    return "deep"


@watch.subscription("count", access=Public())
async def count(call: Call, values: To) -> AsyncIterator[Tracked[Tick]]:
    for n in range(int(values.lastEventId or 0) + 1, values.to + 1):
        yield Tracked(str(n), {"n": n, "at": AT})


@watch.subscription("items", access=Public())
async def items(call: Call) -> AsyncIterator[Any]:
    yield {"at": AT}
    yield Tracked("x", 1)
    yield UNDEFINED


@watch.subscription("breaks", access=Public())
async def breaks(call: Call) -> AsyncIterator[int]:
    yield 1
    raise errors.NotFound("it went away")


@watch.subscription("crashes", access=Public())
async def crashes(call: Call) -> AsyncIterator[int]:
    yield 1
    raise RuntimeError(SECRET)


@watch.subscription("mine", access=SignedIn("user:read"))
async def mine(call: Call, values: N) -> AsyncIterator[str]:
    yield call.actor.username


class Gate:
    """Procedures that wait, and a test that lets them go."""

    def __init__(self) -> None:
        self.waiting: list[Deferred[None]] = []
        self.running = 0
        self.most = 0
        self.left = 0
        """How many subscriptions to ``gate.forever`` have ended."""
        router = self.router = Router("gate")

        @router.query("wait", access=Public())
        async def wait(call: Call) -> str:
            self.running += 1
            self.most = max(self.most, self.running)
            done: Deferred[None] = Deferred()
            self.waiting.append(done)
            try:
                await done
            finally:
                self.running -= 1
            return "let go"

        @router.mutation("open", access=Public())
        async def open_(call: Call) -> int:
            waiting, self.waiting = self.waiting, []
            for done in waiting:
                done.callback(None)
            return len(waiting)

        @router.subscription("forever", access=Public())
        async def forever(call: Call) -> AsyncIterator[int]:
            try:
                yield 1
                await Deferred()
            finally:
                self.left += 1


def registry(gate: Gate) -> Registry:
    return Registry([plain, deep, watch, gate.router], {"alias": "plain"})
