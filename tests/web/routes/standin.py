"""Stand-ins for the rooms behind the git door: real git, fetched and pushed through threads."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from wit.access.actor import Actor, Origin
from wit.access.gate import SIGN_IN
from wit.errors import Forbidden, NotFound, Unauthorized
from wit.repositories.traffic import RequestInfo, Service
from wit.runtime import Runtime
from wit.streams import ByteSink, ByteSource

ALICE = Actor(user_id="1", username="alice", origin=Origin.TOKEN, scopes=frozenset({"repo:write"}))
ROOT = Actor(user_id="2", username="root", origin=Origin.PASSWORD, is_admin=True)
PASSWORD = "s3cret:with:colons ü"


class Credentials:
    async def basic(self, username: str, password: str, address: str) -> Actor:
        for actor in (ALICE, ROOT):
            if username == actor.username and password == PASSWORD:
                return actor
        raise Unauthorized("wrong user name, password or token")

    async def bearer(self, token: str) -> Actor:
        if token == "wit_alice":
            return ALICE
        if token == "wit_mallory":
            raise Forbidden("this account is suspended: spam")
        raise Unauthorized("this token is wrong or has expired")


class Traffic:
    """``public/tools`` may be read by everybody and written by alice; nothing else exists."""

    def __init__(self, runtime: Runtime, repository: Path) -> None:
        self.runtime = runtime
        self.repository = repository
        self.opened: list[tuple[str, str, Service, RequestInfo]] = []

    async def open(self, actor: Actor, path: str, service: Service, request: RequestInfo) -> Any:
        self.opened.append((actor.username, path, service, request))
        owner, _, name = path.partition("/")
        if owner != "public" or name not in ("tools", "tools.git", "tools.wit"):
            raise Unauthorized(SIGN_IN) if actor.anonymous else NotFound("repository not found")
        if service is Service.RECEIVE_PACK and actor.anonymous:
            raise Unauthorized("sign in")
        return Session(self.runtime, self.repository, service)


class Session:
    def __init__(self, runtime: Runtime, repository: Path, service: Service) -> None:
        self.runtime = runtime
        self.command = [
            "git",
            "upload-pack" if service is Service.UPLOAD_PACK else "receive-pack",
            "--stateless-rpc",
            str(repository),
        ]

    def run(self, protocol: int, body: bytes, *flags: str) -> bytes:
        command = [*self.command[:2], *flags, *self.command[2:]]
        environment = {**os.environ, "GIT_PROTOCOL": f"version={protocol}"}
        return subprocess.run(command, input=body, capture_output=True, env=environment).stdout

    async def advertise(self, protocol: int, sink: ByteSink) -> None:
        out = await self.runtime.in_thread(self.run, protocol, b"", "--http-backend-info-refs")
        await sink.write(out)

    async def serve_request(self, protocol: int, source: ByteSource, sink: ByteSink) -> None:
        body = b""
        while data := await source.read():
            body += data
        out = await self.runtime.in_thread(self.run, protocol, body)
        for start in range(0, len(out), 100_000):
            await sink.write(out[start : start + 100_000])
