from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from klein import Klein

from tests.web.harness import Online, online
from tests.web.routes.standin import PASSWORD, Credentials
from wit.access.actor import Actor
from wit.access.gate import MAX_PAGE, Page
from wit.db.port import Row
from wit.errors import Invalid
from wit.runtime import Runtime
from wit.web.klein_door import KleinDoor
from wit.web.routes.repos import add_routes
from wit.web.streaming import Request

ROOT = b"Authorization: Basic " + b64encode(f"root:{PASSWORD}".encode())
ALICE = b"Authorization: Bearer wit_alice"


class Gate:
    """130 public repositories; 120 more that only those who sign in may see."""

    async def visible_repositories(
        self, actor: Actor, owner: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page:
        assert 1 <= limit <= MAX_PAGE
        total = 130 if actor.anonymous else 250
        if cursor is not None and not cursor.isdigit():
            raise Invalid("the cursor is not one that a page before has given")
        start = int(cursor or 0)
        end = min(total, start + limit)
        rows: list[Row] = [
            {"owner_name": "o", "name": f"r{number}"} for number in range(start, end)
        ]
        return Page(rows, str(end) if end < total else None)


@attrs.frozen
class Result:
    owner: str
    name: str
    action: str
    message: str | None = None


async def sync() -> list[Result]:
    return [
        Result("a", "new", "created"),
        Result("a", "old", "skipped", "already registered"),
        Result("a", "bad", "error", "not a repository"),
    ]


@pytest.fixture
def site(run: Callable[[Any], Any], runtime: Runtime) -> Iterator[Online]:
    app = Klein()
    add_routes(app, Gate(), Credentials(), sync)

    @app.route("/broken")
    async def broken(request: Request) -> None:
        raise RuntimeError("secret")

    with online(run, runtime, [KleinDoor(app).route]) as served:
        yield served


def ask(site: Online, line: bytes, *headers: bytes, body: bytes = b"") -> tuple[int, Any, bytes]:
    lines = [line + b" HTTP/1.1", b"Host: h", b"Connection: close", *headers]
    if line.startswith(b"POST") and not any(b"Length" in header for header in headers):
        lines.append(b"Content-Length: %d" % len(body))
    head, _, answer = site.exchange(b"\r\n".join([*lines, b"", body])).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(answer) if answer[:1] == b"{" else answer, head


def test_repos_are_those_the_caller_may_see(site: Online) -> None:
    status, said, _ = ask(site, b"GET /repos")
    assert status == 200
    assert said["count"] == len(said["repositories"]) == 130
    assert said["repositories"][129] == {"owner": "o", "name": "r129", "url": "/o/r129.wit"}
    assert "next" not in said
    assert ask(site, b"GET /repos", ALICE)[1]["count"] == 250
    assert ask(site, b"GET /repos", b"Authorization: Bearer wrong")[0] == 401


def test_pages(site: Online) -> None:
    seen = []
    cursor = b""
    while True:
        _, said, _ = ask(site, b"GET /repos?limit=120" + cursor, ALICE)
        seen += [repo["name"] for repo in said["repositories"]]
        if "next" not in said:
            break
        cursor = b"&cursor=" + said["next"].encode()
    assert seen == [f"r{number}" for number in range(250)]
    for query in (b"limit=0", b"limit=x", b"limit=1001", b"limit=-1", b"cursor=x"):
        status, said, _ = ask(site, b"GET /repos?" + query)
        assert (status, said["code"]) == (400, "invalid")


def test_sync_is_for_administrators(site: Online) -> None:
    status, said, head = ask(site, b"POST /sync")
    assert (status, said["code"]) == (401, "unauthorized")
    assert b"WWW-Authenticate: Bearer" in head
    assert ask(site, b"POST /sync", ALICE)[0] == 403
    status, said, _ = ask(site, b"POST /sync", ROOT)
    assert status == 200
    assert said["summary"] == {"created": 1, "skipped": 1, "errors": 1}
    assert said["results"][0] == {"owner": "a", "name": "new", "action": "created"}
    assert said["results"][2]["message"] == "not a repository"


def test_unknown_paths_and_methods(site: Online) -> None:
    assert ask(site, b"GET /nothing")[:2] == (404, {"error": "Not found"})
    assert ask(site, b"GET /api/v1/x")[:2] == (404, {"error": "Not found"})
    assert ask(site, b"GET /%ff")[0] in (400, 404)
    status, _, head = ask(site, b"GET /sync")
    assert status == 405
    assert b"Allow: POST" in head or b"Allow: OPTIONS, POST" in head


def test_unexpected_errors_tell_nothing(site: Online) -> None:
    status, said, _ = ask(site, b"GET /broken")
    assert status == 500
    assert said["error"] == f"internal error, request id {said['requestId']}"
    assert "secret" not in json.dumps(said)
