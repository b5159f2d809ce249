"""Made-up calls of everything in the OpenAPI document, against a running daemon.

What comes back must be a status that the document names, and its body what the document says. A
part of the inputs is fitting, with the names of things that are there, so that the calls get
beyond the door; the other part is not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.transport.serialization import serialize_binary
from twisted.internet import reactor

from tests.support.daemon import PASSWORD, Daemon, commit, git
from wit import config_sources
from wit.core import Core
from wit.operations.api import wit_api
from wit.operations.openapi import document
from wit.operations.schemas import REFERENCE
from wit.runtime import Runtime

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]

FITTING = 2
"""Calls of each operation whose input fits; of a REST route one more that does not."""

LAST = (
    "delete", "remove", "transfer", "suspend", "role", "rename", "update", "leave", "logout",
    "destroy", "setenabled",
)  # fmt: skip
"""Parts of the names of calls that take things away; the others come first."""

REPO, ORG, TEAM, BOB = (f"{number}0000000-0000-4000-8000-000000000000" for number in range(1, 5))
SHA = "5" * 40
SANDBOX = "6" * 32
PACKAGE = "70000000-0000-4000-8000-000000000000"
"""These stand for the ids of what is on a daemon."""

KNOWN = {
    "owner": ["alice"],
    "repo": ["thing"],
    "repoId": [REPO],
    "org": ["acme"],
    "orgId": [ORG],
    "teamId": [TEAM],
    "username": ["alice", "bob"],
    "userId": [BOB],
    "sha": [SHA],
    "ref": ["HEAD", "main", SHA],
    "path": ["", "README.md", "dir", "dir/code.py"],
    "branch": ["main"],
    "sandboxId": [SANDBOX],
    "packageId": [PACKAGE],
    "fullName": ["thing"],
}
"""By field name: values that mean something."""


@schemathesis.serializer("application/x-tar")
def as_bytes(context: Any, value: Any) -> bytes:
    return serialize_binary(value)


@attrs.frozen
class Fuzzed:
    daemon: Daemon
    session: requests.Session
    ids: dict[str, str]
    """What stands for an id -> the id."""


@pytest.fixture(scope="module")
def cases() -> list[Any]:
    """The same calls for both engines: to make them up takes longer than to send them."""
    made: list[Any] = []
    schema = schemathesis.openapi.from_dict(with_known(document(wit_api(), "http://localhost")))
    found: list[Any] = list(schema.get_all_operations())
    for operation in (result.ok() for result in found):
        made += _made_up(operation, GenerationMode.POSITIVE, FITTING)
        if "/trpc/" not in operation.path:
            with suppress(Unsatisfiable):  # there is nothing to get wrong
                made += _made_up(operation, GenerationMode.NEGATIVE, 1)
    assert {case.operation.label for case in made} == {result.ok().label for result in found}
    return sorted(made, key=lambda case: any(part in case.operation.label.lower() for part in LAST))


def _made_up(operation: Any, mode: GenerationMode, count: int) -> list[Any]:
    made = []

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def make(case: Any) -> None:
        made.append(case)

    make()
    return made


def with_known(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the known values in the inputs, in place of any text."""
    shapes = document["components"]["schemas"]

    def fill(value: Any, name: str = "") -> Any:
        if isinstance(value, list):
            return [fill(part) for part in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return fill(shapes[value["$ref"].removeprefix(REFERENCE)], name)
        if name in KNOWN and value.get("type") == "string" and "enum" not in value:
            return {"type": "string", "enum": KNOWN[name]}
        return {key: fill(part, key) for key, part in value.items()}

    for item in document["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                for holder in (parameter, *parameter.get("content", {}).values()):
                    if "schema" in holder:
                        holder["schema"] = fill(holder["schema"], parameter["name"])
            if "requestBody" in operation:
                operation["requestBody"] = fill(operation["requestBody"])
    return document


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]
)
def fuzzed(
    request: pytest.FixtureRequest,
    plain_git_environment: None,
    tmp_path_factory: pytest.TempPathFactory,
    run: Any,
) -> Iterator[Fuzzed]:
    folder = tmp_path_factory.mktemp("fuzzed")
    url = ""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").new_database()
    limits = ("STANDARD", "STANDARD_ANONYMOUS", "STRICT", "AUTH", "SEARCH", "API", "UPLOAD")
    daemon = Daemon(
        folder / "data",
        database_url=url,
        environment={f"WIT_LIMITS_{name}": "0" for name in limits},
    )
    daemon.start()
    try:
        run(_people(daemon))
        with requests.Session() as session:
            yield Fuzzed(daemon, session, _furnish(daemon, session, folder))
    finally:
        assert daemon.stop() == 0, daemon.log()


async def _people(daemon: Daemon) -> None:
    config = config_sources.load(daemon.data_dir, {}, daemon.environment, write_default=False)
    core = Core(config, Runtime(reactor))
    await core.open()
    try:
        await core.users.create("alice", "alice@example.org", PASSWORD, role="superadmin")
        await core.users.create("bob", "bob@example.org")
    finally:
        await core.close()


def _furnish(daemon: Daemon, session: requests.Session, folder: Path) -> dict[str, str]:
    """Sign in and make some things; what KNOWN stands for."""

    def given(answer: requests.Response) -> Any:
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]["data"]["json"]

    def mutate(procedure: str, **values: str) -> Any:
        return given(session.post(daemon.url(f"trpc/{procedure}"), json={"json": values}))

    signed_in = mutate("auth.login", usernameOrEmail="alice", password=PASSWORD)
    session.headers["Authorization"] = f"Bearer {signed_in['sessionId']}"
    repo = mutate("repos.create", name="thing")
    org = mutate("organizations.create", name="acme")
    team = mutate("organizations.createTeam", orgId=org["id"], name="keepers")
    package = mutate("packages.create", repoId=repo["id"], name="thing")
    asked = {"input": json.dumps({"json": {"username": "bob"}})}
    bob = given(session.get(daemon.url("trpc/users.get"), params=asked))
    work = folder / "work"
    git("init", "-q", str(work))
    commit(work, "README.md", "# thing\n")
    sha = commit(work, "dir/code.py", "print(1)\n")
    git("push", "-q", daemon.url("alice/thing", "alice", PASSWORD), "HEAD:main", cwd=work)
    made = session.post(daemon.url("api/v1/repos/alice/thing/sandboxes"), json={})
    sandbox = made.json()["id"] if made.ok else "0" * 32  # where this machine can have none
    return {
        REPO: repo["id"], ORG: org["id"], TEAM: team["id"], BOB: bob["id"], SHA: sha,
        SANDBOX: sandbox, PACKAGE: package["id"],
    }  # fmt: skip


def test_no_call_breaks_the_server_or_answers_what_is_not_documented(
    fuzzed: Fuzzed, cases: list[Any]
) -> None:
    broken: dict[str, str] = {}
    statuses: list[int] = []
    for made in cases:
        case = made.operation.Case(
            method=made.method,
            path_parameters=_real(made.path_parameters, fuzzed.ids),
            headers=made.headers,
            cookies=made.cookies,
            query=_real(made.query, fuzzed.ids),
            body=_real(made.body, fuzzed.ids),
            media_type=made.media_type,
        )
        answer = case.call(base_url=fuzzed.daemon.url()[:-1], session=fuzzed.session)
        statuses.append(answer.status_code)
        try:
            case.validate_response(answer, checks=CHECKS)
        except (Failure, FailureGroup) as failure:
            first = getattr(failure, "exceptions", [failure])[0]
            broken[case.operation.label] = (
                f"{answer.status_code} {first.title}: {first.message[:300]}\n"
                f"{case.as_curl_command()[:500]}\n{answer.text[:200]}"
            )
    assert not broken, "\n\n".join(f"{label}: {what}" for label, what in broken.items())
    assert max(statuses) < 500
    well = sum(status < 300 for status in statuses)
    assert well > len(statuses) / 3, "most calls do not get beyond the door"


def _real(value: Any, ids: dict[str, str]) -> Any:
    """With the daemon's ids in their places."""
    if isinstance(value, dict):
        return {key: _real(part, ids) for key, part in value.items()}
    if isinstance(value, list):
        return [_real(part, ids) for part in value]
    if isinstance(value, str):
        for placeholder, real in ids.items():
            value = value.replace(placeholder, real)
    return value
