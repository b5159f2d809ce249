"""A sandbox's files, by programs in the sandbox: what they do, its limits and rights apply to."""

from __future__ import annotations

import stat
from datetime import UTC, datetime

from wit.errors import Invalid, NotFound, TooLarge, Unavailable, WitError
from wit.sandboxes.docker import paths, scripts
from wit.sandboxes.docker.archives import CheckedArchive
from wit.sandboxes.docker.container import Answer, Container
from wit.sandboxes.docker.execution import DockerExecution
from wit.sandboxes.provider import WORKSPACE, Channel, Command, FileEntry
from wit.streams import ByteSource, StreamClosed

MAX_LISTING = 16 * 1024 * 1024
TRANSFER_SECONDS = 3600.0
_FULL = ("no space left", "quota exceeded", "file too large", "file size limit")


async def read(container: Container, path: str, limit: int) -> bytes:
    """See SandboxProvider.read_file."""
    argv = scripts.files(scripts.READ, paths.inside(path), str(limit + 1))
    answer = await container.run(argv, limit=limit + 1)
    _check(answer, path, "a file")
    if len(answer.stdout) > limit:
        raise TooLarge(f"{path} has more than {limit} bytes")
    return answer.stdout


async def write(container: Container, path: str, content: bytes, mode: int) -> None:
    """See SandboxProvider.write_file."""
    folder, name = paths.entry(path)
    own = container.runtime.random_bytes(8).hex()
    permissions = f"{mode & 0o777:o}"
    argv = scripts.files(scripts.WRITE, folder, name, str(len(content)), permissions, own)
    _check(await container.run(argv, content), path, "a file")


async def listing(container: Container, path: str) -> list[FileEntry]:
    """See SandboxProvider.list_files."""
    argv = scripts.files(scripts.LIST, paths.inside(path))
    answer = await container.run(argv, limit=MAX_LISTING)
    if answer.code in (scripts.OUTSIDE, scripts.MISSING, scripts.WRONG_KIND):
        _check(answer, path, "a directory")
    # What vanished meanwhile makes the programs complain, but the rest is there.
    return sorted(_entries(answer.stdout), key=lambda entry: entry.name)


def _entries(said: bytes) -> list[FileEntry]:
    entries, _, links = said.partition(b"\0")
    parts = links.split(b"\0")
    targets = dict(zip(parts[0::2], parts[1::2], strict=False))
    found = []
    for line in entries.split(b"//\n")[:-1]:
        mode_text, size, seconds, path = line.split(b" ", 3)
        mode = int(mode_text, 16)
        target = targets.get(path) if stat.S_ISLNK(mode) else None
        found.append(
            FileEntry(
                name=path.removeprefix(b"./").decode("utf-8", "replace"),
                kind=_kind(mode),
                size=int(size) if stat.S_ISREG(mode) else 0,
                mode=stat.S_IMODE(mode),
                modified_at=datetime.fromtimestamp(int(seconds), UTC),
                target=None if target is None else target.decode("utf-8", "replace"),
            )
        )
    return found


def _kind(mode: int) -> str:
    for test, kind in (
        (stat.S_ISREG, "file"),
        (stat.S_ISDIR, "directory"),
        (stat.S_ISLNK, "symlink"),
    ):
        if test(mode):
            return kind
    return "other"


async def remove(container: Container, path: str) -> None:
    """See SandboxProvider.remove_file."""
    answer = await container.run(scripts.files(scripts.REMOVE, *paths.entry(path)))
    _check(answer, path, "a file or directory")


async def upload(container: Container, path: str, archive: ByteSource) -> None:
    """See SandboxProvider.upload."""
    argv = scripts.files(scripts.UPLOAD, paths.inside(path))
    answer = await container.run(argv, CheckedArchive(archive), seconds=TRANSFER_SECONDS)
    _check(answer, path, "a directory")


async def download(container: Container, path: str) -> Download:
    """See SandboxProvider.download."""
    found = paths.inside(path)
    folder, name = (WORKSPACE, ".") if found == WORKSPACE else paths.entry(found)
    argv = scripts.files(scripts.DOWNLOAD, folder, name)
    execution = await container.execute(Command(argv, "/", seconds=TRANSFER_SECONDS))
    source = Download(execution)
    try:
        await execution.end_input()
        await source.begin(path)
    except BaseException:
        await source.close()
        raise
    return source


class Download:
    """A ByteSource of tar's output. Whoever does not read it to its end closes it."""

    def __init__(self, execution: DockerExecution) -> None:
        self._execution = execution
        self._first = b""
        self._stderr = b""
        self._over = False

    async def begin(self, path: str) -> None:
        """Wait for the first bytes. Raises what is wrong with ``path``."""
        self._first = await self._next()
        if not self._first:
            how = await self._execution.wait()
            _check(Answer(b"", self._stderr.decode("utf-8", "replace"), how), path, "")
            raise Unavailable(f"nothing could be read of {path}")

    async def read(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        if self._over:
            return b""
        try:
            data = await self._next()
            if data:
                return data
            self._over = True
            how = await self._execution.wait()
        except BaseException:
            await self.close()
            raise
        await self.close()
        # 1 is GNU tar's "some files changed meanwhile".
        if how.code > 1:
            words = self._stderr.decode("utf-8", "replace").strip() or str(how.reason)
            raise StreamClosed(f"the archive broke off: {words}")
        return b""

    async def close(self) -> None:
        self._over = True
        self._first = b""
        await self._execution.close()

    async def _next(self) -> bytes:
        while output := await self._execution.read():
            if output.channel is Channel.STDOUT:
                return output.data
            self._stderr = (self._stderr + output.data)[:4096]
        return b""


def _check(answer: Answer, path: str, expected: str) -> None:
    """Raises what the exit code of a script means."""
    if answer.code == 0:
        return
    raise _error(answer, path, expected)


def _error(answer: Answer, path: str, expected: str) -> WitError:
    words = answer.stderr.splitlines()[-1][:300] if answer.stderr else ""
    simple: dict[int, WitError] = {
        scripts.OUTSIDE: Invalid(f"{path} leads out of {WORKSPACE}"),
        scripts.MISSING: NotFound(f"there is no {path} in the sandbox"),
        scripts.WRONG_KIND: Invalid(f"{path} is not {expected}"),
        scripts.INCOMPLETE: Unavailable(f"{path} did not arrive whole; it was not written"),
    }
    if answer.code in simple:
        return simple[answer.code]
    if answer.exit.reason == "memory":
        return TooLarge(f"the sandbox has too little memory left for {path}")
    if answer.exit.reason == "timeout":
        return Unavailable(f"the sandbox took too long with {path}")
    if any(sign in answer.stderr.lower() for sign in _FULL):
        return TooLarge(f"the sandbox's disk has no room for {path}")
    return Invalid(f"that cannot be done with {path}: {words or 'no reason was given'}")
