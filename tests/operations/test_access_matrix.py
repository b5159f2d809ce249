"""Every procedure × every kind of caller × every thing it can be asked about.

What must come out is computed from the declaration alone, by the rules written down here a second
time; what does come out is what all doors ask, ``wit.operations.api.admit``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor

from tests.operations.samples import sample
from tests.operations.world import (
    CLOSED,
    HIDDEN,
    MAINTAINERS,
    MISSING,
    NO_PACKAGE,
    NOTHING,
    OF_CLOSED,
    OF_OPEN,
    OF_VAULT,
    OPEN,
    PACKAGES,
    VAULT,
    Caller,
    World,
    make_world,
)
from tests.support.postgres import PostgresServer
from wit.access.actor import Level
from wit.errors import WitError
from wit.operations.access import Administrator, Org, Package, Public, Repo, SignedIn
from wit.operations.api import admit, wit_api
from wit.operations.call import Call
from wit.operations.registry import Operation
from wit.operations.schemas import REFERENCE, make_schemas
from wit.packages.rights import Act
from wit.runtime import Runtime

REGISTRY = wit_api()
SCHEMAS = make_schemas(REGISTRY)

OK = "ok"
SELF = "the caller"


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
)
def world(
    request: pytest.FixtureRequest, run: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("matrix")
    url = f"sqlite:///{folder / 'wit.db'}"
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.new_database()
    world = run(make_world(Runtime(reactor), folder, url))
    yield world
    run(world.core.close())
    if request.param == "postgresql":
        server.drop_database(url)


@pytest.mark.parametrize("operation", REGISTRY, ids=lambda operation: operation.name)
def test_access(operation: Operation, world: World, run: Callable[..., Any]) -> None:
    wrong = run(_try_all(operation, world))
    assert not wrong, f"{operation.name}, for {operation.access.describe()}:\n" + "\n".join(wrong)


def test_what_is_invisible_is_answered_as_what_is_missing(world: World, run: Any) -> None:
    """To the letter."""

    async def answers(caller: Caller, operation: Operation) -> list[tuple[str, str]]:
        return [
            await _outcome(operation, world, caller, _values(operation, world, target, caller))
            for target in (CLOSED, VAULT, MISSING)
        ]

    strangers = [caller for caller in world.callers if caller.name in ("anonymous", "stranger")]
    tried = 0
    for operation in REGISTRY:
        if isinstance(operation.access, Repo):
            for caller in strangers:
                assert len(set(run(answers(caller, operation)))) == 1, operation.name
                tried += 1
    assert tried == 2 * sum(isinstance(operation.access, Repo) for operation in REGISTRY)


def test_packages_that_are_invisible_are_answered_as_missing_ones(world: World, run: Any) -> None:
    """To the letter, but for the name that was asked for."""

    async def answer(caller: Caller, operation: Operation, target: str) -> tuple[str, str]:
        values = _values(operation, world, target, caller)
        code, message = await _outcome(operation, world, caller, values)
        return code, message.replace(target, "NAME")

    about_packages = [operation for operation in REGISTRY if isinstance(operation.access, Package)]
    assert about_packages
    for operation in about_packages:
        for caller in world.callers:
            if caller.name in ("anonymous", "stranger", "siteadmin"):
                targets = (HIDDEN, OF_CLOSED, OF_VAULT, NO_PACKAGE)
                found = {run(answer(caller, operation, target)) for target in targets}
                assert len(found) == 1, f"{operation.name}, {caller.name}"


async def _try_all(operation: Operation, world: World) -> list[str]:
    wrong = []
    for caller in world.callers:
        for target in _targets(operation):
            values = _values(operation, world, target, caller)
            expected = _expected(operation, caller, target)
            found, message = await _outcome(operation, world, caller, values)
            if found != expected:
                wrong.append(f"  {caller.name}, {target}: {found} ({message}), not {expected}")
    return wrong


async def _outcome(
    operation: Operation, world: World, caller: Caller, values: dict[str, Any] | None
) -> tuple[str, str]:
    try:
        actor = await caller.actor(operation.access.scope)
        await admit(operation, Call(world.core, actor), values)
    except WitError as error:
        return error.code, error.message
    return OK, ""


def _targets(operation: Operation) -> tuple[str, ...]:
    """What the operation is asked about."""
    match operation.access:
        case Repo():
            return OPEN, CLOSED, VAULT, MISSING
        case Package():
            return OF_OPEN, HIDDEN, OF_CLOSED, OF_VAULT, NO_PACKAGE
        case Org(or_self=str()):
            return "acme", SELF
        case Org():
            return ("acme",)
    return ("",)


def _expected(operation: Operation, caller: Caller, target: str) -> str:
    if caller.person == "suspended":
        return "forbidden"
    match operation.access:
        case Public():
            return OK
        case SignedIn():
            return _anonymous(caller) or ("forbidden" if caller.by_token else OK)
        case Administrator(superior=superior):
            able = ("superadmin",) if superior else ("superadmin", "siteadmin")
            return _anonymous(caller) or (OK if caller.name in able else "forbidden")
        case Org(role=needed):
            if anonymous := _anonymous(caller):
                return anonymous
            if caller.by_token:
                return "forbidden"
            enough = caller.role is not None and caller.role >= needed
            return OK if enough or target == SELF else "forbidden"
        case Repo() as access:
            return _repository(access, caller, target)
        case Package(act=act):
            return _package(act, caller, target)
    raise AssertionError(f"{operation.name}: no rule for {operation.access!r}")


def _anonymous(caller: Caller) -> str | None:
    return "unauthorized" if caller.person is None else None


def _repository(access: Repo, caller: Caller, target: str) -> str:
    needed = access.level
    if caller.person is None:
        public_read = target == OPEN and needed is Level.READ and not access.signed_in
        return OK if public_read else "unauthorized"
    if caller.by_token and access.signed_in:
        return "forbidden"
    if target == MISSING:
        return "not_found"
    if caller.by_token and access.scope == "repo:read" and target != OPEN:
        return "not_found"
    if caller.by_token and needed is Level.READ:
        return OK
    granted = caller.levels[target]
    if granted < Level.READ:
        return "not_found"
    return "forbidden" if granted < needed or caller.by_token else OK


def _package(act: Act, caller: Caller, target: str) -> str:
    if act > Act.SEE and caller.person is None:
        return "unauthorized"
    if act > Act.SEE and caller.by_token:
        return "forbidden"
    if target == NO_PACKAGE:
        return "not_found"
    repo, visibility = PACKAGES[target]
    if caller.by_token:
        return OK if target == OF_OPEN else "not_found"
    level = (NOTHING if caller.person is None else caller.levels)[repo]
    maintains = caller.person in MAINTAINERS and repo != VAULT
    least = Level.WRITE if repo == OPEN and visibility == "private" else Level.READ
    if level < least and not maintains:
        return "not_found"
    able = {
        Act.SEE: True,
        Act.PUBLISH: maintains or level >= Level.WRITE,
        Act.MANAGE: maintains or level >= Level.OWNER,
        Act.OWN: level >= Level.OWNER,
    }
    return OK if able[act] else "forbidden"


def _values(
    operation: Operation, world: World, target: str, caller: Caller
) -> dict[str, Any] | None:
    """A whole input; what decides about access is taken from the world."""
    if operation.input is None:
        return None
    fields = SCHEMAS.fields(operation)
    values = {name: sample(resolved(fields[name])) for name in sorted(SCHEMAS.required(operation))}
    access = operation.access
    if isinstance(access, Repo):
        first, _, second = access.by.partition("/")
        if second:
            values[first], values[second] = target.split("/")
        else:
            values[first] = world.repo_ids[target]
    elif isinstance(access, Package):
        if access.by == "scope/name":
            values["scope"], values["name"] = None, target
        else:
            values[access.by] = target if access.by == "fullName" else world.package_ids[target]
    elif isinstance(access, Org):
        found = {"orgId": world.org_id, "teamId": world.team_id}
        values[access.by] = found.get(access.by, "acme")
        if access.or_self is not None:
            someone = caller.person if target == SELF and caller.person else "stranger"
            if target != SELF and someone == caller.person:
                someone = "reader"
            values[access.or_self] = world.user_ids[someone]
    operation.input.model_validate(values)
    return values


def resolved(schema: Any) -> Any:
    """``schema`` with the named shapes in their places."""
    if isinstance(schema, dict):
        if "$ref" in schema:
            return resolved(SCHEMAS.shapes[schema["$ref"].removeprefix(REFERENCE)])
        return {key: resolved(part) for key, part in schema.items()}
    return [resolved(part) for part in schema] if isinstance(schema, list) else schema
