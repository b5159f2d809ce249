"""What a sandbox is, and what an engine must offer to be a provider of sandboxes.

A provider knows one engine (bubblewrap on this machine, a container engine, a hosted service) and
nothing of users, repositories or the database: the manager (:mod:`wit.sandboxes.manager`) does.
Commands are argument lists from end to end; nothing here ever joins one into a string.

A third party registers a provider under the entry point group ``wit.sandbox_providers``: a callable
that takes a :class:`ProviderContext` and returns a :class:`SandboxProvider`. The suite in
``tests/sandboxes/contract`` says whether it keeps what is promised here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

import attrs
from twisted.internet.interfaces import IProtocolFactory

from wit.errors import NotFound
from wit.runtime import Runtime
from wit.streams import ByteSource

WORKSPACE = "/workspace"
"""Where every sandbox has its files; relative paths are relative to this."""

ENTRY_POINTS = "wit.sandbox_providers"


class Network(StrEnum):
    """What a sandbox can reach."""

    NONE = "none"
    """Nothing but itself."""
    RESTRICTED = "restricted"
    """What the operator's allow-list names."""
    FULL = "full"
    """Everything that the engine's network reaches."""


class State(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    GONE = "gone"


class Channel(StrEnum):
    """Where output came from; a terminal has only one."""

    STDOUT = "stdout"
    STDERR = "stderr"


class Signal(StrEnum):
    INT = "INT"
    TERM = "TERM"
    KILL = "KILL"
    HUP = "HUP"


@attrs.frozen
class Limits:
    """Bounds of one sandbox. A provider that cannot keep one says so in its :class:`Features`."""

    memory_bytes: int = 2 * 1024**3
    cpus: float = 1.0
    """Cores; 0.5 is half of one."""
    processes: int = 256
    disk_bytes: int = 1024**3


@attrs.frozen
class SandboxSpec:
    """A sandbox to be made."""

    id: str
    """wit's own name of it: 32 hexadecimal digits. The provider labels the sandbox with it."""
    limits: Limits = Limits()
    network: Network = Network.NONE
    image: str | None = None
    """Image, template or snapshot, in the provider's own terms; None is its default."""
    env: Mapping[str, str] = attrs.field(factory=dict)
    """Environment of every command, secrets included: never to be shown in a process list."""
    seconds: int = 3600
    """Longest life. A hosted service ends the sandbox by itself after this, whatever we do."""
    key: str | None = attrs.field(default=None, repr=False)
    """Key of a hosted service, instead of the site's own; only in memory, never part of the ref."""


@attrs.frozen
class TerminalSize:
    columns: int
    rows: int


@attrs.frozen
class Command:
    """A program to be run in a sandbox."""

    argv: Sequence[str]
    cwd: str = WORKSPACE
    env: Mapping[str, str] = attrs.field(factory=dict)
    """Added to the sandbox's own."""
    terminal: TerminalSize | None = None
    """With a size, the command runs on a PTY of that size; else on three pipes."""
    seconds: float | None = None
    """Longest run; after it the command is killed and ``Exit.reason`` is ``timeout``."""


@attrs.frozen
class Output:
    channel: Channel
    data: bytes


@attrs.frozen
class Exit:
    """How a command ended: with a status, or by a signal (then ``code`` is 128 + its number)."""

    code: int
    signal: str | None = None
    reason: str | None = None
    """``timeout``, ``memory`` or ``disk`` (killed for using too much) or ``lost`` (the sandbox went
    away)."""


class Execution(Protocol):
    """A command that runs. Whoever started it closes it; closing kills it when it still runs."""

    id: str
    """The provider's name of it within the sandbox."""

    async def read(self) -> Output | None:
        """The next output, at most 64 KiB; None once, and for ever after, at the end.

        Not reading is back-pressure: the command stops when its pipe or PTY is full.
        """
        ...

    async def write(self, data: bytes) -> None:
        """Hand input on; returns when more may come.

        Raises wit.streams.StreamClosed when the command no longer reads.
        """
        ...

    async def end_input(self) -> None:
        """No more input: end of file on a pipe, ^D on a terminal."""
        ...

    async def resize(self, size: TerminalSize) -> None:
        """Change the terminal's size. Raises Invalid when there is no terminal."""
        ...

    async def signal(self, signal: Signal) -> None:
        """Send a signal to the command and what it has started; nothing when it has ended."""
        ...

    async def wait(self) -> Exit:
        """How it ended. Any number may wait; does not need the output to be read."""
        ...

    async def close(self) -> None:
        """Kill it if it runs, with all that it started, and let go of everything."""
        ...


@attrs.frozen
class FileEntry:
    name: str
    kind: str
    """``file``, ``directory``, ``symlink`` or ``other``."""
    size: int
    """Bytes; 0 unless it is a file."""
    mode: int
    modified_at: datetime | None = None
    target: str | None = None
    """Of a symlink."""


@attrs.frozen
class Usage:
    """What a sandbox uses now; None is "not known"."""

    memory_bytes: int | None = None
    memory_limit: int | None = None
    cpu_seconds: float | None = None
    processes: int | None = None
    disk_bytes: int | None = None
    disk_limit: int | None = None
    out_of_memory: int = 0
    """How often something was killed for using too much memory."""


@attrs.frozen
class Features:
    """What a provider's engine can do, beyond what every provider must."""

    pause: bool = False
    survives_restart: bool = False
    """Sandboxes (not necessarily their running commands) outlive the daemon."""
    networks: frozenset[Network] = frozenset({Network.NONE})
    limited: frozenset[str] = frozenset({"memory", "cpu", "processes", "disk"})
    """The limits that it really keeps."""
    slow_start: bool = False
    """Making one takes so long that a pool of ready ones is worth having."""
    images: bool = False
    hosted: bool = False
    """Runs somewhere else, needs a key, costs money."""
    terminals: bool = True
    """Commands can run on a PTY; if not, ``execute`` is never asked for one, and people get a line
    mode (:mod:`wit.sandboxes.terminals.line_mode`)."""


@attrs.frozen
class Readiness:
    ready: bool
    reason: str = ""
    """When not ready: what is missing and what to do, a sentence for people."""
    detail: Mapping[str, str] = attrs.field(factory=dict)
    """For ``wit doctor``: how it isolates, versions, limits."""


@attrs.frozen
class Found:
    """A sandbox of this wit that the engine still has."""

    id: str
    """SandboxSpec.id, from its label."""
    ref: str
    state: State


@attrs.frozen
class ProviderContext:
    """What a provider is made from."""

    runtime: Runtime
    folder: Path
    """A folder of its own, for whatever it keeps on disk."""
    instance: str
    """Name of this wit installation: labels tell its sandboxes from those of another."""
    settings: Mapping[str, str] = attrs.field(factory=dict)
    """Of ``[sandboxes.<name>]`` in wit.toml, and the keys from the environment."""


class SandboxProvider(Protocol):
    """One engine. ``ref`` is its own name of a sandbox, given by ``create``, kept in the database.

    Every method but ``create`` and ``sandboxes`` raises :class:`SandboxLost` for a sandbox that is
    no longer there, and ``wit.errors.Unavailable`` with a sentence when the engine does not answer.
    """

    name: str
    features: Features

    async def start(self) -> None:
        """Get ready to work; called once, before anything else."""
        ...

    async def stop(self) -> None:
        """Let go of connections. Sandboxes that can outlive us are left alone."""
        ...

    async def probe(self) -> Readiness:
        """Whether sandboxes can be made now, tried for real as far as that is cheap."""
        ...

    async def create(self, spec: SandboxSpec) -> str:
        """Make a sandbox and return its ref. A failure leaves nothing behind."""
        ...

    async def destroy(self, ref: str) -> None:
        """End everything in it and remove it with its files. Fine when it is gone already."""
        ...

    async def state(self, ref: str) -> State:
        """GONE instead of SandboxLost."""
        ...

    async def sandboxes(self) -> list[Found]:
        """All sandboxes of this installation that the engine has, for clearing up after a crash."""
        ...

    async def execute(self, ref: str, command: Command) -> Execution:
        """Start a command. A program that does not exist is an Exit with code 127, not an error.

        Raises Invalid for arguments that no program can get (none, or with a NUL character).
        """
        ...

    async def read_file(self, ref: str, path: str, limit: int) -> bytes:
        """A file's content. Raises NotFound, Invalid (not a file), TooLarge (over ``limit``)."""
        ...

    async def write_file(self, ref: str, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file whole, making its folders; follows no symlink out of the workspace.

        Raises Invalid (a directory is there), TooLarge (no room on the sandbox's disk).
        """
        ...

    async def list_files(self, ref: str, path: str) -> list[FileEntry]:
        """Entries of a directory, by name. Raises NotFound, Invalid (not a directory)."""
        ...

    async def remove_file(self, ref: str, path: str) -> None:
        """Remove a file, or a directory with all in it. Raises NotFound."""
        ...

    async def upload(self, ref: str, path: str, archive: ByteSource) -> None:
        """Unpack a tar archive (POSIX pax or ustar, not compressed) below a directory.

        Entries that would land outside are refused (Invalid), before or after others were written.
        """
        ...

    async def download(self, ref: str, path: str) -> ByteSource:
        """A file or directory as a tar archive. Raises NotFound.

        Names are relative to the directory (``./`` may stand before them), so that an upload makes
        the same tree again; a file's is its base name.
        """
        ...

    async def usage(self, ref: str) -> Usage: ...

    async def pause(self, ref: str) -> None:
        """Freeze it. Only with ``features.pause``."""
        ...

    async def resume(self, ref: str) -> None:
        """Only with ``features.pause``; fine when it runs."""
        ...

    async def extend(self, ref: str, seconds: int) -> None:
        """See to it that the engine keeps it for at least so long from now; no-op on our own."""
        ...


@runtime_checkable
class NeedsKey(Protocol):
    """A provider of a hosted service, whose sandboxes may each have been made with another key."""

    def use_key(self, ref: str, key: str) -> None:
        """The key of a sandbox that was made before this process started.

        To be called before anything else is asked about it, and before ``sandboxes()``, which then
        asks with every key it knows.
        """
        ...


@runtime_checkable
class ServesInside(Protocol):
    """A provider that can serve a port within its sandboxes, whatever their network."""

    async def provide_port(self, ref: str, port: int, factory: IProtocolFactory) -> None:
        """Serve ``factory`` on 127.0.0.1:``port`` of the sandbox until it is destroyed.

        Once is enough for a sandbox as long as this process lives; again is fine.
        """
        ...


class SandboxLost(NotFound):
    """The engine no longer has the sandbox; its files are gone. Never silently replaced."""
