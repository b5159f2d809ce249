"""Sandboxes on this machine: bubblewrap, without an engine and without images.

Each sandbox is a disk (:mod:`.disks`), a control group (:mod:`.cgroups`), a user of its own
(:mod:`.identities`) and namespaces (:mod:`.keeper.walls`); each command in it is a bubblewrap of
its own (:mod:`.profile`), with a process id namespace of its own. Disk and record outlive the
daemon; what runs does not, and namespaces are made anew when the sandbox is next used.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from wit.errors import Invalid, TooLarge, Unavailable
from wit.sandboxes.local import transfers
from wit.sandboxes.local.boxes import Box, is_id
from wit.sandboxes.local.checks import check_command, check_environment
from wit.sandboxes.local.execution import LocalExecution
from wit.sandboxes.local.host import Host, look
from wit.sandboxes.local.launching import launch
from wit.sandboxes.local.link import Keeper
from wit.sandboxes.local.paths import in_workspace
from wit.sandboxes.local.settings import Settings
from wit.sandboxes.local.store import Store, lost
from wit.sandboxes.provider import (
    Command,
    Execution,
    Exit,
    Features,
    FileEntry,
    Found,
    Limits,
    Network,
    ProviderContext,
    Readiness,
    SandboxSpec,
    State,
    Usage,
)
from wit.streams import ByteSource

MIB = 1024 * 1024
WATCH_SECONDS = 1.0
"""Between two looks at a sandbox whose disk has no limit of its own."""
PROBE = SandboxSpec(id="0" * 32, limits=Limits(64 * MIB, 1.0, 32, 16 * MIB))
PROBE_SECONDS = 10.0

T = TypeVar("T")

log = Logger()


class LocalProvider:
    """See :class:`wit.sandboxes.provider.SandboxProvider`."""

    name = "local"

    def __init__(self, context: ProviderContext) -> None:
        """Raises ConfigError."""
        self._runtime = context.runtime
        self._instance = context.instance
        self._folder = context.folder
        self._settings = Settings.of(context.settings)
        self._keeper = Keeper(context.runtime)
        self._parts: tuple[Host, Store] | None = None
        self._missing = "they have not been started"
        self._watch: LoopingCall | None = None
        self.features = Features(
            survives_restart=True, networks=frozenset({Network.NONE, Network.RESTRICTED})
        )

    # life

    async def start(self) -> None:
        try:
            host = await self._runtime.in_thread(look, self._folder, self._instance, self._settings)
        except Unavailable as error:
            self._missing = error.message
            return
        store = Store(
            self._runtime, host, self._keeper, self._folder / "boxes", self._settings.allow
        )
        self.features = attrs.evolve(
            self.features,
            pause=host.cgroups.can_freeze,
            survives_restart=host.disks.kind != "memory",
            limited=host.limited,
        )
        await store.start()
        self._parts = host, store
        if host.disks.kind == "folder":
            self._watch = LoopingCall(lambda: Deferred.fromCoroutine(self._look_after_disks(store)))
            self._watch.clock = self._runtime.reactor
            self._watch.start(WATCH_SECONDS, now=False).addErrback(
                lambda failure: log.failure("looking after disks failed", failure)
            )

    async def stop(self) -> None:
        if self._watch is not None and self._watch.running:
            self._watch.stop()
        if self._parts is not None:
            host, store = self._parts
            await store.stop()
            self._parts = None
            await self._keeper.stop()
            await self._runtime.in_thread(host.close)

    async def probe(self) -> Readiness:
        if self._parts is None:
            return Readiness(False, self._missing)
        host, _ = self._parts
        try:
            how, words = await self._try()
        except Unavailable as error:
            return Readiness(False, host.advice(error.message), host.detail)
        if how.code:
            said = words.decode(errors="replace").strip().splitlines() or [f"exit code {how.code}"]
            return Readiness(False, host.advice(said[0]), host.detail)
        return Readiness(True, detail=host.detail)

    async def _try(self) -> tuple[Exit, bytes]:
        """A whole sandbox, and how ``true`` ends in it."""
        spec = attrs.evolve(PROBE, id=self._runtime.random_bytes(16).hex())
        ref = await self.create(spec)
        try:
            execution = await self.execute(ref, Command(["true"], seconds=PROBE_SECONDS))
            words = b""
            while output := await execution.read():
                words += output.data
            how = await execution.wait()
            await execution.close()
        finally:
            await self.destroy(ref)
        return how, words

    # sandboxes

    async def create(self, spec: SandboxSpec) -> str:
        if not is_id(spec.id):
            raise Invalid(f"{spec.id[:80]!r} is not an id of a sandbox")
        if spec.image is not None:
            raise Invalid("the local provider has no images; it runs the programs of this server")
        if spec.network not in self.features.networks:
            raise Invalid(f"the local provider has no network {spec.network}")
        check_environment(spec.env)
        return await _undone_if_cancelled(self._store.make(spec), self.destroy)

    async def destroy(self, ref: str) -> None:
        await self._store.remove(ref)

    async def state(self, ref: str) -> State:
        store = self._store
        if not await store.has(ref):
            return State.GONE
        return State.PAUSED if store.paused(ref) else State.RUNNING

    async def sandboxes(self) -> list[Found]:
        store = self._store
        return [
            Found(ref, ref, State.PAUSED if store.paused(ref) else State.RUNNING)
            for ref, _ in await store.all()
        ]

    async def extend(self, ref: str, seconds: int) -> None:
        if await self.state(ref) is State.GONE:
            raise lost()

    async def pause(self, ref: str) -> None:
        await self._freeze(ref, True)

    async def resume(self, ref: str) -> None:
        await self._freeze(ref, False)

    async def _freeze(self, ref: str, frozen: bool) -> None:
        if not self.features.pause:
            raise Invalid("the local provider cannot pause sandboxes on this server")
        box = await self._store.open(ref)
        await self._runtime.in_thread(box.group.freeze, frozen)
        box.paused = frozen

    async def usage(self, ref: str) -> Usage:
        box = await self._store.open(ref)
        (size, _), _ = await self._keeper.ask("space", {"disk": box.disk}, box.walls)
        limited = self.features.limited
        return Usage(
            memory_bytes=box.group.memory_bytes(),
            memory_limit=box.record.limits.memory_bytes if "memory" in limited else None,
            cpu_seconds=box.group.cpu_seconds(),
            processes=box.group.processes(),
            disk_bytes=size,
            disk_limit=box.disk["bytes"],
            out_of_memory=box.group.out_of_memory(),
        )

    # commands

    async def execute(self, ref: str, command: Command) -> Execution:
        check_command(command)
        host, store = self._ready()
        box = await store.open(ref)
        work = launch(self._runtime, self._keeper, host, box, command)
        return await _undone_if_cancelled(work, LocalExecution.close)

    async def provide_port(self, ref: str, port: int, factory: IProtocolFactory) -> None:
        """Serve ``factory`` at 127.0.0.1:``port`` inside the sandbox, until it is destroyed or the
        daemon stops; in place of what was served there before. See provider.ServesInside.
        """
        if not 0 < port < 65536:
            raise Invalid(f"{port} is not a port")
        await self._store.serve(await self._store.open(ref), port, factory)

    # files

    async def read_file(self, ref: str, path: str, limit: int) -> bytes:
        box = await self._store.open(ref)
        values = {"path": in_workspace(path), "limit": limit}
        _, fds = await self._keeper.ask("read", values, box.walls)
        return await self._runtime.in_thread(_read_all, fds[0], limit)

    async def write_file(self, ref: str, path: str, content: bytes, mode: int = 0o644) -> None:
        box = await self._store.open(ref)
        values = {"path": in_workspace(path), "mode": mode & 0o777, "who": box.who, "own_fds": 1}
        await self._check_room(box, len(content))
        memory = await self._runtime.in_thread(_in_memory, content)
        try:
            await self._keeper.ask("write", values, [memory, *box.walls])
        finally:
            os.close(memory)

    async def list_files(self, ref: str, path: str) -> list[FileEntry]:
        box = await self._store.open(ref)
        _, fds = await self._keeper.ask("list", {"path": in_workspace(path)}, box.walls)
        return await self._runtime.in_thread(_entries, fds[0])

    async def remove_file(self, ref: str, path: str) -> None:
        box = await self._store.open(ref)
        await self._keeper.ask("remove", {"path": in_workspace(path)}, box.walls)

    async def upload(self, ref: str, path: str, archive: ByteSource) -> None:
        box = await self._store.open(ref)
        await self._check_room(box, 0)
        values: dict[str, object] = {"path": in_workspace(path), "who": box.who}
        await transfers.upload(self._runtime, self._keeper, values, box.walls, archive)

    async def download(self, ref: str, path: str) -> ByteSource:
        box = await self._store.open(ref)
        found = await transfers.download(self._runtime, self._keeper, in_workspace(path), box.walls)
        box.downloads.add(found)
        return found

    # inside

    @property
    def _store(self) -> Store:
        return self._ready()[1]

    def _ready(self) -> tuple[Host, Store]:
        if self._parts is None:
            raise Unavailable(f"sandboxes on this server are not available: {self._missing}")
        return self._parts

    async def _check_room(self, box: Box, more: int) -> None:
        """Before a file is put on a disk that has no limit of its own. Raises TooLarge."""
        if box.disk["kind"] == "folder":
            (size, inodes), _ = await self._keeper.ask("space", {"disk": box.disk}, box.walls)
            if size + more > box.disk["bytes"] or inodes >= box.disk["inodes"]:
                raise TooLarge("the sandbox's disk is full")

    async def _look_after_disks(self, store: Store) -> None:
        """End what runs in a sandbox that has filled its folder."""
        for box in store.awake:
            if box.executions:
                try:
                    await self._check_room(box, 0)
                except TooLarge:
                    log.info("sandbox {id} has filled its disk", id=box.id)
                    for execution in list(box.executions):
                        execution.kill("disk")
                except Unavailable as error:
                    log.warn("cannot look at a disk: {error}", error=error.message)


def _read_all(fd: int, limit: int) -> bytes:
    with os.fdopen(fd, "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise TooLarge(f"the file has more than {limit} bytes")
    return data


def _in_memory(content: bytes) -> int:
    fd = os.memfd_create("content")
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(content)
    return fd


def _entries(fd: int) -> list[FileEntry]:
    with os.fdopen(fd, "rb") as file:
        found: Sequence[dict[str, Any]] = json.load(file)
    return [
        FileEntry(
            one["name"],
            one["kind"],
            one["size"],
            one["mode"],
            datetime.fromtimestamp(one["modified"], UTC),
            one["target"],
        )
        for one in found
    ]


async def _undone_if_cancelled(
    work: Coroutine[Any, Any, T], undo: Callable[[T], Awaitable[object]]
) -> T:
    """The result of ``work``. If the caller is cancelled meanwhile, what was made is unmade."""
    waiting: Deferred[T] = Deferred()
    abandoned = False

    async def finish(result: T) -> None:
        await undo(result)

    def done(result: T | Failure) -> None:
        if not abandoned:
            waiting.callback(result)  # type: ignore[arg-type]
        elif not isinstance(result, Failure):
            Deferred.fromCoroutine(finish(result)).addErrback(
                lambda failure: log.failure("undoing failed", failure)
            )

    Deferred.fromCoroutine(work).addBoth(done)
    try:
        return await waiting
    except CancelledError:
        abandoned = True
        raise
