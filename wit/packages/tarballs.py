"""What is in a tarball that somebody publishes: looked at before it is taken. Blocks.

npm unpacks tarballs without their first folder. So that every client finds the same files, there
may be nothing in it but plain files and folders, inside of that folder, and one package.json.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from typing import Any

import attrs

from wit.errors import Invalid, TooLarge
from wit.packages.names import PackageName
from wit.packages.versions import clean_version

MAX_HEADER = 1024 * 1024
"""Bytes of one header, long names included."""

MAX_PACKAGE_JSON = 4 * 1024 * 1024
_BLOCK = 64 * 1024
_DAMAGED = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, UnicodeError, ValueError)


@attrs.frozen
class Contents:
    """What the registry wants to know of a tarball."""

    files: int
    unpacked_bytes: int
    has_shrinkwrap: bool
    """Whether it brings an npm-shrinkwrap.json, which npm then reads before the manifest."""


def inspect(
    path: str, name: PackageName, version: str, *, max_bytes: int, max_files: int
) -> Contents:
    """Raises Invalid and TooLarge if the file at ``path`` is not a tarball of this version."""
    looker = _Looker(max_bytes, max_files)
    try:
        with open(path, "rb") as file, gzip.GzipFile(fileobj=file) as unpacked:
            looker.look(_Forward(unpacked, max_bytes))
    except _DAMAGED as error:
        raise Invalid(f"the tarball is not a gzipped tar file, or is damaged: {error}") from None
    _check_package(looker.package_json, name, version)
    return Contents(looker.files, looker.bytes, looker.has_shrinkwrap)


class _Looker:
    def __init__(self, max_bytes: int, max_files: int) -> None:
        self._max_bytes = max_bytes
        self._max_files = max_files
        self.files = 0
        self.bytes = 0
        self.has_shrinkwrap = False
        self.package_json: bytes | None = None

    def look(self, stream: _Forward) -> None:
        with tarfile.open(fileobj=stream, mode="r:", errorlevel=2) as archive:  # type: ignore[call-overload]
            for entry in _entries(archive):
                self._entry(archive, entry)
        stream.expect_nothing_more()

    def _entry(self, archive: tarfile.TarFile, entry: tarfile.TarInfo) -> None:
        inner = _inner_path(entry)
        self.files += not entry.isdir()
        self.bytes += entry.size
        if self.files > self._max_files:
            raise TooLarge(f"the tarball has more than {self._max_files} files")
        if self.bytes > self._max_bytes:
            raise TooLarge(f"the tarball unpacks to more than {self._max_bytes} bytes")
        if inner == "npm-shrinkwrap.json":
            self.has_shrinkwrap = True
        if inner.lower() == "package.json" and not entry.isdir():
            if self.package_json is not None:
                raise Invalid("the tarball has more than one package.json in its first folder")
            if entry.size > MAX_PACKAGE_JSON:
                raise TooLarge(f"the package.json is larger than {MAX_PACKAGE_JSON} bytes")
            file = archive.extractfile(entry)
            self.package_json = b"" if file is None else file.read()


def _entries(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (entry := archive.next()) is not None:
        setattr(archive, "members", [])  # noqa: B010 - it would remember every entry
        yield entry


def _inner_path(entry: tarfile.TarInfo) -> str:
    """The path behind the first folder. Raises Invalid for what would not stay inside of it."""
    shown = repr(entry.name[:100])
    if entry.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE) or entry.sparse:
        raise Invalid(
            f"{shown} in the tarball is a link or a special file: only files can be published"
        )
    parts = entry.name.replace("\\", "/").split("/")
    if parts[0] in ("", "..") or ".." in parts or ":" in parts[0] or "\0" in entry.name:
        raise Invalid(f"{shown} in the tarball leads out of its folder")
    return "/".join(part for part in parts[1:] if part not in ("", "."))


class _Forward(io.RawIOBase):
    """The unpacked bytes, read forwards only, within limits: what tarfile needs of a file."""

    def __init__(self, stream: gzip.GzipFile, max_bytes: int) -> None:
        self._stream = stream
        self._max_bytes = 2 * max_bytes + MAX_HEADER

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """A header or package.json is read at once; tarfile has no limit for them itself."""
        if not 0 <= size <= MAX_PACKAGE_JSON:
            raise TooLarge("the tarball has a header that is too large")
        self._check(self._stream.tell() + size)
        return self._stream.read(size)

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, position: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or position < self._stream.tell():
            raise Invalid("the tarball is damaged: an entry points backwards")
        self._check(position)
        return self._stream.seek(position)

    def expect_nothing_more(self) -> None:
        """Behind the end there are zeros: other readers may look for entries there."""
        while data := self._stream.read(_BLOCK):
            self._check(self._stream.tell())
            if data.strip(b"\0"):
                raise Invalid("the tarball has data behind its end")

    def _check(self, position: int) -> None:
        if position > self._max_bytes:
            raise TooLarge("the tarball unpacks to more than can be published")


def _check_package(text: bytes | None, name: PackageName, version: str) -> None:
    if text is None:
        raise Invalid("the tarball has no package.json in its first folder")
    try:
        package: Any = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise Invalid("the package.json in the tarball is not JSON") from None
    if not isinstance(package, dict) or package.get("name") != name.full:
        raise Invalid(f"the package.json in the tarball is not that of {name.full}")
    found = package.get("version")
    if not isinstance(found, str) or clean_version(found) != version:
        raise Invalid(
            f"the package.json in the tarball has the version {str(found)[:80]!r}, not {version}"
        )
