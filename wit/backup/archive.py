"""The tar file: writing it whole or not at all, and reading nothing from it that we did not write.

Everything here blocks and is called in a thread; memory does not grow with the archive.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import tarfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

import attrs

from wit.errors import Invalid
from wit.git.names import check_owner, check_repo

FORMAT = 1
"""Of the archive; a reader refuses higher ones."""

MANIFEST = "manifest.json"
END = "end.json"
SMALL = 16 * 1024 * 1024
"""Bytes of a member that is read into memory, at most."""

_FIXED = re.compile(r"manifest\.json|end\.json|wit\.toml|db/[a-z_]{1,63}\.jsonl")
_HOST_KEY = re.compile(r"ssh/[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_TARBALL = re.compile(r"packages/([0-9a-f]{128})")
_REPOSITORY = re.compile(r"repos/([^/]+)/([^/]+)\.git/(.+)")
_IN_REPOSITORY = re.compile(
    r"HEAD|config|description|packed-refs|shallow|info/attributes|"
    r"(?:refs|logs)/.+|logs/HEAD|"
    r"objects/[0-9a-f]{2}/[0-9a-f]{38}(?:[0-9a-f]{24})?|"
    r"objects/pack/pack-[0-9a-f]{40}(?:[0-9a-f]{24})?\.(?:pack|idx|rev|bitmap|mtimes|promisor)"
)


DAMAGED = (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile)
"""What reading a damaged archive, or a member of it, raises."""


class Stopped(Exception):
    """Somebody asked the thread to end."""


def check_stop(stop: threading.Event) -> None:
    if stop.is_set():
        raise Stopped


@attrs.frozen
class Member:
    """One file of the archive; ``file`` can be read until the next one is asked for."""

    name: str
    size: int
    file: IO[bytes]

    def read_small(self) -> bytes:
        """The whole content. Raises Invalid if it is implausibly large."""
        if self.size > SMALL:
            raise Invalid(f"{self.name} in the backup is larger than {SMALL} bytes")
        return self.file.read()


class Writer:
    """Writes ``<path>.partial`` (mode 0600), which becomes ``path`` by :meth:`commit`.

    Raises OSError when the disk does not take it.
    """

    def __init__(self, path: Path, stop: threading.Event) -> None:
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._stop = stop
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        self._raw = os.fdopen(os.open(self._partial, flags, 0o600), "wb")
        os.fchmod(self._raw.fileno(), 0o600)
        self._layers = ExitStack()
        self._layers.enter_context(self._raw)
        outer: IO[bytes] = self._raw
        if path.suffix in (".gz", ".tgz"):
            outer = self._layers.enter_context(
                gzip.GzipFile("", "wb", compresslevel=1, fileobj=self._raw)  # type: ignore[arg-type]
            )
        self._tar = self._layers.enter_context(
            tarfile.open(fileobj=outer, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        )

    @property
    def folder(self) -> Path:
        """Where there is room: for temporary files as well."""
        return self._path.parent

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._raw.tell()

    def add_bytes(self, name: str, data: bytes, time: float = 0) -> None:
        self.add(name, io.BytesIO(data), len(data), time)

    def add_json(self, name: str, value: Any) -> None:
        self.add_bytes(name, json.dumps(value, indent=1).encode() + b"\n")

    def add_file(self, name: str, path: str | Path) -> None:
        """A file that does not shrink while it is read. Raises FileNotFoundError."""
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            self.add(name, file, status.st_size, status.st_mtime)

    def add(self, name: str, file: IO[bytes], size: int, time: float = 0) -> None:
        check_stop(self._stop)
        _check_name(name)
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, int(time), 0o600
        self._tar.addfile(info, _Stoppable(file, self._stop))  # type: ignore[arg-type]
        setattr(self._tar, "members", [])  # noqa: B010 - it would remember every member

    def commit(self) -> None:
        """Finish the file and give it its name, durably."""
        self._layers.close()
        with open(self._partial, "rb") as done:
            os.fsync(done.fileno())
        os.replace(self._partial, self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def abort(self) -> None:
        """Remove what was written so far."""
        with suppress(OSError):
            self._layers.close()
        with suppress(FileNotFoundError):
            self._partial.unlink()


class _Stoppable:
    """A file that raises Stopped in the middle of a large copy."""

    def __init__(self, file: IO[bytes], stop: threading.Event) -> None:
        self._file = file
        self._stop = stop

    def read(self, size: int) -> bytes:
        check_stop(self._stop)
        return self._file.read(size)


def members(path: Path, stop: threading.Event) -> Iterator[Member]:
    """Every member in order, its name checked.

    Raises Invalid for a file that is no backup, is damaged, ends early or holds anything that
    :class:`Writer` does not write (links, devices, other paths); OSError if it cannot be read.
    """
    try:
        with tarfile.open(path, "r|*") as archive:
            last = None
            while (info := archive.next()) is not None:
                check_stop(stop)
                setattr(archive, "members", [])  # noqa: B010
                if not info.isreg():
                    raise Invalid(f"{path}: {info.name[:200]!r} is not a plain file; nothing of "
                                  "it is used")  # fmt: skip
                _check_name(info.name)
                file = archive.extractfile(info)
                assert file is not None
                yield Member(info.name, info.size, file)
                last = info.name
            if last != END:
                raise Invalid(f"{path} is cut off: it has no {END}")
    except DAMAGED as error:
        raise Invalid(f"{path} is not a backup of wit, or is damaged: {error}") from None


def split_repository(name: str) -> tuple[str, str, str] | None:
    """(owner, repository, path in the repository) of a member, or None if it is another kind."""
    match = _REPOSITORY.fullmatch(name)
    return (match[1], match[2], match[3]) if match else None


def tarball_digest(name: str) -> str | None:
    """The SHA-512 of a member that is a package's tarball, or None if it is another kind."""
    match = _TARBALL.fullmatch(name)
    return match[1] if match else None


def _check_name(name: str) -> None:
    """Raises Invalid unless ``name`` is one that a backup holds (no way out of its folder)."""
    if any(kind.fullmatch(name) for kind in (_FIXED, _HOST_KEY, _TARBALL)):
        return
    found = split_repository(name)
    if found is not None and _IN_REPOSITORY.fullmatch(found[2]):
        with suppress(Invalid):
            check_owner(found[0])
            check_repo(found[1])
            if not any(
                part in ("", ".", "..") or "\0" in part or part.endswith(".lock")
                for part in found[2].split("/")
            ):
                return
    raise Invalid(f"{name[:200]!r} has no place in a backup of wit")
