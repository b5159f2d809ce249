"""Tar archives on their way into a sandbox, looked at as they pass (POSIX pax and ustar; GNU's long
names). An entry that would land outside its folder is found before the sandbox's tar sees it."""

from __future__ import annotations

import io
import posixpath
import tarfile

from wit.errors import Invalid
from wit.streams import ByteSource

BLOCK = 512
MAX_META = 1024 * 1024
"""Bytes of a pax header or of a long name."""
MAX_SYMLINKS = 100_000
_END = b"\0" * BLOCK * 2
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.DIRTYPE)
_META = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class CheckedArchive:
    """A ByteSource of the same archive; ``read`` raises Invalid for what may not be unpacked."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._checker = ArchiveChecker()
        self._over = False

    async def read(self) -> bytes:
        while not self._over:
            data = await self._source.read()
            self._over = not data
            passed = self._checker.feed(data) if data else self._checker.finish()
            if passed:
                return passed
        return b""


class ArchiveChecker:
    """Pure: bytes in, bytes out. What stands behind the archive's end is left out."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._content = 0
        self._meta_type = b""
        self._meta_size = 0
        self._overrides: dict[str, str] = {}
        self._symlinks: set[str] = set()
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        """What of the archive may be passed on. Raises Invalid."""
        if self._ended:
            return b""
        self._buffer += data
        passed = bytearray()
        while not self._ended and (part := self._next()):
            passed += part
        return bytes(passed)

    def finish(self) -> bytes:
        """The archive's last bytes. Raises Invalid if it breaks off."""
        if not self._ended:
            raise Invalid("the archive breaks off before its end")
        return _END

    def _next(self) -> bytes:
        if self._content:
            size = min(self._content, len(self._buffer))
            self._content -= size
        elif self._meta_type:
            size = self._meta_size if len(self._buffer) >= self._meta_size else 0
            if size:
                self._read_meta(bytes(self._buffer[:size]))
        else:
            size = BLOCK if len(self._buffer) >= BLOCK else 0
            if size and not any(self._buffer[:BLOCK]):
                self._ended = True
                return b""
            if size:
                self._read_header(bytes(self._buffer[:BLOCK]))
        part = bytes(self._buffer[:size])
        del self._buffer[:size]
        return part

    def _read_header(self, block: bytes) -> None:
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            raise Invalid(
                "this is no tar archive: POSIX pax or ustar is expected, not compressed"
            ) from None
        size = info.size
        if info.type in _META:
            if not 0 < size <= MAX_META:
                raise Invalid("the archive has a header of an impossible size")
            self._meta_type, self._meta_size = info.type, _padded(size)
            return
        overrides, self._overrides = self._overrides, {}
        name = overrides.get("path", info.name)
        link = overrides.get("linkpath", info.linkname)
        if "size" in overrides:
            size = _number(overrides["size"])
        if size < 0:
            raise Invalid("the archive has an entry of an impossible size")
        self._check(name, info.type, link)
        if "GNU.sparse.name" in overrides:
            self._check(overrides["GNU.sparse.name"], info.type, link)
        has_content = info.type in _PLAIN and info.type != tarfile.DIRTYPE
        self._content = _padded(size) if has_content else 0

    def _read_meta(self, data: bytes) -> None:
        kind, self._meta_type = self._meta_type, b""
        if kind == tarfile.XHDTYPE:
            self._overrides.update(_records(data))
        elif kind == tarfile.XGLTYPE:
            if {"path", "linkpath", "size"} & _records(data).keys():
                raise Invalid("the archive has one name for many entries")
        else:
            text = data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
            self._overrides["path" if kind == tarfile.GNUTYPE_LONGNAME else "linkpath"] = text

    def _check(self, name: str, kind: bytes, link: str) -> None:
        path = self._inside(name, name)
        if kind == tarfile.SYMTYPE:
            self._symlinks.add(path)
            if len(self._symlinks) > MAX_SYMLINKS:
                raise Invalid(f"the archive has more than {MAX_SYMLINKS} symbolic links")
        elif kind == tarfile.LNKTYPE:
            self._inside(link, name)
        elif kind not in _PLAIN:
            raise Invalid(f"{name} in the archive is neither a file, a folder nor a link")

    def _inside(self, path: str, name: str) -> str:
        """The path in its plain form, which stays below the folder it is unpacked in."""
        if path.startswith("/") or ".." in path.split("/"):
            raise Invalid(f"{name} in the archive would land outside of the folder")
        plain = posixpath.normpath(path)
        at = plain.find("/")
        while at >= 0:
            if plain[:at] in self._symlinks:
                raise Invalid(f"{name} in the archive would be written through a symbolic link")
            at = plain.find("/", at + 1)
        return plain


def owned_folder(user_id: int, group_id: int) -> bytes:
    """An archive that makes the folder it is unpacked in somebody's own."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo("./")
        info.type, info.mode, info.uid, info.gid = tarfile.DIRTYPE, 0o755, user_id, group_id
        archive.addfile(info)
    return buffer.getvalue()


def _records(data: bytes) -> dict[str, str]:
    """Records of a pax header: ``LENGTH KEY=VALUE`` and a line end, each."""
    found = {}
    at = 0
    while at < len(data) and data[at : at + 1] != b"\0":
        digits, _, _ = data[at : at + 20].partition(b" ")
        length = _number(digits.decode("ascii", "replace"))
        record = data[at + len(digits) + 1 : at + length]
        key, equals, value = record.partition(b"=")
        if length <= len(digits) or not equals or not value.endswith(b"\n"):
            raise Invalid("the archive has a pax header that cannot be read")
        found[key.decode("utf-8", "replace")] = value[:-1].decode("utf-8", "surrogateescape")
        at += length
    return found


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Invalid(f"the archive has {text[:20]!r} where a number is expected")
    return int(text)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
