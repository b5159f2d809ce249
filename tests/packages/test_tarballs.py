"""What may be in a tarball that is published."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.packages.publishing_support import archive, package_tarball, tarball
from wit.errors import Invalid, TooLarge
from wit.packages.names import parse_name
from wit.packages.tarballs import Contents, inspect

NAME = parse_name("@ada/tool")
PACKAGE = {"name": "@ada/tool", "version": "1.0.0"}
TEXT = json.dumps(PACKAGE).encode()


@pytest.fixture
def look(tmp_path: Path) -> Any:
    def look(data: bytes, max_bytes: int = 1_000_000, max_files: int = 100) -> Contents:
        path = tmp_path / "spooled"
        path.write_bytes(data)
        return inspect(str(path), NAME, "1.0.0", max_bytes=max_bytes, max_files=max_files)

    return look


def entry(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> Any:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info, b"x" * size


def with_package(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    info = tarfile.TarInfo("package/package.json")
    info.size = len(TEXT)
    return archive([(info, TEXT), *entries])


def test_what_npm_packs(look: Any) -> None:
    data = package_tarball(PACKAGE)
    assert look(data) == Contents(files=2, unpacked_bytes=len(TEXT) + 3, has_shrinkwrap=False)


def test_other_first_folders_and_versions_as_people_write_them(look: Any) -> None:
    written = {"name": "@ada/tool", "version": "v1.0.0+build"}
    text = "\ufeff" + json.dumps(written)
    files = {"tool-1.0/package.json": text.encode(), "tool-1.0/npm-shrinkwrap.json": b"{}"}
    assert look(tarball(files)).has_shrinkwrap


def test_folders_and_long_names(look: Any) -> None:
    long = "package/" + "d" * 90 + "/" + "e" * 200 + "/ä"
    data = with_package(entry("package/lib", tarfile.DIRTYPE), entry(long, size=5))
    assert look(data).files == 2


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../x", "package/../../x", "package/..", "package\\..\\..\\x", "C:/x", "",
     "package/a/../../../x"],
)  # fmt: skip
def test_ways_out(look: Any, name: str) -> None:
    with pytest.raises(Invalid, match="leads out"):
        look(with_package(entry(name)))


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
     tarfile.CONTTYPE, b"Z"],
)  # fmt: skip
def test_links_and_special_files(look: Any, kind: bytes) -> None:
    with pytest.raises(Invalid, match="link or a special file"):
        look(with_package(entry("package/x", kind, link="package.json")))


def test_sparse_files(look: Any) -> None:
    info, _ = entry("package/x")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1",
                        "GNU.sparse.map": "0,0", "GNU.sparse.size": "99999999"}  # fmt: skip
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as writer:
        writer.addfile(info)
    with pytest.raises(Invalid):
        look(gzip.compress(raw.getvalue()))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"package/index.js": b""}, "no package.json"),
        ({"package.json": TEXT}, "no package.json"),
        ({"./package/package.json": TEXT}, "no package.json"),
        ({"package/package.json": b"{"}, "not JSON"),
        ({"package/package.json": b"\xff"}, "not JSON"),
        ({"package/package.json": b"[]"}, "not that of"),
        ({"package/package.json": b'{"name":"other","version":"1.0.0"}'}, "not that of"),
        ({"package/package.json": b'{"name":"@ada/tool","version":"1.0.1"}'}, "version '1.0.1'"),
        ({"package/package.json": b'{"name":"@ada/tool"}'}, "the version"),
        ({"package/package.json": TEXT, "other/package.json": TEXT}, "more than one"),
        ({"package/package.json": TEXT, "package/./PACKAGE.json": TEXT}, "more than one"),
    ],
)
def test_its_package_json(look: Any, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(Invalid, match=words):
        look(tarball(files))


def test_limits(look: Any) -> None:
    with pytest.raises(TooLarge, match="more than 3 files"):
        look(with_package(*(entry(f"package/{n}") for n in range(3))), max_files=3)
    with pytest.raises(TooLarge, match="unpacks to more"):
        look(with_package(entry("package/zeros", size=10_000)), max_bytes=5000)


def test_a_header_that_claims_to_be_huge(look: Any) -> None:
    """tarfile would read all of a pax header at once."""
    info = tarfile.TarInfo("package/x")
    info.type, info.size = tarfile.XHDTYPE, 2**33
    with pytest.raises((TooLarge, Invalid)):
        look(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024))


def test_a_negative_size(look: Any) -> None:
    info = tarfile.TarInfo("package/x")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 4 + struct.pack(">q", -1024)
    total = sum(header[:148]) + 8 * 32 + sum(header[156:])
    header[148:156] = b"%06o\0 " % total
    with pytest.raises(Invalid):
        look(gzip.compress(bytes(header) + b"\0" * 2048))


def test_entries_behind_the_end(look: Any) -> None:
    """A single empty block ends a tar file for us, but not for every reader."""
    head, _ = entry("package/evil", tarfile.SYMTYPE, link="/etc/passwd")
    raw = gzip.decompress(with_package())[:1024]
    with pytest.raises(Invalid, match="behind its end"):
        look(gzip.compress(raw + b"\0" * 512 + head.tobuf() + b"\0" * 1024))


NO_TARBALLS = {
    "nothing": b"",
    "a word": b"hello",
    "JSON": TEXT,
    "nothing packed": gzip.compress(b""),
    "words packed": gzip.compress(b"hello" * 500),
    "cut off": package_tarball(PACKAGE)[:-20],
    "more behind it": package_tarball(PACKAGE) + b"garbage",
}


@pytest.mark.parametrize("data", NO_TARBALLS.values(), ids=NO_TARBALLS)
def test_what_is_no_tarball(look: Any, data: bytes) -> None:
    with pytest.raises(Invalid):
        look(data)
