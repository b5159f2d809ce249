"""Every procedure, every REST route and every other door, asked by those who must not be let in.

What must come out follows from the declaration alone. ``tests/operations/test_access_matrix.py``
tries all combinations of people and rights inside; this asks from outside, with real credentials.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import attrs
import pytest

from tests.attacks.crowd import Crowd
from tests.operations.samples import sample
from tests.operations.test_access_matrix import REGISTRY, SCHEMAS, resolved
from tests.operations.world import CLOSED, MISSING, NO_PACKAGE, OF_CLOSED, OF_OPEN, OPEN, VAULT
from tests.support.daemon import git
from tests.support.wire import ask, basic, ssh
from wit.access.actor import Level
from wit.operations.access import Administrator, Org, Package, Public, Repo, SignedIn
from wit.operations.registry import Kind, Operation, Rest
from wit.packages.rights import Act

pytestmark = pytest.mark.attack(53)

CALLERS = ("nobody", "token", "oauth", "suspended")
"""Without credentials; with a personal and with an app's token that have every scope but the one
that is needed; with a good token of somebody who is suspended."""

PASSED = "passed"
"""Let in: whatever the procedure makes of it, it is not about who asks."""

MAX_BATCH = 20
"""Calls whose inputs fit into one address."""

CODES = {401: "UNAUTHORIZED", 403: "FORBIDDEN", 404: "NOT_FOUND"}


@attrs.frozen
class Case:
    operation: Operation
    caller: str
    target: str
    """A repository or package, or empty."""

    @property
    def expected(self) -> str:
        access = self.operation.access
        if self.caller == "suspended":
            return "FORBIDDEN"
        if isinstance(access, Public):
            return PASSED
        if isinstance(access, Repo):
            return self._of_a_repository(access)
        if isinstance(access, Package) and access.act is Act.SEE:
            return PASSED if self.target == OF_OPEN else "NOT_FOUND"
        assert isinstance(access, SignedIn | Administrator | Org | Package), (
            f"no rule for {access!r}"
        )
        return "UNAUTHORIZED" if self.caller == "nobody" else "FORBIDDEN"

    def _of_a_repository(self, access: Repo) -> str:
        readable = self.target == OPEN
        if self.caller == "nobody":
            public = readable and access.level is Level.READ and not access.signed_in
            return PASSED if public else "UNAUTHORIZED"
        if access.signed_in:
            return "FORBIDDEN"
        if self.target == MISSING or (access.scope == "repo:read" and not readable):
            return "NOT_FOUND"
        return PASSED if readable and access.level is Level.READ else "FORBIDDEN"

    def token(self, crowd: Crowd) -> str | None:
        match self.caller:
            case "nobody":
                return None
            case "suspended":
                return crowd.suspended.token
        scope = self.operation.access.scope or "repo:read"
        if self.caller == "oauth":
            return crowd.lacking["oauth", scope]
        powerful = isinstance(self.operation.access, Administrator)
        return crowd.lacking["superadmin" if powerful else "alice", scope]

    def values(self, crowd: Crowd) -> dict[str, Any]:
        """The input. Of a procedure that anybody may call one that it does not take, if there is
        such: that it says so shows that the caller was let in, and nothing is changed."""
        operation, access = self.operation, self.operation.access
        required = SCHEMAS.required(operation)
        if isinstance(access, Public) and required:
            return {}
        fields = SCHEMAS.fields(operation)
        values = {name: sample(resolved(fields[name])) for name in sorted(required)}
        if isinstance(access, Repo):
            first, _, second = access.by.partition("/")
            if second:
                values[first], values[second] = self.target.split("/")
            else:
                values[first] = crowd.world.repo_ids[self.target]
        elif isinstance(access, Package):
            if access.by == "scope/name":
                values["scope"], values["name"] = None, self.target
            elif access.by == "fullName":
                values[access.by] = self.target
            else:
                values[access.by] = crowd.world.package_ids[self.target]
        elif isinstance(access, Org):
            ids = {"orgId": crowd.world.org_id, "teamId": crowd.world.team_id}
            values[access.by] = ids.get(access.by, "acme")
            if access.or_self is not None:
                values[access.or_self] = crowd.world.user_ids["reader"]
        return values


def cases(caller: str, operations: Sequence[Operation]) -> Iterator[Case]:
    for operation in operations:
        targets: tuple[str, ...] = ("",)
        if isinstance(operation.access, Repo):
            targets = OPEN, CLOSED, MISSING
        elif isinstance(operation.access, Package):
            targets = OF_OPEN, OF_CLOSED, NO_PACKAGE
        for target in targets:
            case = Case(operation, caller, target)
            if case.expected == PASSED and not isinstance(operation.access, Public):
                assert operation.kind is not Kind.MUTATION, "this would change what is asked next"
            yield case


def wrong(case: Case, found: str) -> str | None:
    expected = case.expected
    if found == expected or (expected == PASSED and found not in ("FORBIDDEN", "UNAUTHORIZED")):
        if not found.startswith("INTERNAL"):
            return None
    return f"{case.operation.name} by {case.caller}, {case.target}: {found}, not {expected}"


# tRPC

PROCEDURES = [operation for operation in REGISTRY if operation.trpc]


@pytest.mark.parametrize("caller", CALLERS)
def test_every_procedure(crowd: Crowd, caller: str) -> None:
    faults, tried = [], set()
    for case, found in _answered(crowd, list(cases(caller, PROCEDURES))):
        tried.add(case.operation.name)
        faults.append(wrong(case, found))
    assert not any(faults), "\n".join(filter(None, faults))
    assert tried == {operation.name for operation in PROCEDURES}


def _answered(crowd: Crowd, all_cases: list[Case]) -> Iterator[tuple[Case, str]]:
    """In batches of those with one token and of one kind."""
    groups: dict[tuple[Kind, str | None], list[Case]] = {}
    for case in all_cases:
        groups.setdefault((case.operation.kind, case.token(crowd)), []).append(case)
    for (kind, token), group in groups.items():
        if kind is Kind.SUBSCRIPTION:
            for case in group:
                yield case, _subscribed(crowd, case, token)
            continue
        for start in range(0, len(group), MAX_BATCH):
            part = group[start : start + MAX_BATCH]
            paths = ",".join(case.operation.name for case in part)
            inputs = {str(n): {"json": case.values(crowd)} for n, case in enumerate(part)}
            if kind is Kind.QUERY:
                query = urlencode({"batch": 1, "input": json.dumps(inputs)})
                answer = crowd.ask("GET", f"/trpc/{paths}?{query}", token)
            else:
                answer = crowd.ask("POST", f"/trpc/{paths}?batch=1", token, inputs)
            for case, told in zip(part, answer.json, strict=True):
                yield case, _code(told)


def _subscribed(crowd: Crowd, case: Case, token: str | None) -> str:
    """A subscription says what is wrong in its first event; only those that are refused are asked."""
    assert case.expected != PASSED, "a subscription that anybody may open would not end"
    query = urlencode({"input": json.dumps({"json": case.values(crowd)})})
    answer = crowd.ask(
        "GET", f"/trpc/{case.operation.name}?{query}", token, Accept="text/event-stream"
    )
    assert answer.status == 200
    found = re.search(rb"event: serialized-error\ndata: (.*)\n", answer.body)
    assert found, answer.body
    return str(json.loads(found[1])["json"]["data"]["code"])


def _code(told: Any) -> str:
    return str(told["error"]["json"]["data"]["code"]) if "error" in told else PASSED


# REST


@pytest.mark.parametrize("caller", CALLERS)
def test_every_rest_route(crowd: Crowd, caller: str) -> None:
    operations = [operation for operation in REGISTRY if operation.rest]
    faults, tried = [], set()
    for case in cases(caller, operations):
        for rest in case.operation.rest:
            if case.expected == PASSED and rest.method != "GET":
                continue
            values = _addressed(case, crowd)
            body: dict[str, Any] | None = case.values(crowd) if rest.has_body else None
            answer = crowd.ask(rest.method, _path(rest, values), case.token(crowd), body)
            found = CODES.get(answer.status, PASSED if answer.status < 500 else "INTERNAL")
            tried.add((rest.method, rest.path))
            faults.append(wrong(case, found))
    assert not any(faults), "\n".join(filter(None, faults))
    assert tried == {(rest.method, rest.path) for one in operations for rest in one.rest}


def _addressed(case: Case, crowd: Crowd) -> dict[str, Any]:
    """All fields, because those of a path are needed for it to be one."""
    fields = SCHEMAS.fields(case.operation)
    return {name: sample(resolved(field)) for name, field in fields.items()} | case.values(crowd)


def _path(rest: Rest, values: dict[str, Any]) -> str:
    return re.sub(r"\{(\w+)\}", lambda match: quote(str(values[match[1]]), safe=""), rest.path)


def test_paths_that_are_none(crowd: Crowd) -> None:
    """They tell nobody anything but a suspended user, who is told that."""
    for token in (None, crowd.lacking["alice", "repo:read"]):
        answer = crowd.ask("GET", "/api/v1/nothing", token)
        assert (answer.status, answer.json["message"]) == (404, "Not Found")
        assert "documentation_url" in answer.json
    assert crowd.ask("GET", "/api/v1/nothing", crowd.suspended.token).status == 403


# git


def test_git_over_http(crowd: Crowd) -> None:
    fetch, push = (f"/{CLOSED}/info/refs?service=git-{name}-pack" for name in ("upload", "receive"))
    missing = fetch.replace(CLOSED, MISSING)
    no_read, no_write = (crowd.lacking["oauth", scope] for scope in ("repo:read", "repo:write"))
    for token, target, status in (
        (None, fetch, 401), (None, push, 401), (None, missing, 401),
        (no_read, fetch, 404), (no_read, missing, 404), (no_write, fetch, 200), (no_write, push, 403),
        (crowd.openid, fetch, 404), (crowd.openid, push, 404),
        (crowd.suspended.token, fetch, 403), (crowd.suspended.token, push, 403),
        (crowd.suspended_oauth, missing, 403),
    ):  # fmt: skip
        answer = crowd.ask("GET", target, token)
        assert answer.status == status, (target, status, answer)
    for person, secret, target, status in (
        ("alice", crowd.lacking["alice", "repo:read"], fetch, 404),
        ("alice", crowd.lacking["alice", "repo:write"], fetch, 200),
        ("alice", crowd.lacking["alice", "repo:write"], push, 403),
        ("suspended", crowd.suspended.token, fetch, 403),
        ("suspended", crowd.suspended.password, push, 403),
        ("suspended", "wrong password", push, 401),
    ):
        answer = crowd.ask("GET", target, Authorization=basic(person, secret))
        assert answer.status == status, (person, target, status, answer)


def test_ssh(crowd: Crowd) -> None:
    """A key of somebody who is suspended opens nothing, not even what is public."""
    for name in (OPEN, CLOSED, MISSING):
        with ssh(crowd.daemon, crowd.suspended, f"git-upload-pack '{name}'") as client:
            out, error = client.communicate(timeout=30)
        assert client.returncode != 0 and not out, (name, out, error)
    environment = crowd.daemon.ssh_environment(crowd.suspended.key)
    listed = git("ls-remote", crowd.daemon.ssh_url(OPEN), env=environment, check=False)
    assert listed.returncode == 128 and not listed.stdout


# what is no procedure


def test_listing_and_syncing(crowd: Crowd) -> None:
    def listed(token: str | None) -> set[str]:
        found = crowd.ask("GET", "/repos", token)
        assert found.status == 200
        return {f"{one['owner']}/{one['name']}" for one in found.json["repositories"]}

    public = listed(None)
    assert OPEN in public and not public & {CLOSED, VAULT}
    assert CLOSED in listed(crowd.sessions["alice"])
    lacking = [crowd.lacking[who, "repo:read"] for who in ("alice", "oauth")]
    assert all(listed(weak) == public for weak in (crowd.openid, *lacking))
    assert crowd.ask("GET", "/repos", crowd.suspended.token).status == 403
    assert crowd.ask("GET", "/repos", "wit_" + "0" * 40).status == 401
    for token, status in (
        (None, 401), (crowd.suspended.token, 403), (crowd.sessions["alice"], 403),
        (crowd.sessions["siteadmin"], 200), (crowd.lacking["superadmin", "repo:admin"], 403),
    ):  # fmt: skip
        assert crowd.ask("POST", "/sync", token, {}).status == status


def test_who_an_app_speaks_for(crowd: Crowd) -> None:
    for token, status in (
        (None, 401), (crowd.openid, 200), (crowd.suspended_oauth, 401),
        (crowd.lacking["oauth", "repo:read"], 403), (crowd.lacking["alice", "repo:read"], 401),
        (crowd.sessions["alice"], 401),
    ):  # fmt: skip
        for method in ("GET", "POST"):
            assert crowd.ask(method, "/oauth/userinfo", token).status == status, (token, method)


@pytest.mark.parametrize(
    "target",
    [
        ("GET", "/oauth/apps"), ("GET", "/oauth/authorizations"),
        ("DELETE", "/oauth/authorizations/11111111-2222-4333-8444-555555555555"),
        ("GET", "/api/auth/list-sessions"), ("POST", "/api/auth/revoke-sessions"),
        ("GET", "/api/auth/list-accounts"), ("POST", "/api/auth/update-user"),
        ("POST", "/api/auth/change-password"), ("POST", "/api/auth/two-factor/enable"),
    ],
)  # fmt: skip
def test_what_only_a_browser_may(crowd: Crowd, target: tuple[str, str]) -> None:
    """No token, whatever its scopes, does what is the person's own affair."""
    method, path = target
    body = {"name": "x", "password": "x" * 9} if method == "POST" else None
    full = crowd.lacking["alice", "packages:write"]
    for token in (None, full, crowd.lacking["oauth", "webhook:write"], crowd.suspended.token):
        answer = crowd.ask(method, path, token, body)
        suspended = token == crowd.suspended.token
        assert answer.status in ((400, 401, 403) if suspended else (400, 401)), (token, answer)
        assert answer.status != 400 or path.startswith("/api/auth/"), answer


def test_the_daemon_is_still_there(crowd: Crowd) -> None:
    assert ask(crowd.daemon, "GET", "/readyz").status == 200
