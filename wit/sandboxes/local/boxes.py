"""One sandbox of this machine: what is written down of it, and what is alive."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from weakref import WeakSet

import attrs

from wit.sandboxes.local.cgroups import Group
from wit.sandboxes.local.execution import LocalExecution
from wit.sandboxes.local.keeper.walls import Disk, Who
from wit.sandboxes.local.link import close_all
from wit.sandboxes.local.proxy import ProxyFactory
from wit.sandboxes.local.transfers import Download
from wit.sandboxes.provider import Limits, Network, SandboxSpec

RECORD = "sandbox.json"

_ID = re.compile(r"[0-9a-f]{32}")


def is_id(ref: str) -> bool:
    return _ID.fullmatch(ref) is not None


@attrs.frozen
class Record:
    """What is kept on disk, readable by the daemon alone: the environment may hold secrets."""

    slot: int
    limits: Limits
    network: Network
    disk: str
    """Its kind. A sandbox with one of another kind than is used now is lost."""
    env: dict[str, str] = attrs.field(repr=False)

    @classmethod
    def of(cls, spec: SandboxSpec, slot: int, disk: str) -> Record:
        return cls(slot, spec.limits, spec.network, disk, dict(spec.env))

    def write(self, folder: Path) -> None:
        """Blocks. Raises OSError."""
        values = attrs.asdict(self)
        beside = folder / f".{RECORD}"
        fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump(values, file)
        beside.rename(folder / RECORD)

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Blocks. Raises OSError, also for a record that is no record."""
        try:
            values: dict[str, Any] = json.loads((folder / RECORD).read_text())
            network = Network(values["network"])
            limits = Limits(**values["limits"])
            return cls(values["slot"], limits, network, values["disk"], values["env"])
        except (ValueError, KeyError, TypeError) as error:
            raise OSError(f"{folder}: {error}") from error


@attrs.define(eq=False)
class Box:
    """A sandbox that is awake: it has walls, and things may run in it."""

    id: str
    record: Record
    who: Who
    disk: Disk
    group: Group
    walls: list[int]
    executions: set[LocalExecution] = attrs.field(factory=set)
    downloads: WeakSet[Download] = attrs.field(factory=WeakSet)
    ports: dict[int, Any] = attrs.field(factory=dict)
    """Listening ports in the sandbox that the daemon serves, by number."""
    proxy: ProxyFactory | None = None
    paused: bool = False
    gone: bool = False
    """Nothing more may be started in it."""
    commands: int = 0

    async def end(self, reason: str | None) -> None:
        """End everything that runs in it and close what serves it, for good."""
        self.gone = True
        for execution in list(self.executions):
            execution.kill(reason)
        for execution in list(self.executions):
            await execution.wait()
        for download in list(self.downloads):
            download.close()
        if self.proxy is not None:
            self.proxy.close()
        ports, self.ports = self.ports, {}
        for port in ports.values():
            stopped = port.stopListening()
            if stopped is not None:
                await stopped

    def tear_down(self) -> None:
        """Let go of its walls, which unmounts its disk; and of its control group. Blocks."""
        walls, self.walls = self.walls, []
        self.group.remove()
        close_all(walls)


def records(folder: Path) -> Iterable[tuple[str, Record]]:
    """All that are on disk. Blocks."""
    for one in sorted(folder.iterdir()):
        if is_id(one.name):
            try:
                yield one.name, Record.read(one)
            except OSError:
                continue
