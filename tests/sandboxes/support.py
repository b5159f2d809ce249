"""Running things in a sandbox, in one line."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence

import attrs

from wit.sandboxes.provider import (
    WORKSPACE,
    Channel,
    Command,
    Execution,
    Exit,
    Output,
    SandboxProvider,
    TerminalSize,
)
from wit.streams import ByteSource, BytesSource


@attrs.frozen
class Ran:
    """What a command said and how it ended."""

    stdout: bytes
    stderr: bytes
    exit: Exit

    @property
    def code(self) -> int:
        return self.exit.code

    @property
    def text(self) -> str:
        return self.stdout.decode()


async def finish(execution: Execution) -> Ran:
    """Read everything, wait for the end, close."""
    parts: dict[Channel, list[bytes]] = {channel: [] for channel in Channel}
    try:
        while output := await execution.read():
            assert 0 < len(output.data) <= 64 * 1024
            parts[output.channel].append(output.data)
        how = await execution.wait()
    finally:
        await execution.close()
    return Ran(b"".join(parts[Channel.STDOUT]), b"".join(parts[Channel.STDERR]), how)


async def read_until(execution: Execution, wanted: bytes) -> bytes:
    """Read until ``wanted`` has come; all that was read so far."""
    seen = b""
    while wanted not in seen:
        output: Output | None = await execution.read()
        assert output is not None, f"ended before {wanted!r}: {seen!r}"
        seen += output.data
    return seen


@attrs.frozen
class Box:
    """A sandbox, and a folder in it."""

    provider: SandboxProvider
    ref: str
    folder: str

    @property
    def cwd(self) -> str:
        return f"{WORKSPACE}/{self.folder}".rstrip("/")

    def path(self, name: str) -> str:
        """A path for the provider's file methods, relative to the workspace."""
        return f"{self.folder}/{name}".lstrip("/")

    async def start(
        self,
        *argv: str,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        terminal: TerminalSize | None = None,
        seconds: float | None = None,
    ) -> Execution:
        command = Command(argv, self.cwd if cwd is None else cwd, env or {}, terminal, seconds)
        return await self.provider.execute(self.ref, command)

    async def run(
        self,
        argv: Sequence[str],
        stdin: bytes = b"",
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        seconds: float | None = 50.0,
    ) -> Ran:
        """Run to the end with a little input (a pipe must hold it)."""
        execution = await self.start(*argv, env=env, cwd=cwd, seconds=seconds)
        if stdin:
            await execution.write(stdin)
        await execution.end_input()
        return await finish(execution)

    async def sh(self, script: str, *arguments: str, cwd: str | None = None) -> str:
        """The output of a shell script, which must succeed."""
        ran = await self.run(["/bin/sh", "-c", script, "sh", *arguments], cwd=cwd)
        assert ran.code == 0, (script, ran)
        return ran.text

    async def free(self, lock: str) -> bool:
        """Whether nobody holds the lock file, as a process started with HOLD does while it lives."""
        return (await self.run(["flock", "--nonblock", lock, "true"])).code == 0


HOLD = 'flock "$0" -c "echo held; sleep 1000" & wait'
"""A shell script whose grandchild holds the lock that is its argument: kernel locks are seen
between pid namespaces, pids are not."""


def make_tar(*members: tuple[str | tarfile.TarInfo, bytes]) -> bytes:
    """A pax archive of files by name, or of any members."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            if info.isreg():
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, kind: bytes, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    """A member that is not a plain file; ``kind`` is tarfile.DIRTYPE, SYMTYPE, LNKTYPE, ..."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def chunks(data: bytes, size: int = 100_000) -> ByteSource:
    return BytesSource(*(data[at : at + size] for at in range(0, len(data), size)))


async def read_all(source: ByteSource) -> bytes:
    parts = []
    while data := await source.read():
        parts.append(data)
    return b"".join(parts)


def open_tar(data: bytes) -> dict[str, tarfile.TarInfo]:
    """Members by name, without a leading ``./``."""
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {name(info): info for info in archive.getmembers() if name(info) not in ("", ".")}


def content(data: bytes, wanted: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        for info in archive.getmembers():
            if name(info) == wanted:
                file = archive.extractfile(info)
                assert file is not None
                return file.read()
    raise AssertionError(f"no {wanted} in the archive")


def name(info: tarfile.TarInfo) -> str:
    return info.name.removeprefix("./").rstrip("/")
