"""One sandbox's container: running commands in it, and ending them with all that they started."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.logger import Logger

from wit.errors import Conflict, Invalid, NotFound, TooLarge, Unavailable
from wit.runtime import Runtime
from wit.sandboxes.docker import paths, scripts
from wit.sandboxes.docker.creation import MEMORY, Labels, settings_label
from wit.sandboxes.docker.engine import Engine, Refused
from wit.sandboxes.docker.execution import DockerExecution, Instance, resize
from wit.sandboxes.docker.hijack import ExecStream
from wit.sandboxes.docker.scripts import Started
from wit.sandboxes.provider import (
    Channel,
    Command,
    Exit,
    Output,
    SandboxLost,
    Signal,
    State,
    TerminalSize,
)
from wit.streams import ByteSource, BytesSource, StreamClosed

KILL_SECONDS = 10.0
MORE_PROCESSES = 64
"""What a full sandbox gets on top, for as long as it takes to end a command in it."""
IDLE_PROCESSES = 2
"""Of a sandbox in which no command runs: the engine's init, and what keeps the container up."""
MAX_STDERR = 16 * 1024
MAX_LINE = 1024
MAX_BEFORE = 64
"""Pieces of error output that may come before the first line of output, which is ours."""
# The engine takes a sequence of keys for "detach", and swallows it. The default begins with ^P.
DETACH_KEYS = "ctrl-@,ctrl-[,ctrl-@"

# What engines say when their runtime cannot fork in the sandbox.
_NO_ROOM = ("temporarily unavailable", "fork", "unable to start container process", "init-p")

LOST = "the sandbox is gone from the container engine, with its files"


@attrs.frozen
class Answer:
    """What a script of ours said."""

    stdout: bytes
    stderr: str
    exit: Exit

    @property
    def code(self) -> int:
        return self.exit.code


@attrs.frozen
class Container:
    """``name`` is that of the container and of its volume."""

    runtime: Runtime
    engine: Engine
    name: str
    user: str
    """As whom commands run, ``uid:gid``."""
    live: dict[str, set[DockerExecution]]
    """Commands that run now, by container; shared by all containers of a provider."""

    log = Logger()

    @property
    def path(self) -> str:
        return f"/containers/{self.name}"

    # the container

    async def inspect(self) -> Any:
        """What the engine knows of it. Raises SandboxLost, Unavailable."""
        return await self.call("GET", f"{self.path}/json")

    async def call(self, method: str, path: str, *arguments: Any, **named: Any) -> Any:
        """Ask the engine something about this container. Raises SandboxLost, Unavailable."""
        try:
            return await self.engine.call(method, path, *arguments, **named)
        except Refused as refused:
            if refused.status == 404:
                raise SandboxLost(LOST) from None
            raise

    async def state(self) -> State:
        try:
            found = await self.inspect()
        except SandboxLost:
            return State.GONE
        return state_of(str(found["State"]["Status"]), found["Config"]["Labels"] or {})

    async def runs(self) -> bool:
        return await self.state() is State.RUNNING

    async def wake(self) -> None:
        """Start it again if it was stopped, with the files that it had: an engine stops containers
        when it stops. Raises SandboxLost if the files are gone, Conflict for a paused one.
        """
        found = await self.inspect()
        status = str(found["State"]["Status"])
        if status == "running":
            return
        if status == "paused":
            raise Conflict("the sandbox is paused: resume it first")
        if state_of(status, found["Config"]["Labels"] or {}) is State.GONE:
            raise SandboxLost("the sandbox was stopped, and its files went with it")
        # An engine silently makes an empty volume if one is missing; that one has no labels.
        try:
            volume = await self.engine.call("GET", f"/volumes/{self.name}")
        except Refused as refused:
            if refused.status != 404:
                raise
            volume = {}
        if Labels.SANDBOX not in (volume.get("Labels") or {}):
            raise SandboxLost("the sandbox's files are gone from the container engine")
        await self.call("POST", f"{self.path}/start")
        self.log.info("started {name} again, which had been stopped", name=self.name)

    # commands

    async def execute(
        self, command: Command, *, sweep: bool = True, wake: bool = True
    ) -> DockerExecution:
        """See SandboxProvider.execute; ``sweep``: it may leave something in the background;
        ``wake``: start the container again if it was stopped.

        Raises Invalid, NotFound (no such folder), SandboxLost, Conflict (paused), Unavailable.
        """
        mark = self.runtime.random_bytes(8).hex()
        body = exec_body(command, self.user, mark)
        exec_id = await self._made(body, wake)
        terminal = command.terminal is not None
        stream = await self.engine.hijack(
            f"/exec/{exec_id}/start", {"Detach": False, "Tty": terminal}, terminal
        )
        try:
            started = await _started(stream, command.cwd)
            if command.terminal is not None and not started.sized:
                await resize(self.engine, exec_id, command.terminal)
        except BaseException:
            stream.abort()
            raise
        instance = Instance(exec_id, mark, stream, started, command, sweep)
        execution = DockerExecution(self, instance)
        self.live.setdefault(self.name, set()).add(execution)
        return execution

    async def _made(self, body: dict[str, Any], wake: bool) -> str:
        for attempt in (1, 2):
            try:
                made = await self.call("POST", f"{self.path}/exec", body=body)
                return str(made["Id"])
            except Refused as refused:
                if refused.status != 409 or attempt == 2 or not wake:
                    raise
            await self.wake()
        raise AssertionError

    def over(self, execution: DockerExecution) -> None:
        running = self.live.get(self.name, set())
        running.discard(execution)
        if not running:
            self.live.pop(self.name, None)

    async def run(
        self,
        argv: list[str],
        stdin: bytes | ByteSource = b"",
        limit: int = 1024 * 1024,
        seconds: float = 300.0,
    ) -> Answer:
        """Run a script of ours to its end. Raises TooLarge for more output than ``limit``; what
        ``stdin`` raises; and what execute does.
        """
        execution = await self.execute(Command(argv, "/", seconds=seconds), sweep=False)
        try:
            await _feed(execution, stdin)
            stdout, stderr = await _collect(execution, limit)
            how = await execution.wait()
        finally:
            await execution.close()
        if how.reason == "lost":
            raise SandboxLost("the sandbox ended in the middle")
        return Answer(stdout, stderr.decode("utf-8", "replace").strip(), how)

    # ending them

    async def kill(self, signal: Signal, started: Started, mark: str) -> None:
        argv = scripts.kill(signal.value, started.pid, mark)
        try:
            if await self._signalled(argv):
                return
        except (Refused, TooLarge) as refused:
            self.log.info("{name} is full: {error}", name=self.name, error=refused.message)
        if signal is not Signal.KILL:
            raise Unavailable("the sandbox has no room for one more process, not even to signal")
        if not await self._signalled_with_more_room(argv):
            await self._stop_everything()

    async def _stop_everything(self) -> None:
        """When something forks faster than it can be killed. Files in a volume stay; a sandbox that
        has its files in memory is lost, and will be said to be."""
        self.log.warn("stopping all that runs in {name}", name=self.name)
        await self.call("POST", f"{self.path}/stop", {"t": "0"})
        await self.wake()

    async def _signalled(self, argv: list[str]) -> bool:
        """Run one of the scripts that end executions; not itself as one of them."""
        body = {"Cmd": argv, "User": self.user, "AttachStdout": True, "AttachStderr": True}
        made = await self.call("POST", f"{self.path}/exec", body=body)
        path = f"/exec/{made['Id']}/start"
        stream = await self.engine.hijack(path, {"Detach": False, "Tty": False}, False)
        timer = self.runtime.reactor.callLater(KILL_SECONDS, stream.abort)
        said = b""
        try:
            while scripts.DONE not in said and (output := await stream.read()):
                said = (said + output.data)[-MAX_LINE:]
        finally:
            if timer.active():
                timer.cancel()
            stream.abort()
        return scripts.DONE in said

    async def _signalled_with_more_room(self, argv: list[str]) -> bool:
        limit = int((await self.inspect())["HostConfig"]["PidsLimit"])
        try:
            await self._allow(limit + MORE_PROCESSES)
        except Refused:
            # Podman 4 cannot change limits.
            return False
        try:
            return await self._signalled(argv)
        except Refused:
            return False
        finally:
            await self._allow(limit)

    async def _allow(self, processes: int) -> None:
        await self.engine.call("POST", f"{self.path}/update", body={"PidsLimit": processes})

    async def sweep(self, started: Started, mark: str) -> None:
        """Cheap when nothing is left, as nearly always."""
        others = len(self.live.get(self.name, ())) - 1
        if others or len(await self._processes()) > IDLE_PROCESSES:
            await self.kill(Signal.KILL, started, mark)

    async def has(self, exec_id: str) -> bool:
        found = await self.call("GET", f"/exec/{exec_id}/json")
        return not found.get("Pid") or int(found["Pid"]) in await self._processes()

    async def _processes(self) -> list[int]:
        """In the engine's own numbers, as exec instances have them."""
        # Docker runs ps with this; Podman knows the names of columns.
        options = "hpid" if await self.engine.is_podman() else "-o pid"
        found = await self.call("GET", f"{self.path}/top", {"ps_args": options})
        return [int(row[0]) for row in found["Processes"]]

    async def kills(self) -> int:
        execution = await self.execute(
            Command(["true"], "/", seconds=KILL_SECONDS), sweep=False, wake=False
        )
        try:
            await execution.wait()
            return execution.started.kills
        finally:
            await execution.close()

    async def statistics(self) -> dict[str, Any]:
        """The engine's figures. Docker takes up to a second. Raises SandboxLost, Unavailable."""
        query = {"stream": "false", "one-shot": "true"}
        found = await self.call("GET", f"{self.path}/stats", query)
        return found if isinstance(found, dict) else {}


def state_of(status: str, labels: dict[str, str]) -> State:
    """Stopped is as good as paused if the files are in a volume: it can be started again."""
    if status == "running":
        return State.RUNNING
    if status in ("paused", "pausing"):
        return State.PAUSED
    stopped = status in ("exited", "stopped", "restarting", "stopping")
    return State.PAUSED if stopped and settings_label(labels) != MEMORY else State.GONE


def exec_body(command: Command, user: str, mark: str) -> dict[str, Any]:
    """What ``POST /containers/ID/exec`` is given. Raises Invalid."""
    if not command.argv or not command.argv[0]:
        raise Invalid("a command needs at least the name of a program")
    env = {**({"TERM": "xterm-256color"} if command.terminal else {}), **command.env}
    for name in env:
        if not name or "=" in name:
            raise Invalid(f"{name!r} cannot be the name of a variable")
    for text in (*command.argv, command.cwd, *env, *env.values()):
        if "\0" in text or not _is_text(text):
            raise Invalid("a command is made of text without zero bytes")
    size = command.terminal or TerminalSize(0, 0)
    cwd = paths.absolute(command.cwd)
    terminal = command.terminal is not None
    return {
        "AttachStdin": True,
        "AttachStdout": True,
        "AttachStderr": True,
        "Tty": terminal,
        "User": user,
        "WorkingDir": "/",
        "Env": [*(f"{name}={value}" for name, value in env.items()), f"{scripts.MARK}={mark}"],
        "Cmd": scripts.start(cwd, size.rows, size.columns, command.argv),
        **({"DetachKeys": DETACH_KEYS} if terminal else {}),
    }


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


async def _started(stream: ExecStream, cwd: str) -> Started:
    """Read the first line, which is ours. Raises NotFound, Invalid, Unavailable."""
    before: list[Output] = []
    """What came on the other channel meanwhile: the two are carried side by side."""
    line = b""
    while output := await stream.read():
        if output.channel is Channel.STDERR and len(before) < MAX_BEFORE:
            before.append(output)
            continue
        line, end, rest = (line + output.data).partition(b"\n")
        line += end
        if found := scripts.started(line):
            for earlier in (Output(Channel.STDOUT, rest), *reversed(before)):
                stream.unread(earlier)
            return found
        if end or len(line) > MAX_LINE:
            break
    seen = line + b"".join(output.data for output in before)
    if scripts.NO_FOLDER in seen:
        raise NotFound(f"there is no folder {cwd} in the sandbox")
    text = seen.decode("utf-8", "replace").strip()[:300]
    if not text:
        raise Unavailable("the command was ended before it began")
    if "/bin/sh" in text and "no such file" in text:
        raise Invalid("the sandbox's image has no /bin/sh, which wit needs")
    if any(sign in text for sign in _NO_ROOM):
        raise Unavailable("the sandbox has no room for one more process: end some of them")
    if "too long" in text:
        raise Invalid("the command is too long: arguments and environment share 128 KiB")
    raise Unavailable(f"the container engine could not start the command: {text}")


async def _feed(execution: DockerExecution, stdin: bytes | ByteSource) -> None:
    """Raises what ``stdin`` raises. A command that reads no more has its reason: its exit code."""
    source = BytesSource(stdin) if isinstance(stdin, bytes) else stdin
    while data := await source.read():
        try:
            await execution.write(data)
        except StreamClosed:
            return
    await execution.end_input()


async def _collect(execution: DockerExecution, limit: int) -> tuple[bytes, bytes]:
    stdout, stderr = bytearray(), bytearray()
    while output := await execution.read():
        if output.channel is Channel.STDERR:
            stderr += output.data[: MAX_STDERR - len(stderr)]
        elif len(stdout) + len(output.data) > limit:
            raise TooLarge(f"the answer has more than {limit} bytes")
        else:
            stdout += output.data
    return bytes(stdout), bytes(stderr)
