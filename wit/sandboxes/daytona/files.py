"""Files of a sandbox, through its toolbox. Paths are already absolute and checked."""

from __future__ import annotations

import io
import posixpath
import tempfile
from base64 import b64decode
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs

from wit.errors import Invalid, NotFound, TooLarge
from wit.runtime import Runtime
from wit.sandboxes.daytona import archives, scripts
from wit.sandboxes.daytona.toolbox import TRANSFER_SECONDS, Toolbox
from wit.sandboxes.daytona.wire import Refused
from wit.sandboxes.provider import WORKSPACE, FileEntry, Usage
from wit.streams import ByteSource


def workspace_path(path: str) -> str:
    """The absolute path of one relative to the workspace. Raises Invalid when it leaves it."""
    if not path or "\0" in path:
        raise Invalid("a path must be some text without NUL characters")
    whole = posixpath.normpath(posixpath.join(WORKSPACE, path))
    if whole != WORKSPACE and not whole.startswith(f"{WORKSPACE}/"):
        raise Invalid(f"the path {path!r} leads out of {WORKSPACE}")
    return whole


@attrs.frozen
class Files:
    """Methods raise what the provider's of the same name do, and Refused, Unavailable."""

    toolbox: Toolbox
    runtime: Runtime
    folder: Path
    """Where an archive waits while it is checked."""

    async def read(self, path: str, limit: int) -> bytes:
        info = await self._info(path)
        if info.get("isDir") or not str(info.get("mode")).startswith("-"):
            raise Invalid(f"{path} is not a file")
        if not isinstance(info.get("size"), int) or info["size"] > limit:
            raise TooLarge(f"{path} has more than {limit} bytes")
        source = await self.toolbox.download(path)
        content = bytearray()
        while data := await source.read():
            content += data
            if len(content) > limit:
                raise TooLarge(f"{path} has more than {limit} bytes")
        return bytes(content)

    async def write(self, path: str, content: bytes, mode: int) -> None:
        if path == WORKSPACE:
            raise Invalid(f"{WORKSPACE} is a folder")
        temporary = self._temporary()
        await self.toolbox.upload(temporary, io.BytesIO(content))
        code, _ = await self.toolbox.run(scripts.PLACE, temporary, path, f"{mode & 0o777:o}")
        if code == scripts.NO_ROOM:
            raise TooLarge(f"{path} does not fit on the sandbox's disk")
        if code:
            raise Invalid(f"{path} cannot be a file: a folder is there, or its folder is no folder")

    async def list(self, path: str) -> list[FileEntry]:
        code, said = await self.toolbox.run(scripts.LIST, path)
        if code == scripts.NOT_FOUND:
            raise NotFound(f"there is no {path}")
        if code:
            raise Invalid(f"{path} is not a directory that can be read")
        return listed(said)

    async def remove(self, path: str) -> None:
        if path == WORKSPACE:
            raise Invalid(f"{WORKSPACE} itself cannot be removed")
        code, _ = await self.toolbox.run(scripts.REMOVE, path, seconds=300)
        if code == scripts.NOT_FOUND:
            raise NotFound(f"there is no {path}")
        if code:
            raise Invalid(f"{path} cannot be removed")

    async def upload(self, path: str, archive: ByteSource) -> None:
        with tempfile.TemporaryFile(dir=self.folder) as file:
            while data := await archive.read():
                file.write(data)
            await self.runtime.in_thread(archives.check, file)
            file.seek(0)
            temporary = self._temporary()
            await self.toolbox.upload(temporary, file)
        code, said = await self.toolbox.run(
            scripts.UNPACK, temporary, path, seconds=TRANSFER_SECONDS
        )
        if code == scripts.NOT_VALID:
            raise Invalid(f"{path} is not a folder of the workspace")
        if code:
            words = "".join(letter for letter in said if letter.isprintable())[-200:]
            raise Invalid(f"the archive could not be unpacked: {words}")

    async def download(self, path: str) -> ByteSource:
        temporary = self._temporary()
        code, _ = await self.toolbox.run(scripts.PACK, temporary, path, seconds=TRANSFER_SECONDS)
        if code == scripts.NOT_FOUND:
            raise NotFound(f"there is no {path}")
        if code:
            raise TooLarge(f"there is no room on the sandbox's disk to pack {path}")
        try:
            return await self.toolbox.download(temporary)
        finally:
            # The daemon has opened it by now.
            await self.toolbox.run(scripts.DISCARD, temporary)

    async def _info(self, path: str) -> dict[str, Any]:
        try:
            return await self.toolbox.info(path)
        except Refused as error:
            if error.status == 404:
                raise
            if error.status in (400, 403):
                raise Invalid(f"{path} cannot be read: {error.message}") from None
            raise

    def _temporary(self) -> str:
        return f"/tmp/.wit-{self.runtime.random_bytes(12).hex()}"  # noqa: S108


def listed(said: str) -> list[FileEntry]:
    """From what the script LIST prints, by name."""
    try:
        fields = b64decode(said.strip().rpartition("\n")[2], validate=True).split(b"\0")[:-1]
        rows = zip(*(fields[number::6] for number in range(6)), strict=True)
        entries = [_entry([field.decode(errors="replace") for field in row]) for row in rows]
    except ValueError:
        raise Refused(502, "a list of files that cannot be read") from None
    return sorted(entries, key=lambda entry: entry.name)


def _entry(row: Sequence[str]) -> FileEntry:
    name, kind, size, mode, time, target = row
    found = {"f": "file", "d": "directory", "l": "symlink"}.get(kind, "other")
    return FileEntry(
        name,
        found,
        int(size) if found == "file" else 0,
        int(mode, 8),
        datetime.fromtimestamp(float(time), UTC),
        target if found == "symlink" else None,
    )


def usage(said: str) -> Usage:
    """From what the script USAGE prints; anything that is no number is not known."""
    values = {
        name: int(value)
        for name, _, value in (line.partition("=") for line in said.splitlines())
        if value.isascii() and value.isdigit()
    }
    micros = values.get("cpu_micros")
    return Usage(
        memory_bytes=values.get("memory"),
        memory_limit=values.get("memory_limit"),
        cpu_seconds=None if micros is None else micros / 1_000_000,
        processes=values.get("processes"),
        disk_bytes=_times_1024(values.get("disk")),
        disk_limit=_times_1024(values.get("disk_limit")),
        out_of_memory=values.get("out_of_memory", 0),
    )


def _times_1024(kib: int | None) -> int | None:
    return None if kib is None else kib * 1024
