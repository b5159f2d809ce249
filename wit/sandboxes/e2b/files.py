"""Files of an E2B sandbox.

Contents go through the daemon's own file calls. Where these know too little (what a symlink says,
what is neither file nor folder) or follow symlinks out of the workspace, a small script does it.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from wit.errors import Forbidden, Invalid, NotFound, TooLarge, Unavailable, WitError
from wit.sandboxes.e2b import scripts
from wit.sandboxes.e2b.connect import RpcError
from wit.sandboxes.e2b.envd import Envd
from wit.sandboxes.e2b.execution import E2bExecution, run
from wit.sandboxes.e2b.text import plain
from wit.sandboxes.provider import WORKSPACE, Channel, Command, FileEntry
from wit.streams import ByteSource, BytesSource, StreamClosed

SCRIPT_SECONDS = 60.0
ARCHIVE_SECONDS = 3600.0
"""Longest time that an archive takes, either way."""

TEMPORARY = "/tmp"  # noqa: S108 - in the sandbox, not on this machine

MAX_LISTING = 16 * 1024 * 1024
"""Bytes that a folder's listing may have; about 200 000 entries."""

_KINDS = {"f": "file", "d": "directory", "l": "symlink"}
_NO_ROOM = ("No space left", "Disk quota exceeded")


def inside(path: str) -> str:
    """The absolute path of something in the workspace. Raises Invalid for any other."""
    if not path or "\0" in path:
        raise Invalid("the path is empty or has a NUL in it")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise Invalid("the path is not valid Unicode") from None
    whole = posixpath.normpath(posixpath.join(WORKSPACE, path))
    if whole != WORKSPACE and not whole.startswith(WORKSPACE + "/"):
        raise Invalid(f"{path!r} is not in {WORKSPACE}")
    return whole


async def make_workspace(envd: Envd) -> None:
    """The workspace, the default user's own; fine when the template has one."""
    try:
        await envd.call("filesystem.Filesystem/MakeDir", {"path": WORKSPACE})
    except RpcError as error:
        if error.rpc_code != "already_exists":
            raise


async def read_file(envd: Envd, path: str, limit: int) -> bytes:
    whole = inside(path)
    entry = await _stat(envd, whole)
    if entry.get("type") != "FILE_TYPE_FILE":
        raise Invalid(f"{path!r} is not a file")
    return await envd.read_file(whole, limit)


async def write_file(envd: Envd, path: str, content: bytes, mode: int) -> None:
    whole = inside(path)
    if whole == WORKSPACE:
        raise Invalid(f"{path!r} is a folder")
    temporary = _temporary(envd)
    await _send(envd, temporary, BytesSource(content), SCRIPT_SECONDS)
    folder = posixpath.dirname(whole)
    await _script(envd, scripts.place(temporary, folder, whole, mode), path)


async def list_files(envd: Envd, path: str) -> list[FileEntry]:
    output = await _script(envd, scripts.listing(inside(path)), path, MAX_LISTING)
    fields = output.split(b"\0")[:-1]
    if len(fields) % 6:
        raise Unavailable("the sandbox's listing is not complete")
    try:
        entries = [_entry(fields[at : at + 6]) for at in range(0, len(fields), 6)]
    except (ValueError, OverflowError) as error:
        raise Unavailable("the sandbox's listing is not what was expected") from error
    return sorted(entries, key=lambda entry: entry.name)


async def remove_file(envd: Envd, path: str) -> None:
    whole = inside(path)
    if whole == WORKSPACE:
        raise Invalid("the workspace itself cannot be removed")
    await _stat(envd, whole)
    await envd.call("filesystem.Filesystem/Remove", {"path": whole})


async def upload(envd: Envd, path: str, archive: ByteSource) -> None:
    whole = inside(path)
    temporary = _temporary(envd)
    await _send(envd, temporary, archive, ARCHIVE_SECONDS)
    await _script(envd, scripts.unpack(temporary, whole), path, seconds=ARCHIVE_SECONDS)


async def download(envd: Envd, path: str) -> ByteSource:
    command = Command(scripts.pack(inside(path)), cwd="/", seconds=ARCHIVE_SECONDS)
    execution = E2bExecution(envd, command, lambda _: None)
    await execution.start()
    source = _Archive(execution)
    try:
        await source.begin(path)
    except BaseException:
        await execution.close()
        raise
    return source


class _Archive:
    """A tar archive on a command's standard output."""

    def __init__(self, execution: E2bExecution) -> None:
        self._execution = execution
        self._first = b""
        self._said = b""

    async def begin(self, path: str) -> None:
        """Wait for the first bytes. Raises NotFound, Invalid, Forbidden, Unavailable."""
        self._first = await self._next()
        if not self._first:
            how = await self._execution.wait()
            raise _error(how.code, self._said, path)

    async def read(self) -> bytes:
        data, self._first = self._first, b""
        if not data:
            data = await self._next()
        if not data:
            how = await self._execution.wait()
            await self._execution.close()
            if how.code != 0:
                raise StreamClosed("the sandbox could not finish the archive")
        return data

    async def _next(self) -> bytes:
        while output := await self._execution.read():
            if output.channel is Channel.STDOUT:
                return output.data
            self._said = (self._said + output.data)[-2000:]
        return b""


async def _stat(envd: Envd, path: str) -> dict[str, Any]:
    """Raises NotFound, and Invalid or Unavailable in words."""
    try:
        answer = await envd.call("filesystem.Filesystem/Stat", {"path": path})
    except RpcError as error:
        if error.rpc_code == "not_found" or "not a directory" in error.detail:
            raise NotFound(f"there is no {plain(path)!r} in the sandbox") from error
        raise
    entry = answer.get("entry")
    if not isinstance(entry, dict):
        raise Unavailable("the sandbox answered what was not expected")
    return entry


def _entry(fields: Sequence[bytes]) -> FileEntry:
    name, kind, size, mode, changed, target = (f.decode("utf-8", "replace") for f in fields)
    return FileEntry(
        name=name,
        kind=_KINDS.get(kind, "other"),
        size=int(size) if kind == "f" else 0,
        mode=int(mode, 8),
        modified_at=datetime.fromtimestamp(float(changed), UTC),
        target=target if kind == "l" else None,
    )


def _temporary(envd: Envd) -> str:
    return f"{TEMPORARY}/.wit-{envd.runtime.random_bytes(16).hex()}"


async def _send(envd: Envd, temporary: str, content: ByteSource, seconds: float) -> None:
    """Write a temporary file; what is left of it after a failure is removed."""
    try:
        await envd.write_file(temporary, content, seconds)
    except (WitError, StreamClosed):
        await _tidy(envd, temporary)
        raise


async def _tidy(envd: Envd, temporary: str) -> None:
    try:
        command = Command(scripts.remove_temporary(temporary), cwd="/", seconds=SCRIPT_SECONDS)
        await run(envd, command)
    except WitError:
        return  # The sandbox is gone or out of reach, and this is a file of its own.


async def _script(
    envd: Envd,
    argv: Sequence[str],
    path: str,
    limit: int = 64 * 1024,
    seconds: float = SCRIPT_SECONDS,
) -> bytes:
    ran = await run(envd, Command(argv, cwd="/", seconds=seconds), limit=limit)
    if ran.code != 0:
        raise _error(ran.code, ran.stderr, path)
    return ran.stdout


def _error(code: int, said: bytes, path: str) -> WitError:
    """What the status of a script means."""
    words = said.decode("utf-8", "replace")
    shown = plain(path)
    if code in (scripts.REFUSED, scripts.NO_ROOM) and any(text in words for text in _NO_ROOM):
        return TooLarge("the sandbox's disk is full")
    match code:
        case scripts.NOT_THERE:
            return NotFound(f"there is no {shown!r} in the sandbox")
        case scripts.NOT_A_FOLDER:
            return Invalid(f"{shown!r} is not a folder")
        case scripts.A_FOLDER:
            return Invalid(f"{shown!r} is a folder")
        case scripts.OUTSIDE:
            return Invalid(f"{shown!r} leads out of {WORKSPACE}")
        case scripts.REFUSED:
            return Invalid(f"the sandbox refused {shown!r}: {plain(words)}")
    if "Permission denied" in words:
        return Forbidden(f"the sandbox's user may not do this to {shown!r}: {plain(words)}")
    return Unavailable(f"the sandbox could not do this to {shown!r}: {plain(words)}")
