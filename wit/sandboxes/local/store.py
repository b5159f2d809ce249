"""The sandboxes of this machine: making them, waking them after a restart, removing them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import suppress
from pathlib import Path

from twisted.internet.defer import DeferredLock
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger

from wit.errors import Conflict, Unavailable
from wit.runtime import Runtime, shielded
from wit.sandboxes.local.boxes import RECORD, Box, Record, is_id, records
from wit.sandboxes.local.cgroups import Group
from wit.sandboxes.local.host import Host
from wit.sandboxes.local.keeper.walls import Disk
from wit.sandboxes.local.link import Keeper
from wit.sandboxes.local.profile import PROXY_PORT
from wit.sandboxes.local.proxy import ProxyFactory
from wit.sandboxes.provider import Network, SandboxLost, SandboxSpec

log = Logger()


class Store:
    """``folder`` has a folder for each sandbox, by its id."""

    def __init__(
        self, runtime: Runtime, host: Host, keeper: Keeper, folder: Path, allow: tuple[str, ...]
    ) -> None:
        self._runtime = runtime
        self._host = host
        self._keeper = keeper
        self._folder = folder
        self._allow = allow
        self._boxes: dict[str, Box] = {}
        self._locks: dict[str, DeferredLock] = {}
        self._slots: set[int] = set()
        self._stopped = False

    @property
    def awake(self) -> list[Box]:
        return list(self._boxes.values())

    async def start(self) -> None:
        """Find what there is, and remove what a daemon that was killed left half done."""
        if self._host.disks.kind != "memory":
            self._slots = {record.slot for _, record in await self.all()}
        known = {ref for ref, _ in await self.all()} if self._slots else set()
        for name in await self._runtime.in_thread(os.listdir, self._folder):
            if name not in known:
                with suppress(Unavailable):
                    await self._erase(name)

    async def stop(self) -> None:
        """End what runs; disks stay. What is being made or woken meanwhile is waited for."""
        self._stopped = True
        for lock in list(self._locks.values()):
            await lock.run(lambda: None)
        while self._boxes:
            _, box = self._boxes.popitem()
            await self._put_to_sleep(box)

    async def all(self) -> list[tuple[str, Record]]:
        """Ids and records, of those that sleep too."""
        return await self._runtime.in_thread(lambda: list(records(self._folder)))

    async def has(self, ref: str) -> bool:
        return ref in self._boxes or await self._record(ref) is not None

    def paused(self, ref: str) -> bool:
        box = self._boxes.get(ref)
        return box is not None and box.paused

    async def make(self, spec: SandboxSpec) -> str:
        """A new sandbox; its ref. To be run to its end. Raises Unavailable, Conflict."""
        count = self._host.identities.count
        slot = next((slot for slot in range(count) if slot not in self._slots), None)
        if slot is None:
            raise Unavailable("there are too many sandboxes on this server")
        self._slots.add(slot)
        record = Record.of(spec, slot, self._host.disks.kind)
        async with self._lock(spec.id):
            self._check_not_stopped()
            try:
                self._boxes[spec.id] = await self._wake(spec.id, record, new=True)
            except FileExistsError:
                self._slots.discard(slot)
                raise Conflict("there is a sandbox of this id already") from None
            except BaseException as error:
                await self._erase(spec.id)
                self._slots.discard(slot)
                raise _explained(error) from error
        return spec.id

    async def open(self, ref: str) -> Box:
        """The sandbox, awake. Raises SandboxLost, Unavailable."""
        if (box := self._boxes.get(ref)) is not None:
            return box
        return await shielded(self._open(ref))

    async def _open(self, ref: str) -> Box:
        async with self._lock(ref):
            if (box := self._boxes.get(ref)) is not None:
                return box
            record = await self._record(ref)
            if record is None:
                self._locks.pop(ref, None)
                raise lost()
            self._check_not_stopped()
            try:
                box = await self._wake(ref, record)
            except (OSError, subprocess.SubprocessError) as error:
                raise _explained(error) from error
            self._boxes[ref] = box
            return box

    async def remove(self, ref: str) -> None:
        """End it and erase it. Fine when it is gone."""
        if is_id(ref):
            await shielded(self._remove(ref))

    async def _remove(self, ref: str) -> None:
        async with self._lock(ref):
            record = await self._record(ref)
            box = self._boxes.pop(ref, None)
            if box is not None:
                await self._put_to_sleep(box)
            await self._erase(ref)
            if record is not None:
                self._slots.discard(record.slot)
        self._locks.pop(ref, None)

    async def serve(self, box: Box, port: int, factory: IProtocolFactory) -> None:
        """Listen at the sandbox's own 127.0.0.1, in place of who did so before."""
        before = box.ports.pop(port, None)
        if before is not None and (stopped := before.stopListening()) is not None:
            await stopped
        _, (fd,) = await self._keeper.ask("listen", {"port": port}, box.walls)
        try:
            box.ports[port] = self._runtime.reactor.adoptStreamPort(fd, socket.AF_INET, factory)
        finally:
            os.close(fd)

    def _check_not_stopped(self) -> None:
        if self._stopped:
            raise Unavailable("the server is stopping; try again in a minute", retry_after=60)

    def _lock(self, ref: str) -> DeferredLock:
        return self._locks.setdefault(ref, DeferredLock())

    async def _record(self, ref: str) -> Record | None:
        """What is written down of a sandbox whose disk is there."""
        if not is_id(ref):
            return None
        try:
            record = await self._runtime.in_thread(Record.read, self._folder / ref)
        except OSError:
            return None
        return record if record.disk == self._host.disks.kind else None

    async def _wake(self, ref: str, record: Record, *, new: bool = False) -> Box:
        """Its disk, limits and walls. Raises OSError, SubprocessError, Unavailable; FileExistsError
        if a new one is there already, before anything is changed."""
        who = self._host.identities.who(record.slot)
        disk, group = await self._runtime.in_thread(self._lay_out, ref, record, new)
        box = Box(ref, record, who, disk, group, [])
        try:
            values = {"who": who, "disk": disk, "groups": group.joined}
            _, walls = await self._keeper.ask("walls", values)
            box.walls = list(walls)
            if record.network is Network.RESTRICTED:
                box.proxy = ProxyFactory(self._runtime, self._allow)
                await self.serve(box, PROXY_PORT, box.proxy)
        except BaseException:
            await self._put_to_sleep(box)
            raise
        return box

    def _lay_out(self, ref: str, record: Record, new: bool) -> tuple[Disk, Group]:
        """What a sandbox has outside its walls. The record comes after the disk: what has none is
        half done. Blocks."""
        folder = self._folder / ref
        if new:
            folder.mkdir(0o700)
        disk = self._host.disks.make(folder, record.limits.disk_bytes)
        if new:
            record.write(folder)
        return disk, self._host.cgroups.make(ref, record.limits)

    async def _put_to_sleep(self, box: Box) -> None:
        await box.end("lost")
        try:
            await self._runtime.in_thread(box.tear_down)
        except OSError as error:
            log.error("a sandbox does not end: {error}", id=box.id, error=error)

    async def _erase(self, name: str) -> None:
        """Remove what is on disk, the record first."""
        path = self._folder / name
        disk = path / "disk"
        await self._runtime.in_thread(lambda: (path / RECORD).unlink(missing_ok=True))
        if await self._runtime.in_thread(disk.is_dir):
            who = self._host.identities.who(await self._runtime.in_thread(self._slot_of, disk))
            await self._keeper.ask("erase", {"who": who, "path": str(disk)})
        await self._runtime.in_thread(shutil.rmtree, path, ignore_errors=True)

    def _slot_of(self, disk: Path) -> int:
        """Whose files these are, their owner tells. Blocks."""
        try:
            owner = (disk / "workspace").stat().st_uid
        except OSError:
            return 0
        first = self._host.identities.who(0)["uid"]
        return min(max(0, owner - first), self._host.identities.count - 1)


def lost() -> SandboxLost:
    return SandboxLost("this sandbox is gone, with its files; make a new one")


def _explained(error: BaseException) -> BaseException:
    """What the system says as an error for people; others are left as they are."""
    if isinstance(error, OSError | subprocess.SubprocessError):
        log.error("cannot start a sandbox: {error}", error=error)
        return Unavailable(f"the server cannot start a sandbox: {error}")
    return error
