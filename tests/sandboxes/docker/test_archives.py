"""Archives as they pass: what Python's and the system's tar write, in any pieces, and what may not."""

from __future__ import annotations

import io
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sandboxes.support import make_tar, member
from wit.errors import Invalid
from wit.sandboxes.docker.archives import ArchiveChecker, owned_folder

FORMATS = [tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]


def check(data: bytes, size: int = 1 << 20) -> bytes:
    checker = ArchiveChecker()
    parts = [checker.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return b"".join(parts) + checker.finish()


def contents(data: bytes) -> list[tuple[str, bytes, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [
            (info.name, info.type, (file.read() if (file := tar.extractfile(info)) else b""))
            for info in tar.getmembers()
            if not info.issym()
        ]


def archive(kind: int) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
        for name in ("short", "a/" * 40 + "long", "ü" if kind != tarfile.USTAR_FORMAT else "u"):
            info = tarfile.TarInfo(name)
            info.size = 700
            tar.addfile(info, io.BytesIO(b"x" * 700))
        tar.addfile(member("folder", tarfile.DIRTYPE), None)
        tar.addfile(member("folder/link", tarfile.SYMTYPE, "../anywhere"), None)
        tar.addfile(member("hard", tarfile.LNKTYPE, "short"), None)
    return buffer.getvalue()


@given(st.sampled_from(FORMATS), st.integers(1, 3000))
def test_what_may_pass_does(kind: int, size: int) -> None:
    whole = archive(kind)
    assert contents(check(whole, size)) == contents(whole)


def test_what_the_systems_tar_writes(tmp_path) -> None:
    (tmp_path / ("long" * 60)).write_bytes(b"x" * 5000)
    (tmp_path / "link").symlink_to("nowhere")
    for form in ("gnu", "pax", "ustar"):
        argv = ["tar", "-c", "--format", form, "--exclude=longlong*" * (form == "ustar"), "."]
        whole = subprocess.run(
            [part for part in argv if part], cwd=tmp_path, capture_output=True, check=True
        ).stdout
        assert contents(check(whole, 1000)) == contents(whole)


def test_what_is_behind_the_end_is_left_out() -> None:
    evil = make_tar(("../evil", b"x"))
    assert contents(check(make_tar(("good", b"x")) + evil)) == [("good", b"0", b"x")]


def test_a_long_name_that_leads_out() -> None:
    for kind in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
            tar.addfile(tarfile.TarInfo("a/" * 60 + "../" * 70 + "evil"))
        with pytest.raises(Invalid, match="outside"):
            check(buffer.getvalue())


def _pax(**headers: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("innocent")
        info.pax_headers = headers
        tar.addfile(info)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "headers", [{"path": "../evil"}, {"path": "/evil"}, {"GNU.sparse.name": "../evil"}]
)
def test_a_pax_header_that_leads_out(headers: dict[str, str]) -> None:
    with pytest.raises(Invalid, match="outside"):
        check(_pax(**headers))


@pytest.mark.parametrize("size", ["-1", "1e3", "9" * 30, "", "0x10"])
def test_a_pax_size_that_is_none(size: str) -> None:
    data = _pax(comment="size=0").replace(b"comment=size=0\n", f"size={size}\n".encode()[:15])
    with pytest.raises(Invalid):
        check(data)


@given(st.binary(max_size=2000))
def test_noise_is_refused_or_cut(noise: bytes) -> None:
    try:
        check(noise)
    except Invalid:
        return
    assert not any(noise[:512]) and len(noise) >= 512


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_never_raises_anything_else(at: int, byte: int) -> None:
    whole = bytearray(archive(tarfile.PAX_FORMAT))
    whole[at % len(whole)] = byte
    try:
        passed = check(bytes(whole))
    except Invalid:
        return
    with tarfile.open(fileobj=io.BytesIO(passed)) as tar:
        for info in tar:
            assert ".." not in info.name.split("/") and not info.name.startswith("/")


def test_a_folder_of_somebodys() -> None:
    with tarfile.open(fileobj=io.BytesIO(owned_folder(1000, 1001))) as tar:
        (info,) = tar.getmembers()
    assert (info.name, info.isdir(), info.uid, info.gid) == (".", True, 1000, 1001)
