"""Texts made to cost a matcher much: regular expressions, patterns of branches, search, parsers.

Whatever is sent, and however long it may be, the daemon spends on it what it spends on harmless
text of the same length, give or take: nothing takes a time that grows with the square. What is
compared is the processor time of the daemon and its children, not the time that passes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import pytest

from tests.attacks.crowd import Crowd, credentials
from tests.conftest import Run
from tests.operations.samples import sample
from tests.operations.test_access_matrix import REGISTRY, SCHEMAS, resolved
from tests.support.site import Person
from tests.support.wire import BLOB, COMMIT, TREE, ZERO, Http, entry, oid, pack, push, ssh, tree
from wit.accounts.sessions import Device
from wit.operations.access import Package, Public, Repo, SignedIn
from wit.operations.registry import Kind, Operation

pytestmark = pytest.mark.attack(58)

PLAIN = "word and "

HOSTILE = (
    "a", "a.", "-a", "*a", "**/", "?*", "\\", "0.", "1-", "@", "a@", "a:", "://a", "/a/", " \t", "\r\n",
    "[(", "+", "=", "%61", "_", "-----BEGIN ", "cookie: ", "\u0344", "a\u0301", "${", "<a>", "\\u0000",
)  # fmt: skip
"""What the texts are made of, over and over."""

CHEAP = frozenset(("**/", "?*", "1-", "a:", "/a/", "=", "_", "%61", "${", "<a>", "+", "[("))
"""Those that only patterns, or addresses and headers, could stumble over."""

FREE = 1.5
"""Seconds of processor time that may come from elsewhere, such as housekeeping."""

TIMES = 5.0
"""What hostile text may cost, in terms of harmless text."""

UNBOUNDED = 20_000
"""Characters for a field that names no most."""

PACKAGE = "patient-work"

NOT_CALLED = frozenset(
    {
        "repos.delete",
        "repos.transfer",
        "repos.update.name",
        "packages.delete",
        "packages.disableForRepo",
        "packages.enableForRepo",
    }
)
"""Calls, and fields of calls, that would take away what the others are about."""

MAX_BATCH = 10


@attrs.frozen
class Patient:
    """Who sends it all, and a repository and a package to send it to."""

    session: str
    repo_id: str
    package_id: str
    person: Person

    @property
    def place(self) -> dict[str, str]:
        return {"owner": "patient", "repo": "work", "repoId": self.repo_id}

    def package(self, by: str) -> dict[str, str | None]:
        if by == "scope/name":
            return {"scope": None, "name": PACKAGE}
        return {by: PACKAGE if by == "fullName" else self.package_id}


@pytest.fixture(scope="module")
def patient(crowd: Crowd, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Patient:
    core = crowd.world.core

    async def arrive() -> tuple[str, Person]:
        user_id = (await core.users.create("patient", "patient@example.org"))["id"]
        session = await core.identity.sessions.create(user_id, Device())
        folder = tmp_path_factory.mktemp("patient")
        return session.token, await credentials(core, user_id, "patient", folder)

    session, person = run(arrive())
    made = crowd.call("repos.create", session, name="work")
    package = crowd.call("packages.create", session, repoId=made["id"], name=PACKAGE)
    return Patient(session, made["id"], package["id"], person)


def spent(crowd: Crowd, work: Callable[[], None]) -> float:
    """Seconds of processor time that the daemon, and children that have ended, take for it."""

    def so_far() -> float:
        assert crowd.daemon.process is not None
        text = Path(f"/proc/{crowd.daemon.process.pid}/stat").read_text()
        ticks = text.rpartition(")")[2].split()[11:15]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    before = so_far()
    work()
    return so_far() - before


def bounded(crowd: Crowd, work: Callable[[str], None], units: Sequence[str] = HOSTILE) -> None:
    """``work(unit)`` with every hostile unit costs about what it does with harmless ones."""
    work(PLAIN)  # what is made once is made
    plain = max(spent(crowd, lambda: work(PLAIN)) for _ in range(2))
    for unit in units:
        cost = spent(crowd, lambda unit=unit: work(unit))  # type: ignore[misc]
        assert cost <= TIMES * plain + FREE, (unit, cost, plain)


def of_length(unit: str, length: int) -> str:
    return (unit * (length // len(unit) + 1))[:length]


# inputs


def fields() -> Iterator[tuple[Operation, str, int]]:
    """Every field that takes a text of any kind, and how long it may be."""
    for operation in REGISTRY:
        if not operation.trpc or operation.name in NOT_CALLED:
            continue
        if not isinstance(operation.access, Public | SignedIn | Repo | Package):
            continue
        for name, field in SCHEMAS.fields(operation).items():
            schema = resolved(field)
            for option in schema.get("anyOf", [schema]):
                free = option.get("type") == "string" and not option.keys() & {"enum", "const"}
                if f"{operation.name}.{name}" in NOT_CALLED:
                    continue
                if free and option.get("format") not in ("uuid", "date-time"):
                    yield operation, name, option.get("maxLength", UNBOUNDED)


def test_every_text_of_an_input(crowd: Crowd, patient: Patient) -> None:
    """Of the most characters that it may have, so that it gets past the schema."""
    everything = list(fields())
    assert {name for _, name, _ in everything} >= {"pattern", "query", "email", "publicKey", "ref"}

    def work(unit: str) -> None:
        for kind in (Kind.QUERY, Kind.MUTATION):
            calls = [
                (operation.name, {**_others(operation, patient), name: of_length(unit, length)})
                for operation, name, length in everything
                if operation.kind is kind
            ]
            for start in range(0, len(calls), MAX_BATCH):
                _send(crowd, patient, kind, calls[start : start + MAX_BATCH])

    bounded(crowd, work, [unit for unit in HOSTILE if unit not in CHEAP])


def _others(operation: Operation, patient: Patient) -> dict[str, Any]:
    own = SCHEMAS.fields(operation)
    values = {name: sample(resolved(own[name])) for name in SCHEMAS.required(operation)}
    if isinstance(operation.access, Package):
        return values | patient.package(operation.access.by)
    return values | {name: value for name, value in patient.place.items() if name in values}


def _send(crowd: Crowd, patient: Patient, kind: Kind, calls: list[tuple[str, Any]]) -> None:
    """Queries one by one: an address is short."""
    if kind is Kind.MUTATION:
        inputs = {str(n): {"json": values} for n, (_, values) in enumerate(calls)}
        paths = ",".join(name for name, _ in calls)
        answers = crowd.ask("POST", f"/trpc/{paths}?batch=1", patient.session, inputs).json
        assert all("INTERNAL" not in json.dumps(answer) for answer in answers), answers
        return
    for name, values in calls:
        target = f"/trpc/{name}?input={quote(json.dumps({'json': values}, ensure_ascii=False))}"
        if len(target) < 15_000:
            assert crowd.ask("GET", target, patient.session).status < 500, (name, values)


def test_bodies_as_long_as_they_may_be(crowd: Crowd, patient: Patient) -> None:
    """What the schema refuses, and what is no input at all, of a million characters."""

    def work(unit: str) -> None:
        text = of_length(unit, 900_000)
        for name in ("name", "unknown"):
            answer = crowd.ask(
                "POST", "/trpc/users.update", patient.session, {"json": {name: text}}
            )
            assert answer.status in (200, 400, 413), answer
        quoted = json.dumps(of_length(unit, 400_000)).encode()
        for body in (quoted, b'{"json":%b,"meta":{"values":{%b:["Date"]}}}' % (b'""', quoted)):
            _raw(crowd, patient, body)

    bounded(crowd, work, ("a", "\\", "\\u0000", "a.", '"', "[", "0", "\U0001f600"))


@pytest.mark.parametrize("unit", [b"[", b'{"a":', b"1,", b"\\\\", b'"a":1,', b"1e9,", b"\\ud800"])
def test_json_that_is_made_to_cost(crowd: Crowd, patient: Patient, unit: bytes) -> None:
    def work(made_of: str) -> None:
        inner = (unit if made_of != PLAIN else b"1, ") * (500_000 // len(unit))
        for body in (b'{"json":{"x":[' + inner + b"1]}}", b'{"json":"' + inner + b'"}'):
            _raw(crowd, patient, body)

    bounded(crowd, work, ("",))


def _raw(crowd: Crowd, patient: Patient, body: bytes) -> None:
    head = (
        f"POST /trpc/users.update HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {patient.session}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with Http(crowd.daemon.http_port) as http:
        assert http.send(head.encode() + body).answer().status in (200, 400, 413)


# addresses and headers


@pytest.mark.parametrize(
    "where",
    [
        "GET /{} HTTP/1.1\r\n",
        "GET /http://{} HTTP/1.1\r\n",
        "GET /x?token=a&u=postgres://{} HTTP/1.1\r\n",
        "GET /{}/info/refs?service=git-upload-pack HTTP/1.1\r\n",
        "GET /a/{}/info/refs?service=git-upload-pack HTTP/1.1\r\n",
        "GET /api/v1/repos/{} HTTP/1.1\r\n",
        "GET /api/v1/search/users?q={} HTTP/1.1\r\n",
        "GET /trpc/{}?batch=1 HTTP/1.1\r\n",
        "GET /trpc/users.me?{} HTTP/1.1\r\n",
        "GET /login?returnTo=/{} HTTP/1.1\r\n",
        "GET /api/auth/verify-email?token=a&callbackURL=https://{} HTTP/1.1\r\n",
        "GET /oauth/authorize?client_id=a&redirect_uri=http://{} HTTP/1.1\r\n",
        "GET /api/v1/user HTTP/1.1\r\nAuthorization: Bearer {}\r\n",
        "GET /repos HTTP/1.1\r\nAuthorization: Basic {}\r\n",
        "GET /api/v1/user HTTP/1.1\r\nCookie: {}\r\n",
        "GET /trpc/users.me HTTP/1.1\r\nCookie: better-auth.session_token={}\r\n",
        "GET /health HTTP/1.1\r\nOrigin: https://{}\r\n",
        "GET /health HTTP/1.1\r\nX-Forwarded-For: {}\r\n",
        "GET /health HTTP/1.1\r\nX-Trace-Id: {}\r\n",
        "GET /health HTTP/1.1\r\nAccept: {}\r\n",
        "GET /health HTTP/1.1\r\nIf-None-Match: {}\r\n",
        "GET /a/b/info/refs?service=git-upload-pack HTTP/1.1\r\nGit-Protocol: {}\r\n",
        "POST /api/auth/sign-out HTTP/1.1\r\nContent-Type: application/{}\r\n",
        "POST /trpc/users.update HTTP/1.1\r\nContent-Type: {}\r\n",
    ],
)
def test_addresses_and_headers(crowd: Crowd, where: str) -> None:
    """As long as the head of a request may be."""

    def work(unit: str) -> None:
        text = of_length(unit, 15_500)
        target = where.partition("{}")[2].startswith((" ", "?", "/"))
        shown = quote(text, safe="/:*?@+=\\[](-.")[:15_500] if target else text
        plain = "".join(c if " " <= c <= "~" else "a" for c in shown)
        head = where.format(plain.replace(" ", "+") if target else plain)
        with Http(crowd.daemon.http_port) as http:
            for _ in range(3):
                http.send(f"{head}Host: wit.example\r\nContent-Length: 0\r\n\r\n".encode())
                if http.answer().headers.get("connection") == "close":
                    break

    bounded(crowd, work)


def test_ssh_commands(crowd: Crowd, patient: Patient) -> None:
    """All in one: a connection costs more than the longest command."""

    def work(unit: str) -> None:
        text = of_length(unit, 30_000).replace("\x00", "")
        with ssh(crowd.daemon, patient.person, f"git-upload-pack '{text}") as client:
            client.communicate(timeout=60)
        assert client.returncode != 0

    bounded(crowd, work, ("'", "\\", '"a', "a/", "../", "$("))


# what repositories contain


def test_contents(crowd: Crowd, patient: Patient) -> None:
    """Names of files, branches and tags, authors, messages and changes: all that is shown."""

    def work(unit: str) -> None:
        plain = "".join(c if "!" <= c <= "~" and c not in '*?[\\:~^"' else "-" for c in unit)
        made = _history(unit, plain)
        short = of_length(plain.replace("/", "-").replace("@", "x").replace(".", "_"), 200)
        refs = [("refs/heads/main", made[0])]
        refs += [(f"refs/tags/v1.{n}.0-{short}", made[0]) for n in range(20)]
        name = f"patient/c{_number()}"
        told = push(
            crowd.daemon, patient.person, name, [(ZERO, made[0], ref) for ref, _ in refs], made[1]
        )
        assert told.refs["refs/heads/main"] == "ok", told
        place = {"owner": "patient", "repo": name.partition("/")[2]}
        for procedure, more in (
            ("repos.getPageData", {}), ("repos.getTags", {}), ("repos.getLanguages", {}),
            ("repos.getCommits", {}), ("repos.getCommit", {"sha": made[0]}), ("repos.listFiles", {}),
            ("repos.getFile", {"path": "README.md"}), ("repos.getTree", {"ref": "main"}),
        ):  # fmt: skip
            target = f"/trpc/{procedure}?input={quote(json.dumps({'json': {**place, **more}}))}"
            answer = crowd.ask("GET", target, patient.session)
            assert answer.status in (200, 400), (procedure, answer)

    units = ("a", "a.", "jquery.js.", ".min.js", "_generated.a", "diff --git ", "index a..b ",
             "Signed-off-by: a <a>\n", "-1 ", "<", "> ", "@@ -1 +1 @@\n", "\r", "v1.")  # fmt: skip
    bounded(crowd, work, units)


def _history(unit: str, plain: str) -> tuple[str, bytes]:
    """A commit whose every part is ``unit`` over and over, and the pack of it. What names are made
    of, ``plain``, is printable."""
    content = of_length(unit, 300_000).encode()
    blob = oid(BLOB, content)
    long = of_length(plain.replace("/", "-"), 240)
    names = {"README.md", f"a{long}", f"a{long}.js", f"b{long}.min.css!"}
    root = tree(*((b"100644", name, blob) for name in sorted(name.encode() for name in names)))
    person = f"x{of_length(plain.replace('<', '-').replace('>', '-'), 10_000)}x"
    people = f"{person} <{person}> 1700000000 +0000\n"
    head = f"tree {oid(TREE, root)}\nauthor {people}committer {people}\n"
    data = head.encode() + content + b"\n"
    parts = [entry(COMMIT, data), entry(TREE, root), entry(BLOB, content)]
    return oid(COMMIT, data), pack(parts)


def test_patterns_of_branches(crowd: Crowd, patient: Patient) -> None:
    """Rules whose patterns are all stars, against the longest name."""

    def work(unit: str) -> None:
        place = {"repoId": patient.repo_id}
        rules = []
        for length in range(200, 240):
            rule = {**place, "pattern": of_length(unit.replace(" ", "-"), length)}
            made = crowd.call("branchProtection.create", patient.session, **rule)
            rules += [made["id"]] if isinstance(made, dict) else []
        assert len(rules) > 10, unit
        for branch in ("a" * 240, "a/" * 100 + "a", "a" * 239 + "!"):
            asked = quote(json.dumps({"json": {**place, "branch": branch}}))
            for name in ("check", "canPush"):
                target = f"/trpc/branchProtection.{name}?input={asked}"
                answer = crowd.ask("GET", target, patient.session)
                assert answer.status == 200, answer
        for one in rules:
            crowd.call("branchProtection.delete", patient.session, **place, id=one)

    bounded(crowd, work, ("*a", "?a", "a*?", "**a", "a", "*?", "**?"))


_numbers = iter(range(1, 1_000_000))


def _number() -> int:
    return next(_numbers)
