"""A process with wit's sandboxes in it, for bench/sandboxes.py: ``... FOLDER [DOCKER_HOST]``.

It reads one request a line, as JSON ``{"do": NAME, ...}``, and answers each with a line of JSON:
``{"ok": NUMBER}`` or ``{"error": WORDS}``. ``way`` in a request is ``manager`` (with the database,
as the daemon does it), ``local`` or ``docker`` (the providers alone).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import attrs
from twisted.internet import reactor, stdio
from twisted.internet.defer import Deferred, gatherResults
from twisted.protocols.basic import LineOnlyReceiver

from wit.access.actor import Actor, Origin
from wit.config import Config, Sandboxes
from wit.core import Core
from wit.runtime import Runtime
from wit.sandboxes.docker.provider import DockerProvider
from wit.sandboxes.local.provider import LocalProvider
from wit.sandboxes.manager import NewSandbox
from wit.sandboxes.provider import (
    Command,
    Execution,
    ProviderContext,
    SandboxProvider,
    SandboxSpec,
)

WORDS = "hi"
IMAGE = "wit-sandbox:test"


class Way(Protocol):
    """How sandboxes are had."""

    async def create(self) -> str: ...

    async def execute(self, ref: str, command: Command) -> Execution: ...

    async def destroy(self, ref: str) -> None: ...


@attrs.frozen
class Managed:
    core: Core
    actor: Actor

    async def create(self) -> str:
        return (await self.core.sandboxes.create(self.actor, NewSandbox())).id

    async def execute(self, ref: str, command: Command) -> Execution:
        return await self.core.sandboxes.execute(self.actor, ref, command)

    async def destroy(self, ref: str) -> None:
        await self.core.sandboxes.destroy(self.actor, ref)


@attrs.frozen
class Plain:
    provider: SandboxProvider

    async def create(self) -> str:
        return await self.provider.create(SandboxSpec(os.urandom(16).hex()))

    async def execute(self, ref: str, command: Command) -> Execution:
        return await self.provider.execute(ref, command)

    async def destroy(self, ref: str) -> None:
        await self.provider.destroy(ref)


class Driver:
    def __init__(self, runtime: Runtime, folder: Path, docker_host: str | None) -> None:
        self._runtime = runtime
        self._folder = folder
        self._docker_host = docker_host
        self._ways: dict[str, Way] = {}
        self._running: dict[str, str] = {}
        """The sandbox in which commands are run again and again, by way."""

    async def start(self) -> None:
        core = Core(
            Config(
                data_dir=self._folder / "data",
                sandboxes=Sandboxes(provider="local", max_per_user=1000, max_total=1000),
            ),
            self._runtime,
        )
        await core.open()
        await core.sandbox_service.start()
        user = await core.users.create("bench", "bench@example.org", role="admin")
        actor = Actor(user["id"], "bench", Origin.SESSION, is_admin=True)
        self._ways["manager"] = Managed(core, actor)
        local = LocalProvider(self._context("local"))
        await local.start()
        self._ways["local"] = Plain(local)
        if self._docker_host:
            values = {"host": self._docker_host, "image": IMAGE}
            docker = DockerProvider(self._context("docker", **values))
            await docker.start()
            self._ways["docker"] = Plain(docker)

    def _context(self, name: str, **settings: str) -> ProviderContext:
        return ProviderContext(self._runtime, self._folder / name, self._folder.name, settings)

    async def stop(self) -> None:
        for name, ref in self._running.items():
            await self._ways[name].destroy(ref)
        for way in self._ways.values():
            if isinstance(way, Plain):
                await way.provider.stop()
            elif isinstance(way, Managed):
                await way.core.sandbox_service.stop()
                await way.core.close()

    async def create(self, way: str) -> float:
        """Seconds until the first output of the first command in a new sandbox."""
        one = self._ways[way]
        began = self._runtime.reactor.seconds()
        ref = await one.create()
        took = await self._first_output(one, ref, began)
        await one.destroy(ref)
        return took

    async def exec(self, way: str) -> float:
        """Seconds until the first output of a command in a sandbox that runs."""
        one = self._ways[way]
        if way not in self._running:
            self._running[way] = await one.create()
        return await self._first_output(one, self._running[way], self._runtime.reactor.seconds())

    async def sequence(self, way: str, count: int) -> float:
        """Sandboxes made, used and removed one after another; seconds in all."""
        began = self._runtime.reactor.seconds()
        for _ in range(count):
            await self.create(way)
        return float(self._runtime.reactor.seconds() - began)

    async def at_once(self, way: str, count: int) -> float:
        """Sandboxes that are asked for at once; seconds until all have said something."""
        one = self._ways[way]
        refs: list[str] = []

        async def make() -> float:
            refs.append(ref := await one.create())
            return await self._first_output(one, ref, began)

        began = self._runtime.reactor.seconds()
        try:
            took = await gatherResults([Deferred.fromCoroutine(make()) for _ in range(count)])
        finally:
            await gatherResults([Deferred.fromCoroutine(one.destroy(ref)) for ref in refs])
        return max(took)

    async def _first_output(self, way: Way, ref: str, began: float) -> float:
        execution = await way.execute(ref, Command(["echo", WORDS]))
        try:
            output = await execution.read()
            took = self._runtime.reactor.seconds() - began
        finally:
            await execution.close()
        if output is None or output.data != f"{WORDS}\n".encode():
            raise RuntimeError(f"the command said {output}")
        return float(took)


class Requests(LineOnlyReceiver):
    delimiter = b"\n"

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    def lineReceived(self, line: bytes) -> None:
        request = json.loads(line)
        work: Callable[..., Awaitable[float]] = getattr(self._driver, request.pop("do"))
        Deferred.fromCoroutine(self._answer(work, request))

    async def _answer(self, work: Callable[..., Awaitable[float]], request: dict[str, Any]) -> None:
        try:
            answer: dict[str, Any] = {"ok": await work(**request)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        assert self.transport is not None
        self.transport.write(json.dumps(answer).encode() + b"\n")

    def connectionLost(self, reason: object = None) -> None:
        stopping = Deferred.fromCoroutine(self._driver.stop())
        stopping.addBoth(lambda _: reactor.stop())  # type: ignore[attr-defined]


def main() -> None:
    folder, host = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None
    driver = Driver(Runtime(reactor), folder, host)
    stdio.StandardIO(Requests(driver))
    reactor.callWhenRunning(begin, driver)  # type: ignore[attr-defined]
    reactor.run()  # type: ignore[attr-defined]


def begin(driver: Driver) -> None:
    """Start it, and say so."""

    def told(result: object) -> None:
        print(json.dumps({"ok": 0} if result is None else {"error": str(result)}), flush=True)

    Deferred.fromCoroutine(driver.start()).addBoth(told)


if __name__ == "__main__":
    main()
