"""The declared types, as the TypeScript compiler sees them through @trpc/client.

Each wrong call has a ``@ts-expect-error``, so that the compiler also fails when it is right.
"""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import pytest
from pydantic import Field
from typing_extensions import TypedDict

from tests.support.daemon import BIN
from wit.operations.access import Public
from wit.operations.api import ALIASES, wit_api
from wit.operations.call import Call
from wit.operations.registry import Input, Kind, Registry, Router
from wit.operations.tracked import Tracked
from wit.operations.typescript import declaration

NODE = Path(__file__).parents[1] / "real" / "node"

OPTIONS = (
    "--strict",
    "--noEmit",
    "--exactOptionalPropertyTypes",
    "--skipLibCheck",
    "--target",
    "es2022",
    "--module",
    "nodenext",
)

HEAD = """\
import { createTRPCClient, httpBatchLink, httpSubscriptionLink, splitLink } from '@trpc/client';
import type { inferRouterInputs, inferRouterOutputs } from '@trpc/server';
import superjson from 'superjson';
import type { AppRouter } from './wit.js';

const link = { url: 'http://localhost/trpc', transformer: superjson };
export const wit = createTRPCClient<AppRouter>({
  links: [
    splitLink({
      condition: (op) => op.type === 'subscription',
      true: httpSubscriptionLink(link),
      false: httpBatchLink(link),
    }),
  ],
});

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
export function expectType<Expected>() {
  return <Actual>(_: Actual, same: Same<Actual, Expected>): boolean => same;
}
export type Inputs = inferRouterInputs<AppRouter>;
export type Outputs = inferRouterOutputs<AppRouter>;
"""

router, assets, own = Router("things"), Router("things.assets"), Router("stuff")


class Owner(TypedDict):
    name: str
    kind: Literal["user", "organization"]


class Thing(TypedDict):
    id: str
    size: float
    madeAt: datetime
    goneAt: datetime | None
    owner: Owner
    tags: list[str]
    counts: dict[str, int]
    note: NotRequired[str]
    extra: Any


class Absent(TypedDict):
    found: Literal[False]


class Present(TypedDict):
    found: Literal[True]
    thing: Thing


class Make(Input):
    name: Annotated[str, Field(max_length=10)]
    kind: Literal["big", "small"] = "small"
    since: datetime | None = None
    tags: list[str] = []


class Some(Input):
    limit: int = 5


@router.query("list", access=Public())
async def list_(call: Call, values: Some) -> list[Thing]:
    """Everything */ there is."""
    return []


@router.query("find", access=Public())
async def find(call: Call, values: Make) -> Present | Absent:
    return {"found": False}


@router.mutation("clear", access=Public())
async def clear(call: Call) -> None:
    return None


@router.subscription("follow", access=Public())
async def follow(call: Call, values: Some) -> AsyncIterator[Owner]:
    yield {"name": "anna", "kind": "user"}


@router.subscription("tail", access=Public())
async def tail(call: Call) -> AsyncIterator[Tracked[Owner]]:
    yield Tracked("1", {"name": "anna", "kind": "user"})


@assets.query("pair", access=Public())
async def pair(call: Call) -> tuple[int, str]:
    return 1, ""


@own.query("list", access=Public())
async def own_list(call: Call) -> str:
    return ""


def compiled(folder: Path, registry: Registry, client: str) -> str:
    """What the compiler complains about."""
    assert (NODE / "node_modules").exists(), "run `scripts/setup dev .venv`: it runs npm ci"
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "wit.d.ts").write_text(declaration(registry))
    (folder / "client.ts").write_text(HEAD + client)
    tsc = NODE / "node_modules" / "typescript" / "bin" / "tsc"
    done = subprocess.run(
        ["node", str(tsc), *OPTIONS, "client.ts"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode == 0) == (not done.stdout), done.stderr
    return done.stdout


def test_a_client_of_every_kind_of_type(tmp_path: Path) -> None:
    registry = Registry([router, assets, own], {"stuff": "things", "item": "things", "no": "such"})
    assert not compiled(
        tmp_path,
        registry,
        """
const things = await wit.things.list.query();
await wit.things.list.query({ limit: 1 });
const thing = things[0]!;
expectType<Date>()(thing.madeAt, true);
expectType<Date | null>()(thing.goneAt, true);
expectType<'user' | 'organization'>()(thing.owner.kind, true);
expectType<string | undefined>()(thing.note, true);
expectType<Record<string, number>>()(thing.counts, true);
expectType<unknown>()(thing.extra, true);
expectType<any>()(thing.extra, false);

await wit.things.find.query({ name: 'x', since: new Date(), tags: ['a'] });
// @ts-expect-error: a text is no Date
await wit.things.find.query({ name: 'x', since: '2024-01-01T00:00:00Z', kind: 'big' });
await wit.things.find.query({ name: 'x', since: null });
const found = await wit.things.find.query({ name: 'x' });
if (found.found) expectType<string>()(found.thing.id, true);
// @ts-expect-error: only where it was found
found.thing;
// @ts-expect-error: an input is needed
await wit.things.find.query();
// @ts-expect-error: the name is needed
await wit.things.find.query({});
// @ts-expect-error: no such field
await wit.things.find.query({ name: 'x', nmae: 'x' });
// @ts-expect-error: not of this type
await wit.things.find.query({ name: 1 });
// @ts-expect-error: not one of these
await wit.things.find.query({ name: 'x', kind: 'huge' });
// @ts-expect-error: a query is no mutation
await wit.things.find.mutate({ name: 'x' });
// @ts-expect-error: no such procedure
await wit.things.delete.mutate();
// @ts-expect-error: no such router
wit.nothing;

expectType<null>()(await wit.things.clear.mutate(), true);
// @ts-expect-error: takes no input
await wit.things.clear.mutate({ name: 'x' });

expectType<[number, string]>()(await wit.things.assets.pair.query(), true);
wit.things.follow.subscribe({ limit: 1 }, { onData: (owner) => owner.name.length });

wit.things.tail.subscribe(undefined, {
  onData: (item) => {
    expectType<string>()(item.id, true);
    expectType<'user' | 'organization'>()(item.data.kind, true);
  },
});

// aliases, and what is declared under an alias's own name
expectType<typeof things>()(await wit.item.list.query(), true);
expectType<string>()(await wit.stuff.list.query(), true);
expectType<typeof found>()(await wit.stuff.find.query({ name: 'x' }), true);
// @ts-expect-error: an alias of nothing
wit.no;

expectType<'big' | 'small' | undefined>()(null! as Inputs['things']['find']['kind'], true);
expectType<Date>()(null! as Outputs['things']['list'][number]['madeAt'], true);
""",
    )


CALLED = {Kind.QUERY: "query", Kind.MUTATION: "mutate", Kind.SUBSCRIPTION: "subscribe"}


def test_a_client_of_the_api(tmp_path: Path) -> None:
    api = wit_api()
    calls = "".join(
        f"wit.{operation.name}.{CALLED[operation.kind]};\n" for operation in api if operation.trpc
    )
    aliases = "".join(
        f"expectType<typeof wit.{router}>()(wit.{alias}, true);\n"
        for alias, router in ALIASES.items()
        if any(operation.name.startswith(f"{router}.") for operation in api)
        and not any(operation.name.startswith(f"{alias}.") for operation in api)
    )
    assert "wit.tokens.create.mutate" in calls
    assert not compiled(
        tmp_path,
        api,
        calls
        + aliases
        + """
const created = await wit.tokens.create.mutate({ name: 'laptop', scopes: ['repo:read'] });
expectType<Date | null>()(created.expiresAt, true);
expectType<string>()(created.token, true);
// @ts-expect-error: no such scope
await wit.tokens.create.mutate({ name: 'laptop', scopes: ['repo:everything'] });
const verified = await wit.tokens.verify.query({ token: created.token });
if (verified.valid) expectType<string>()(verified.userId, true);
""",
    )


def test_wrong_assertions_are_found(tmp_path: Path) -> None:
    """That the two tests above can fail."""
    complaints = compiled(
        tmp_path,
        Registry([router]),
        "expectType<string>()(await wit.things.list.query(), true);\nwit.things.none;\n",
    )
    assert complaints.count("error TS") == 2, complaints


def test_the_command_prints_it() -> None:
    done = subprocess.run(
        [str(BIN / "wit"), "trpc-types"], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == declaration(wit_api())


@pytest.mark.parametrize("name", ["Date", "Query"])
def test_shapes_cannot_take_the_names_of_types_in_use(name: str, tmp_path: Path) -> None:
    shape = TypedDict(name, {"at": datetime})  # type: ignore[misc, operator] # noqa: UP013
    taken = Router("taken")

    async def procedure(call: Call) -> Any: ...

    procedure.__annotations__["return"] = shape
    taken.query("get", access=Public())(procedure)
    text = declaration(Registry([taken]))
    assert f"export type {name}Shape = {{\n  at: Date;\n}};" in text
    assert f"get: Query<void, {name}Shape>" in text
