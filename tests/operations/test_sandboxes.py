"""Sandboxes through the API of a running daemon, as curl and the real tRPC client use it."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote
from uuid import UUID

import attrs
import pytest

from tests.support import site as sites_
from tests.support.daemon import PASSWORD, Daemon, git, wait_until
from tests.support.site import Run, Site, make_work
from tests.support.terminals import Desk
from tests.trpc.support import run_client
from wit.core import Core
from wit.git.names import parse_full_name

LIMITS = ("STANDARD", "STANDARD_ANONYMOUS", "STRICT", "API", "UPLOAD")
V1 = "/api/v1"


@attrs.frozen
class Answer:
    status: int
    content_type: str
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@attrs.frozen
class Place:
    """A daemon with sandboxes on this machine, and a repository ``alice/thing``."""

    site: Site
    repo_id: str
    tokens: dict[str, str]
    """By person: with the scopes sandbox, repo:read and repo:admin; ``weak``: alice's, without
    the scope for sandboxes."""

    def curl(
        self,
        method: str,
        path: str,
        body: Any = None,
        *arguments: str,
        who: str = "alice",
        data: bytes | None = None,
        accept: str = "*/*",
    ) -> Answer:
        sent = data if body is None else json.dumps(body).encode()
        kind = "application/octet-stream" if body is None else "application/json"
        done = subprocess.run(
            [
                "curl", "-sS", "-g", "--max-time", "60", "-X", method,
                "-H", f"Authorization: Bearer {self.tokens[who]}" if who else "X-Nobody: 1",
                "-H", f"Accept: {accept}",
                *(["-H", f"Content-Type: {kind}", "--data-binary", "@-"] if sent is not None else []),
                "-w", "\n%{http_code} %{content_type}", *arguments,
                self.site.daemon.url(path.removeprefix("/")),
            ],
            input=sent or b"",
            capture_output=True,
            timeout=90,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        text, _, last = done.stdout.rpartition(b"\n")
        status, _, content_type = last.decode().partition(" ")
        return Answer(int(status), content_type, text)

    def trpc(self, name: str, values: Any, *, who: str = "alice", query: bool = False) -> Any:
        """The result; or the code of the error, as text."""
        if query:
            path = f"/trpc/{name}?input={quote(json.dumps({'json': values}))}"
            answer = self.curl("GET", path, who=who)
        else:
            answer = self.curl("POST", f"/trpc/{name}", {"json": values}, who=who)
        if "error" in answer.json:
            return answer.json["error"]["json"]["data"]["code"]
        return answer.json["result"]["data"]["json"]


@pytest.fixture(scope="module")
def place(
    run: Run, plain_git_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("sandboxes-api")
    environment = {f"WIT_LIMITS_{name}": "0" for name in LIMITS}
    environment |= {"WIT_SANDBOXES_PROVIDER": "local", "WIT_SANDBOXES_WARM": "0"}
    daemon = Daemon(folder / "data", environment=environment)
    with contextmanager(sites_.open_site)(daemon, folder, run) as site:
        site.create("alice/thing")
        work = make_work(folder / "work")
        git("push", "-q", daemon.url("alice/thing", "alice", PASSWORD), "HEAD:main", cwd=work)

        async def enter(core: Core) -> tuple[str, dict[str, str]]:
            tokens = {}
            for name, scopes in (
                ("alice", ["sandbox", "repo:read", "repo:admin"]),
                ("bob", ["sandbox", "repo:read", "repo:admin"]),
                ("weak", ["repo:read", "repo:write", "repo:admin"]),
            ):
                user = await core.users.by_username("alice" if name == "weak" else name)
                _, tokens[name] = await core.tokens.create(user["id"], "sandboxes", scopes)
            repo = await core.repos.get(parse_full_name("alice/thing"))
            return repo["id"], tokens

        repo_id, tokens = site.do(enter)
        yield Place(site, repo_id, tokens)


@pytest.fixture
def sandbox(place: Place) -> Iterator[str]:
    """The id of a new one of alice's."""
    made = place.curl("POST", f"{V1}/repos/alice/thing/sandboxes", {})
    assert made.status == 201, made.body
    yield made.json["id"]
    assert place.curl("DELETE", f"{V1}/sandboxes/{made.json['id']}").status == 200


def test_life(place: Place) -> None:
    made = place.curl("POST", f"{V1}/repos/alice/thing/sandboxes", {"ref": "main", "seconds": 600})
    assert (made.status, made.json["state"], made.json["branch"]) == (201, "running", "main")
    one = f"{V1}/sandboxes/{made.json['id']}"
    for path in (f"{V1}/sandboxes", f"{V1}/repos/alice/thing/sandboxes"):
        assert [item["id"] for item in place.curl("GET", path).json] == [made.json["id"]]
    again = place.curl("PUT", f"{V1}/repos/alice/thing/sandboxes/current", {})
    assert again.json["id"] == made.json["id"]
    extended = place.curl("POST", f"{one}/extend", {"seconds": 7200})
    assert extended.json["lifeSeconds"] == 7200
    assert extended.json["expiresAt"] > made.json["expiresAt"]
    assert place.curl("GET", f"{one}/usage").json["outOfMemory"] == 0
    paused = place.curl("POST", f"{one}/pause", {})
    if paused.status == 200:
        assert paused.json["state"] == "paused"
        assert place.curl("POST", f"{one}/resume", {}).json["state"] == "running"
    else:
        assert paused.status == 412, paused.body
    assert place.curl("DELETE", one).json == {"success": True}
    assert place.curl("GET", one).json["state"] == "ended"
    over = place.curl("POST", f"{one}/exec", {"argv": ["true"]})
    assert (over.status, "has ended" in over.json["message"]) == (422, True)
    assert place.curl("GET", f"{V1}/sandboxes").json == []
    empty = place.curl("POST", f"{V1}/sandboxes", {"memoryBytes": 2**28})
    assert (empty.status, empty.json["memoryBytes"], empty.json["repoId"]) == (201, 2**28, None)
    assert place.curl("DELETE", f"{V1}/sandboxes/{empty.json['id']}").status == 200
    assert place.curl("POST", f"{V1}/sandboxes", {"memoryBytes": 2**45}).status == 400
    assert place.curl("POST", f"{V1}/sandboxes", {}, who="bob").status == 403


def test_commands_are_lists_and_are_written_down(place: Place, sandbox: str) -> None:
    one = f"{V1}/sandboxes/{sandbox}"
    odd = ["a b", "$HOME", "`id`", "; true", "'", '"', "*", "", "\n", "ü"]
    argv = ["printf", "%s|", *odd]
    done = place.curl("POST", f"{one}/exec", {"argv": argv}).json
    assert (done["stdout"], done["code"], done["stderr"]) == ("|".join([*odd, ""]), 0, "")
    fed = place.curl("POST", f"{one}/exec", {"argv": ["cat"], "stdin": "x" * 200_000}).json
    assert fed["stdout"] == "x" * 200_000 and not fed["truncated"]
    flood = {"argv": ["head", "-c", "5000000", "/dev/zero"], "maxOutput": 10}
    cut = place.curl("POST", f"{one}/exec", flood).json
    assert (cut["stdout"], cut["truncated"], cut["code"]) == ("\0" * 10, True, 0)
    late = place.curl("POST", f"{one}/exec", {"argv": ["sleep", "60"], "seconds": 0.2}).json
    assert late["reason"] == "timeout"
    missing = place.curl("POST", f"{one}/exec", {"argv": ["no-such-program"]}).json
    assert missing["code"] == 127
    seen = {"argv": ["sh", "-c", 'echo "$GREETING"; pwd'], "env": {"GREETING": "hi"}, "cwd": "/tmp"}
    assert place.curl("POST", f"{one}/exec", seen).json["stdout"] == "hi\n/tmp\n"
    bad: tuple[dict[str, Any], ...] = ({"argv": []}, {"argv": "ls"}, {"argv": ["a\0b"]}, {})
    for wrong in bad:
        assert place.curl("POST", f"{one}/exec", wrong).status in (400, 422)
    rows = place.curl("GET", f"{one}/commands?limit=100").json
    ran = {row["id"]: row for row in rows}
    assert ran[done["id"]]["argv"] == argv and ran[done["id"]]["exitCode"] == 0
    assert ran[done["id"]]["outputBytes"] == len("|".join([*odd, ""]).encode())
    assert ran[late["id"]]["reason"] == "timeout" and ran[late["id"]]["endedAt"]
    assert rows[-1]["kind"] == "checkout"
    assert len(place.curl("GET", f"{one}/commands?limit=1&offset=1").json) == 1


def test_output_as_events(place: Place, sandbox: str) -> None:
    one = f"{V1}/sandboxes/{sandbox}"
    script = "printf '\\303'; sleep 0.3; printf '\\274'; echo oops >&2; exit 3"
    answer = place.curl(
        "POST", f"{one}/exec", {"argv": ["sh", "-c", script]}, "-N", accept="text/event-stream"
    )
    assert (answer.status, answer.content_type) == (200, "text/event-stream")
    events = _events(answer)
    assert events[0]["type"] == "started"
    assert events[-1] == {"type": "exit", "code": 3, "signal": None, "reason": None}
    printed = {
        kind: "".join(event["data"] for event in events if event["type"] == kind)
        for kind in ("stdout", "stderr")
    }
    assert printed == {"stdout": "ü", "stderr": "oops\n"}
    over = place.curl(
        "POST", f"{V1}/sandboxes/{'0' * 32}/exec", {"argv": ["true"]}, accept="text/event-stream"
    )
    assert (over.status, over.content_type) == (404, "application/json")


def test_who_goes_away_ends_the_command(place: Place, sandbox: str) -> None:
    one = f"{V1}/sandboxes/{sandbox}"
    with subprocess.Popen(
        [
            "curl", "-sSN", "-H", f"Authorization: Bearer {place.tokens['alice']}",
            "-H", "Accept: text/event-stream", "-H", "Content-Type: application/json",
            "-d", json.dumps({"argv": ["sh", "-c", "echo here; exec sleep 1000"]}),
            place.site.daemon.url(f"{one}/exec"[1:]),
        ],
        stdout=subprocess.PIPE,
    ) as curl:  # fmt: skip
        assert curl.stdout is not None
        lines = iter(curl.stdout.readline, b"")
        assert any(b"here" in line for line in lines)
        curl.kill()

    def ended() -> bool:
        rows = place.curl("GET", f"{one}/commands").json
        return all(row["state"] != "running" for row in rows)

    wait_until(ended, what="the end of the command whose caller went away")


def test_files_and_archives(place: Place, sandbox: str) -> None:
    one = f"{V1}/sandboxes/{sandbox}"
    data = bytes(range(256)) * 4096
    assert place.curl("PUT", f"{one}/files?path=new/data.bin", data=data).json == {"success": True}
    read = place.curl("GET", f"{one}/files?path=new/data.bin")
    assert (read.status, read.content_type, read.body) == (200, "application/octet-stream", data)
    assert [entry["name"] for entry in place.curl("GET", f"{one}/files/list?path=new").json] == [
        "data.bin"
    ]
    assert "one" in [entry["name"] for entry in place.curl("GET", f"{one}/files/list").json]
    assert place.curl("GET", f"{one}/files/list?path=new&offset=1").json == []
    packed = place.curl("GET", f"{one}/archive?path=new")
    assert (packed.status, packed.content_type) == (200, "application/x-tar")
    with tarfile.open(fileobj=io.BytesIO(packed.body)) as tar:
        member = next(item for item in tar if item.name.removeprefix("./") == "data.bin")
        content = tar.extractfile(member)
        assert content is not None and content.read() == data
    chunked = ("-H", "Transfer-Encoding: chunked")
    put = place.curl("PUT", f"{one}/archive?path=copy", None, *chunked, data=packed.body)
    assert put.json == {"success": True}, put.body
    assert place.curl("GET", f"{one}/files?path=copy/data.bin").body == data
    evil = io.BytesIO()
    with tarfile.open(fileobj=evil, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../../outside"), io.BytesIO())
    assert place.curl("PUT", f"{one}/archive", data=evil.getvalue()).status == 400
    assert place.curl("DELETE", f"{one}/files?path=new").json == {"success": True}
    assert place.curl("GET", f"{one}/files?path=new/data.bin").status == 404
    assert place.curl("GET", f"{one}/archive?path=nowhere").status == 404
    assert place.curl("PUT", f"{one}/files?path=x", data=b"x" * (17 * 2**20)).status == 413
    wrote = {"sandboxId": sandbox, "path": "run.sh", "content": "echo ok", "executable": True}
    assert place.trpc("sandboxes.writeFile", wrote) == {"success": True}
    found = place.trpc("sandboxes.readFile", {"sandboxId": sandbox, "path": "run.sh"}, query=True)
    assert found == {"content": "echo ok", "encoding": "utf-8", "size": 7}
    binary = {"sandboxId": sandbox, "path": "b", "content": "/w==", "encoding": "base64"}
    assert place.trpc("sandboxes.writeFile", binary) == {"success": True}
    assert place.trpc("sandboxes.readFile", binary, query=True) == {
        "content": "/w==", "encoding": "base64", "size": 1,
    }  # fmt: skip
    assert place.trpc("sandboxes.writeFile", {**binary, "content": "?"}) == "BAD_REQUEST"


def test_others_do_not_see_it(place: Place, sandbox: str) -> None:
    one = f"{V1}/sandboxes/{sandbox}"
    for method, path, body in (
        ("GET", one, None),
        ("DELETE", one, None),
        ("POST", f"{one}/exec", {"argv": ["true"]}),
        ("POST", f"{one}/pause", {}),
        ("GET", f"{one}/files?path=one", None),
        ("PUT", f"{one}/files?path=one", {}),
        ("GET", f"{one}/archive", None),
        ("PUT", f"{one}/archive", {}),
        ("GET", f"{one}/commands", None),
        ("GET", f"{one}/terminals", None),
        ("GET", f"{one}/usage", None),
    ):
        stranger = place.curl(method, path, body, who="bob")
        missing = place.curl(method, path.replace(sandbox, "0" * 32), body, who="bob")
        assert (stranger.status, stranger.body) == (404, missing.body), path
        assert place.curl(method, path, body, who="").status == 401, path
        assert place.curl(method, path, body, who="weak").status == 403, path
    assert place.curl("GET", f"{V1}/sandboxes", who="bob").json == []
    assert place.curl("GET", f"{V1}/sandboxes?everybody=true", who="bob").status == 403
    assert place.curl("GET", f"{V1}/repos/alice/thing/sandboxes", who="bob").status == 404


def test_variables_reach_commands_and_nothing_else(place: Place, sandbox: str) -> None:
    where = f"{V1}/repos/alice/thing/sandbox-variables"
    secret = "swordfish-" + place.repo_id
    assert place.curl("PUT", f"{where}/KEY", {"value": secret}).json == {"success": True}
    assert place.curl("PUT", f"{where}/MODE", {"value": "x", "secret": False}).status == 200
    assert place.curl("PUT", f"{where}/1X", {"value": "x"}).status == 400
    shown = [(row["name"], row["value"]) for row in place.curl("GET", where).json]
    assert shown == [("KEY", None), ("MODE", "x")]
    argv = ["sh", "-c", 'printf %s "$KEY"']
    one = f"{V1}/sandboxes/{sandbox}"
    assert place.curl("POST", f"{one}/exec", {"argv": argv}).json["stdout"] == secret
    assert secret not in place.curl("GET", f"{one}/commands").body.decode()
    assert place.curl("GET", where, who="bob").status == 404
    assert place.curl("DELETE", f"{where}/KEY").status == 200
    assert place.curl("DELETE", f"{where}/KEY").status == 404
    assert place.curl("DELETE", f"{where}/MODE").status == 200
    assert secret not in place.site.daemon.log()


def test_terminals_and_tickets(place: Place, sandbox: str) -> None:
    one = f"{V1}/sandboxes/{sandbox}"
    assert place.curl("GET", f"{one}/terminals").json == []
    desk = Desk(place.site, place.repo_id, place.tokens["alice"])
    try:
        _, terminal = desk.terminal("cols=90&rows=30")
        (shown,) = place.curl("GET", f"{one}/terminals").json
        assert (shown["id"], shown["columns"], shown["exitCode"]) == (terminal, 90, None)
        of_repo = {"repoId": place.repo_id}
        for sessions in (
            place.trpc("sandbox.myActiveSessions", None, query=True),
            place.trpc("sandbox.listSessions", of_repo, query=True),
            place.curl("GET", f"/api/sandbox/{place.repo_id}/sessions").json["sessions"],
        ):
            assert [(row["providerId"], row["state"]) for row in sessions] == [(sandbox, "running")]
        assert place.trpc("sandbox.myActiveSessions", None, who="bob", query=True) == []
        assert place.curl("DELETE", f"{one}/terminals/{terminal}", who="bob").status == 404
        assert place.curl("DELETE", f"{one}/terminals/{terminal}").json == {"success": True}
        everything = {**of_repo, "activeOnly": False}
        over = place.trpc("sandbox.listSessions", everything, query=True)
        assert over[0]["state"] == "done" and over[0]["endedAt"]
        assert place.trpc("sandbox.listSessions", of_repo, query=True) == []
    finally:
        desk.close()
    ticket = place.curl("POST", f"{V1}/sandboxes/tickets", {"id": sandbox})
    assert ticket.status == 201 and len(ticket.json["ticket"]) > 20
    assert place.curl("POST", f"{V1}/sandboxes/tickets", {"id": sandbox}, who="bob").status == 404
    assert place.curl("DELETE", f"{one}/terminals/nothing").status == 404


def test_providers(place: Place) -> None:
    found = {one["name"]: one for one in place.curl("GET", f"{V1}/sandboxes/providers").json}
    assert found["local"]["ready"], found["local"]["reason"]
    assert not found["e2b"]["ready"] and found["e2b"]["reason"]
    assert "none" in found["local"]["features"]["networks"]


def test_settings_of_the_contract(place: Place) -> None:
    repo_id, name = place.repo_id, {"owner": "alice", "repo": "thing"}
    before = place.trpc("sandbox.getSettings", name, query=True)
    assert (before["isOwner"], before["repoId"], before["provider"]) == (True, repo_id, "local")
    assert before["hasApiKey"] is False and "apiKeyHint" not in before
    assert place.trpc("sandbox.getSettings", name, who="bob", query=True) == "NOT_FOUND"
    wrong: tuple[dict[str, Any], ...] = (
        {"memoryMB": 1}, {"provider": "elsewhere"}, {"networkMode": "lan"}, {"cpuCores": 9},
        {"provider": "e2b", "enabled": True},
    )  # fmt: skip
    for settings in wrong:
        asked = {"repoId": repo_id, "settings": settings}
        assert place.trpc("sandbox.updateSettings", asked) == "BAD_REQUEST", settings
    key = {"repoId": repo_id, "provider": "e2b", "apiKey": "e2b_" + "0123456789abcdef"}
    assert place.trpc("sandbox.setApiKey", {**key, "apiKey": "nope"}) == "BAD_REQUEST"
    assert place.trpc("sandbox.setApiKey", key) == {"success": True, "keyHint": "...cdef"}
    after = place.trpc("sandbox.getSettings", name, query=True)
    assert (after["provider"], after["hasApiKey"], after["apiKeyHint"]) == ("e2b", True, "...cdef")
    assert place.trpc("sandbox.deleteApiKey", key) == {"success": True}
    assert place.trpc("sandbox.deleteApiKey", key) == "NOT_FOUND"
    status = place.trpc("sandbox.getStatus", {"repoId": repo_id}, query=True)
    assert (status["provider"], status["ready"]) == ("e2b", False) and status["reason"]
    vercel = {"repoId": repo_id, "settings": {"provider": "vercel", "enabled": False}}
    assert place.trpc("sandbox.updateSettings", vercel)["settings"]["provider"] == "vercel"
    status = place.trpc("sandbox.getStatus", {"repoId": repo_id}, query=True)
    assert not status["ready"]
    refused = place.curl("POST", f"/api/sandbox/{repo_id}/exec", {"command": "true"})
    assert refused.status == 400 and refused.json["error"]
    local = {"repoId": repo_id, "settings": {"provider": "local", "memoryMB": 512}}
    assert place.trpc("sandbox.updateSettings", local)["settings"]["memoryMB"] == 512
    assert place.trpc("sandbox.setEnabled", {"repoId": repo_id, "enabled": True})["enabled"]
    for procedure in ("updateSettings", "setEnabled", "setApiKey", "deleteApiKey"):
        asked = {**key, "enabled": True, "settings": {}}  # type: ignore[dict-item]
        assert place.trpc(f"sandbox.{procedure}", asked, who="bob") == "NOT_FOUND"


def test_rest_of_the_contract(place: Place) -> None:
    base = f"/api/sandbox/{place.repo_id}"
    status = place.curl("GET", f"{base}/status").json
    assert status["ready"] and status["enabled"] and status["provider"] == "local", status
    assert place.curl("GET", f"{base}/status", who="").status == 401
    nowhere = base.replace(place.repo_id, str(UUID(int=0)))
    hidden, missing = (place.curl("GET", f"{one}/status", who="bob") for one in (base, nowhere))
    assert (hidden.status, hidden.json["error"]) == (404, missing.json["error"])
    assert place.curl("POST", f"{base}/exec", {"command": "true"}, who="").status == 401
    assert place.curl("POST", f"{base}/exec", {"command": "true"}, who="bob").status == 404
    assert place.curl("POST", f"{base}/exec", {"command": "true"}, who="weak").status == 403
    asked = {"command": "printf", "args": ["%s|", "a b", "$(id)"]}
    first, second = (place.curl("POST", f"{base}/exec", asked).json for _ in range(2))
    assert first == {
        "success": True, "exitCode": 0, "stdout": "a b|$(id)|", "stderr": "", "pooled": False,
    }  # fmt: skip
    assert second["pooled"]
    line = place.curl("POST", f"{base}/exec", {"command": "echo a; echo b"}).json
    assert (line["success"], line["exitCode"]) == (False, 127), "no shell reads it"
    slow = place.curl("POST", f"{base}/exec", {"command": "sleep", "args": ["60"], "timeout": 1000})
    assert (slow.json["success"], "too long" in slow.json["error"]) == (False, True)
    for wrong in (
        {},
        {"command": ""},
        {"command": "x", "timeout": 1},
        {"command": "x", "args": "y"},
    ):
        assert place.curl("POST", f"{base}/exec", wrong).status == 400
    assert place.curl("GET", f"{base}/sessions").json == {"sessions": []}
    stats = place.curl("GET", "/api/sandbox/pool/stats").json
    assert stats == {
        "totalSandboxes": 1, "activeSandboxes": 1, "idleSandboxes": 0, "keyCount": 1,
        "keys": [f"local:{place.repo_id}"],
    }  # fmt: skip
    assert place.curl("GET", "/api/sandbox/pool/stats", who="bob").json["keys"] == []
    assert place.curl("DELETE", f"{base}/pool", who="bob").status == 404
    assert place.curl("DELETE", f"{base}/pool").json["removed"] == 1
    assert place.trpc("sandbox.myActiveSessions", None, query=True) == []
    of_repo = {"repoId": place.repo_id}
    assert place.trpc("sandbox.listSessions", of_repo, query=True) == []


def test_the_real_trpc_client(place: Place, sandbox: str) -> None:
    outcomes = run_client(
        place.site.daemon.url().rstrip("/"), "sandboxes", place.tokens["alice"], sandbox
    )
    got, ran, streamed, lost, none = outcomes
    assert dict(got["ok"][1])["createdAt"][0] == "Date"
    assert dict(ran["ok"][1])["stdout"] == ["plain", "hello world"]
    assert streamed == ["started", "stdout", "exit"]
    assert lost["data"]["code"] == "CONFLICT"
    assert none["error"]["data"]["code"] == "NOT_FOUND"


def _events(answer: Answer) -> list[Any]:
    blocks = answer.body.decode().split("\n\n")
    lines = [line for block in blocks for line in block.split("\n") if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]
