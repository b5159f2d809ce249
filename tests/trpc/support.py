"""The tRPC door on a loopback port, and Node programs beside it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import attrs

from tests.support.wire import Http
from tests.web.harness import Online
from wit.access.actor import Actor, Origin
from wit.config import Config
from wit.errors import Forbidden, Unauthorized
from wit.runtime import Runtime
from wit.trpc.door import TrpcDoor
from wit.web.middleware.caller import Callers

from .procedures import SECRET, Gate, registry

NODE = Path(__file__).parent.parent / "real" / "node"

ADA = Actor("1", "ada", Origin.TOKEN, scopes=frozenset({"user:read"}))
WEAK = Actor("1", "ada", Origin.TOKEN, scopes=frozenset({"repo:read"}))
BROWSING = Actor("1", "ada", Origin.SESSION)


class Credentials:
    async def bearer(self, token: str) -> Actor:
        match token:
            case "good":
                return ADA
            case "weak":
                return WEAK
            case "suspended":
                raise Forbidden("this account is suspended: spam")
            case "breaks":
                raise RuntimeError(SECRET)
        raise Unauthorized("this token is wrong or has expired")

    async def session_cookie(self, value: str) -> Actor | None:
        if value == "suspended.signature":
            raise Forbidden("this account is suspended: spam")
        return BROWSING if value == "good.signa/ture=" else None


def make_door(runtime: Runtime, config: Config, gate: Gate) -> TrpcDoor:
    core: Any = SimpleNamespace(runtime=runtime, config=config)
    return TrpcDoor(registry(gate), core, Callers(Credentials(), config))


@attrs.frozen
class Reply:
    status: int
    headers: dict[str, str]
    body: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def shape(self) -> Any:
        """Of the error."""
        return self.json["error"]["json"]


def raw(port: int, data: bytes) -> Reply:
    """One request, byte by byte as given, on a connection of its own."""
    with Http(port) as http:
        answer = http.send(data).answer()
    return Reply(answer.status, dict(answer.headers), answer.body.decode())


def ask(
    port: int,
    method: str,
    target: str,
    body: str | bytes | None = None,
    **headers: str,
) -> Reply:
    """``headers``: names with underscores; a body is JSON unless they say otherwise."""
    fields = {"Host": "wit.example"}
    data = body.encode() if isinstance(body, str) else body or b""
    if body is not None:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value)
    return raw(port, f"{method} /trpc/{target} HTTP/1.1\r\n{lines}\r\n".encode() + data)


def get(port: int, path: str, value: Any = None, /, **headers: str) -> Reply:
    """A query with the plain JSON ``value`` as its input."""
    query = "" if value is None else "?input=" + quote(json.dumps({"json": value}))
    return ask(port, "GET", path + query, **headers)


def post(port: int, path: str, value: Any, /, **headers: str) -> Reply:
    return ask(port, "POST", path, json.dumps({"json": value}), **headers)


def run_client(site: Online | str, scenario: str, token: str = "", *more: str) -> Any:
    """What the real @trpc/client saw."""
    url = site if isinstance(site, str) else site.url
    done = subprocess.run(
        ["node", str(NODE / "trpc_client.mjs"), url, token, scenario, *more],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
