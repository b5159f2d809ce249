"""An SSH server with stand-ins for users and repositories, and the programs that talk to it."""

from __future__ import annotations

import os
import shlex
import subprocess
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.internet.defer import Deferred

from wit.access.actor import Actor, Origin
from wit.config import Config, Server, Ssh
from wit.errors import Forbidden, NotFound
from wit.git.command import Invocation
from wit.git.process import spawn
from wit.metrics import Metrics
from wit.repositories.traffic import RequestInfo, Service
from wit.runtime import Runtime
from wit.ssh.service import SshService
from wit.streams import ByteSink, ByteSource, copy

GIT = "/usr/bin/git"


def blob_of(public_key: Path) -> bytes:
    return b64decode(public_key.read_text().split()[1])


def make_key(folder: Path, name: str, kind: str = "ed25519", *options: str) -> Path:
    path = folder / name
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(path), *options], check=True
    )
    return path


class StandInOwners:
    """Users by the blob of their key."""

    def __init__(self) -> None:
        self.owners: dict[bytes, str] = {}
        self.suspended: dict[str, str] = {}
        self.asked: list[bytes] = []
        self.used: list[str] = []

    async def ssh_key(self, blob: bytes) -> Actor | None:
        self.asked.append(blob)
        name = self.owners.get(blob)
        if name is None:
            return None
        if name in self.suspended:
            raise Forbidden(f"this account is suspended: {self.suspended[name]}")
        return Actor(f"id-{name}", name, Origin.SSH_KEY, credential_id=f"key-{name}")

    def ssh_key_used(self, actor: Actor) -> None:
        self.used.append(actor.username)


@attrs.define
class StandInSession:
    """One git process, connected to the channel."""

    runtime: Runtime
    service: Service
    path: Path
    traffic: StandInTraffic

    async def serve_session(self, protocol: int, source: ByteSource, sink: ByteSink) -> None:
        self.traffic.protocols.append(protocol)
        arguments = (GIT, self.service.value.removeprefix("git-"), str(self.path))
        environment = {
            **os.environ,
            "GIT_PROTOCOL": f"version={protocol}",
        }
        async with spawn(self.runtime, Invocation(arguments, environment)) as child:
            self.traffic.pids.append(child.pid)

            async def feed() -> None:
                await copy(source, child.stdin)
                child.stdin.close()

            feeding: Deferred[None] = Deferred.fromCoroutine(feed())
            feeding.addErrback(lambda _: None)
            try:
                await copy(child.stdout, sink)
            finally:
                feeding.cancel()
            await child.wait()


@attrs.define
class StandInTraffic:
    """Repositories in a folder: ``OWNER/REPO.git``."""

    runtime: Runtime
    folder: Path
    opened: list[tuple[Actor, str, Service, RequestInfo]] = attrs.Factory(list)
    protocols: list[int] = attrs.Factory(list)
    pids: list[int] = attrs.Factory(list)
    session: Callable[[ByteSource, ByteSink], Any] | None = None

    async def open(self, actor: Actor, path: str, service: Service, request: RequestInfo) -> Any:
        self.opened.append((actor, path, service, request))
        if self.session is not None:
            return _Custom(self.session)
        full = self.folder / path.strip("/")
        if not full.is_dir():
            raise NotFound("repository not found")
        return StandInSession(self.runtime, service, full, self)


@attrs.define
class _Custom:
    work: Callable[[ByteSource, ByteSink], Any]

    async def serve_session(self, protocol: int, source: ByteSource, sink: ByteSink) -> None:
        await self.work(source, sink)


@attrs.define
class SshServer:
    """A running SshService, and how to reach it."""

    service: SshService
    owners: StandInOwners
    traffic: StandInTraffic
    metrics: Metrics
    keys: Path
    config: Config
    home: Path

    @property
    def port(self) -> int:
        return int(self.service.addresses[0].rpartition(":")[2])

    def ssh_words(
        self, key: str | Path = "alice", *options: str, level: str = "ERROR"
    ) -> list[str]:
        """``key`` is a file, or the name of one of the users."""
        return [
            "ssh",
            "-F",
            "/dev/null",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            f"UserKnownHostsFile={self.home / 'known_hosts'}",
            "-o",
            "IdentitiesOnly=yes",
            "-o",
            "IdentityAgent=none",
            "-o",
            f"LogLevel={level}",
            "-i",
            str(self.keys / key),
            "-p",
            str(self.port),
            *options,
        ]

    def ssh(
        self,
        *command: str,
        key: str | Path = "alice",
        user: str = "git",
        options: tuple[str, ...] = (),
        level: str = "ERROR",
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self.ssh_words(key, *options, level=level), f"{user}@127.0.0.1", *command],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )

    def git(
        self, *arguments: str, key: str = "alice", version: int = 2, options: tuple[str, ...] = ()
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [GIT, "-c", f"protocol.version={version}", *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "GIT_SSH_COMMAND": shlex.join(self.ssh_words(key, *options))},
        )

    def url(self, path: str) -> str:
        return f"ssh://git@127.0.0.1:{self.port}/{path}"


def make_config(data_dir: Path, **settings: Any) -> Config:
    settings.setdefault("listen", ("tcp:0:interface=127.0.0.1",))
    return Config(data_dir, server=Server(grace_seconds=5.0), ssh=Ssh(**settings))


def make_repository(path: Path, files: dict[str, bytes]) -> None:
    """A bare repository with one commit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([GIT, "init", "-q", "--bare", str(path)], check=True)
    lines = [b"commit refs/heads/main\ncommitter T <t@example.org> 0 +0000\ndata 1\nx\n"]
    for name, content in files.items():
        lines.append(b"M 644 inline %b\ndata %d\n%b\n" % (name.encode(), len(content), content))
    subprocess.run(
        [GIT, "--git-dir", str(path), "fast-import", "--quiet"], input=b"".join(lines), check=True
    )
