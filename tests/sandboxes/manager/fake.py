"""A provider whose engine is a dictionary: it outlives daemons, and tests can break it anywhere.

Commands are real processes of this machine, without walls, in a folder that stands for /workspace.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from io import BytesIO
from pathlib import Path

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory

from wit.errors import Unavailable
from wit.git.command import Invocation
from wit.git.process import Child, spawn, within
from wit.runtime import Runtime
from wit.sandboxes.provider import (
    WORKSPACE,
    Channel,
    Command,
    Exit,
    Features,
    FileEntry,
    Found,
    Network,
    Output,
    ProviderContext,
    Readiness,
    SandboxLost,
    SandboxSpec,
    Signal,
    State,
    TerminalSize,
    Usage,
)
from wit.streams import ByteSource, BytesSource


@attrs.define
class Box:
    spec: SandboxSpec
    folder: Path
    state: State = State.RUNNING
    ends_in: int = 0
    ports: dict[int, IProtocolFactory] = attrs.field(factory=dict)


_STANDING_STILL: list[Deferred[None]] = []
"""Kept, because nobody cleans up after a process that was killed, not even Python."""

FEATURES = Features(pause=True, survives_restart=True, networks=frozenset(Network), images=True)


@attrs.define
class Engine:
    """What stays when a daemon dies."""

    folder: Path
    features: Features = FEATURES
    boxes: dict[str, Box] = attrs.field(factory=dict)
    down: str = ""
    """Why it does not answer."""
    stops_at: str = ""
    """A step ("create:before") at which nothing goes on any more, as when the daemon is killed."""
    fails_at: str = ""
    """A step that fails."""
    steps: list[str] = attrs.field(factory=list)
    stopped: int = 0

    def provider(self, context: ProviderContext) -> FakeProvider:
        return FakeProvider(self, context)

    async def step(self, name: str) -> None:
        self.steps.append(name)
        if self.down:
            raise Unavailable(self.down)
        if name == self.fails_at:
            raise Unavailable(f"{name} failed")
        if name == self.stops_at:
            self.stopped += 1
            _STANDING_STILL.append(Deferred())
            await _STANDING_STILL[-1]

    def lose(self, ref: str) -> None:
        shutil.rmtree(self.boxes.pop(ref).folder)


class FakeProvider:
    name = "fake"

    def __init__(self, engine: Engine, context: ProviderContext) -> None:
        self.engine = engine
        self.context = context
        self.features = engine.features
        self.keys: dict[str, str] = {}

    async def start(self) -> None:
        return None

    async def stop(self) -> None:
        return None

    async def probe(self) -> Readiness:
        return Readiness(not self.engine.down, self.engine.down)

    async def create(self, spec: SandboxSpec) -> str:
        await self.engine.step("create:before")
        ref = f"box-{spec.id}"
        assert ref not in self.engine.boxes
        folder = self.engine.folder / ref
        folder.mkdir()
        self.engine.boxes[ref] = Box(spec, folder, ends_in=spec.seconds)
        await self.engine.step("create:after")
        return ref

    async def destroy(self, ref: str) -> None:
        await self.engine.step("destroy:before")
        if ref in self.engine.boxes:
            self.engine.lose(ref)
        await self.engine.step("destroy:after")

    async def state(self, ref: str) -> State:
        await self.engine.step("state")
        box = self.engine.boxes.get(ref)
        return State.GONE if box is None else box.state

    async def sandboxes(self) -> list[Found]:
        await self.engine.step("sandboxes")
        return [Found(box.spec.id, ref, box.state) for ref, box in self.engine.boxes.items()]

    async def execute(self, ref: str, command: Command) -> FakeExecution:
        await self.engine.step("execute")
        box = self._running(ref)
        cwd = box.folder / command.cwd.removeprefix(WORKSPACE).lstrip("/")
        env = {"PATH": os.environ["PATH"], **box.spec.env, **command.env}
        argv = ("/usr/bin/env", "-C", str(cwd), *command.argv)
        child = spawn(self.context.runtime, Invocation(argv, env))
        return FakeExecution(self, ref, child, command.seconds)

    async def read_file(self, ref: str, path: str, limit: int) -> bytes:
        await self.engine.step("read_file")
        return (self._running(ref).folder / path).read_bytes()

    async def write_file(self, ref: str, path: str, content: bytes, mode: int = 0o644) -> None:
        await self.engine.step("write_file")
        (self._running(ref).folder / path).write_bytes(content)

    async def list_files(self, ref: str, path: str) -> list[FileEntry]:
        await self.engine.step("list_files")
        folder = self._running(ref).folder / path
        return [FileEntry(name, "file", 0, 0o644) for name in sorted(os.listdir(folder))]

    async def remove_file(self, ref: str, path: str) -> None:
        await self.engine.step("remove_file")
        shutil.rmtree(self._running(ref).folder / path)

    async def upload(self, ref: str, path: str, archive: ByteSource) -> None:
        await self.engine.step("upload")
        folder = self._running(ref).folder
        data = b""
        while more := await archive.read():
            data += more
        with tarfile.open(fileobj=BytesIO(data)) as tar:
            tar.extractall(folder, filter="data")

    async def download(self, ref: str, path: str) -> ByteSource:
        await self.engine.step("download")
        self._running(ref)
        return BytesSource(b"one", b"two")

    async def usage(self, ref: str) -> Usage:
        await self.engine.step("usage")
        self._there(ref)
        return Usage(memory_bytes=1)

    async def pause(self, ref: str) -> None:
        await self.engine.step("pause:before")
        self._there(ref).state = State.PAUSED
        await self.engine.step("pause:after")

    async def resume(self, ref: str) -> None:
        await self.engine.step("resume")
        self._there(ref).state = State.RUNNING

    async def extend(self, ref: str, seconds: int) -> None:
        await self.engine.step("extend")
        self._there(ref).ends_in = seconds

    def use_key(self, ref: str, key: str) -> None:
        self.keys[ref] = key

    def _there(self, ref: str) -> Box:
        if ref not in self.engine.boxes:
            raise SandboxLost(f"{ref} is gone")
        return self.engine.boxes[ref]

    def _running(self, ref: str) -> Box:
        box = self._there(ref)
        assert box.state is State.RUNNING, "used while it is paused"
        return box


class ServingProvider(FakeProvider):
    """One that serves ports inside."""

    async def provide_port(self, ref: str, port: int, factory: IProtocolFactory) -> None:
        self._there(ref).ports[port] = factory


class FakeExecution:
    """The end of standard error comes last, which is enough here."""

    def __init__(
        self, provider: FakeProvider, ref: str, child: Child, seconds: float | None
    ) -> None:
        self.id = str(child.pid)
        self._provider = provider
        self._ref = ref
        self._child = child
        self._told = False
        self._reason: str | None = None
        reactor = provider.context.runtime.reactor
        self._timer = None if seconds is None else reactor.callLater(seconds, self._too_long)

    async def read(self) -> Output | None:
        data = await self._child.stdout.read()
        if data:
            return Output(Channel.STDOUT, data[: 64 * 1024])
        await self._child.wait()
        if self._told or not self._child.stderr_tail:
            return None
        self._told = True
        return Output(Channel.STDERR, self._child.stderr_tail)

    async def write(self, data: bytes) -> None:
        await self._child.stdin.write(data)

    async def end_input(self) -> None:
        self._child.stdin.close()

    async def resize(self, size: TerminalSize) -> None:
        return None

    async def signal(self, signal: Signal) -> None:
        self._child.kill()

    async def wait(self) -> Exit:
        code = await self._child.wait()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._ref not in self._provider.engine.boxes:
            return Exit(255, reason="lost")
        return Exit(code if code >= 0 else 128 - code, reason=self._reason)

    async def close(self) -> None:
        await self._child.close()

    def _too_long(self) -> None:
        self._reason = "timeout"
        self._child.kill()


async def finish(runtime: Runtime, execution: object, seconds: float = 20.0) -> tuple[int, str]:
    """Exit code and everything that was written."""

    async def work() -> tuple[int, str]:
        said = b""
        while output := await execution.read():  # type: ignore[attr-defined]
            said += output.data
        how = await execution.wait()  # type: ignore[attr-defined]
        await execution.close()  # type: ignore[attr-defined]
        return how.code, said.decode()

    return await within(runtime, seconds, work())
