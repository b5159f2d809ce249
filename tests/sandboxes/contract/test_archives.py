"""Whole trees, in and out as tar archives."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from tests.sandboxes.plug import Plug
from tests.sandboxes.support import Box, chunks, content, make_tar, member, open_tar, read_all
from wit.errors import Invalid, NotFound, WitError
from wit.streams import StreamClosed


def test_up_and_down(box: Box, run) -> None:
    large = os.urandom(3_000_000)
    script = tarfile.TarInfo("folder/run.sh")
    script.mode = 0o755
    archive = make_tar(
        (member("folder", tarfile.DIRTYPE, mode=0o755), b""),
        (script, b"#!/bin/sh\necho ran\n"),
        ("folder/" + "long-name-" * 20, b"x"),
        ("ü/made without an entry", b"y"),
        (member("folder/link", tarfile.SYMTYPE, "run.sh"), b""),
        ("large", large),
        ("empty", b""),
    )
    run(box.provider.upload(box.ref, box.folder, chunks(archive)))
    assert run(box.sh("folder/run.sh; folder/link; cat ü/*; wc -c <large")).split() == [
        "ran",
        "ran",
        "y3000000",
    ]
    again = run(_download(box, box.folder))
    members = open_tar(again)
    assert set(members) == {
        "folder",
        "folder/run.sh",
        "folder/" + "long-name-" * 20,
        "ü",
        "ü/made without an entry",
        "folder/link",
        "large",
        "empty",
    }
    assert members["folder/link"].issym() and members["folder/link"].linkname == "run.sh"
    assert members["folder/run.sh"].mode & 0o111 and not members["empty"].mode & 0o111
    assert content(again, "large") == large


async def _download(box: Box, path: str) -> bytes:
    return await read_all(await box.provider.download(box.ref, path))


def test_a_download_can_be_uploaded(box: Box, run) -> None:
    run(box.sh("mkdir -p one/two; seq 1 1000 >one/two/file; ln -s two one/link"))
    run(_copy(box, "one", "copy"))
    run(box.sh("diff -r one copy && test -L copy/link"))


async def _copy(box: Box, source: str, target: str) -> None:
    archive = await _download(box, box.path(source))
    await box.provider.upload(box.ref, box.path(target), chunks(archive))


def test_upload_into_a_folder_that_is_not_there(box: Box, run) -> None:
    run(box.provider.upload(box.ref, box.path("new/deeper"), chunks(make_tar(("file", b"x")))))
    assert run(box.sh("cat new/deeper/file")) == "x"


def test_upload_over_what_is_there(box: Box, run) -> None:
    run(box.sh("echo old >file; mkdir kept; echo mine >kept/own"))
    archive = make_tar(("file", b"new"), ("kept/other", b"theirs"))
    run(box.provider.upload(box.ref, box.folder, chunks(archive)))
    assert run(box.sh("cat file kept/own kept/other")) == "newmine\ntheirs"


def test_what_was_uploaded_belongs_to_the_sandbox(box: Box, run) -> None:
    run(box.provider.upload(box.ref, box.folder, chunks(make_tar(("a/file", b"x")))))
    run(box.sh("echo more >>a/file; touch a/b; rm -r a"))


def test_download_of_one_file(box: Box, run) -> None:
    run(box.sh("echo words >file"))
    archive = run(_download(box, box.path("file")))
    assert list(open_tar(archive)) == ["file"] and content(archive, "file") == b"words\n"


def test_download_of_an_empty_folder(box: Box, run) -> None:
    run(box.sh("mkdir empty"))
    assert open_tar(run(_download(box, box.path("empty")))) == {}


def test_download_of_nothing(box: Box, run) -> None:
    with pytest.raises(NotFound):
        run(_download(box, box.path("missing")))


def test_a_download_that_is_not_read_to_its_end(box: Box, run) -> None:
    run(box.sh("head -c 20000000 /dev/zero >large"))

    async def first() -> bytes:
        return await (await box.provider.download(box.ref, box.path("large"))).read()

    assert len(run(first())) > 0
    assert run(box.sh("echo still here")) == "still here\n"


OUTSIDE = [
    [("../planted", b"x")],
    [("a/../../planted", b"x")],
    [("/workspace/../tmp/planted", b"x")],
    [(member("out", tarfile.SYMTYPE, "/tmp"), b""), ("out/planted", b"x")],
    [(member("up", tarfile.SYMTYPE, ".."), b""), ("up/planted", b"x")],
    [(member("../planted", tarfile.SYMTYPE, "/etc/passwd"), b"")],
    [(member("stolen", tarfile.LNKTYPE, "../../../etc/passwd"), b"")],
]


@pytest.mark.parametrize(
    "members",
    OUTSIDE,
    ids=lambda members: members[-1][0] if isinstance(members[-1][0], str) else members[-1][0].name,
)
def test_what_would_land_outside(box: Box, run, members: list) -> None:
    with pytest.raises(Invalid):
        run(box.provider.upload(box.ref, box.path("inner"), chunks(make_tar(*members))))
    found = run(box.sh("find / -name planted -not -path '/proc/*' 2>/dev/null; ls"))
    assert "planted" not in found


def test_a_symlink_that_the_sandbox_planted(box: Box, plug: Plug, run, tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    run(box.sh('mkdir inner; ln -s "$1" inner/out', str(tmp_path)))
    archive = chunks(make_tar(("out/planted", b"x")))
    try:
        run(box.provider.upload(box.ref, box.path("inner"), archive))
    except WitError as refused:
        assert isinstance(refused, Invalid | NotFound)
    if plug.isolated:
        assert list(tmp_path.iterdir()) == []
    # and a download shows the link, not what it leads to
    (tmp_path / "secret").write_text("host's own")
    run(box.sh('mkdir links; ln -s "$1" links/out', str(tmp_path)))
    members = open_tar(run(_download(box, box.path("links"))))
    assert set(members) == {"out"} and members["out"].issym()


def test_devices_and_fifos_are_not_made(box: Box, run) -> None:
    device = member("device", tarfile.CHRTYPE)
    device.devmajor, device.devminor = 1, 5
    for one in (device, member("fifo", tarfile.FIFOTYPE)):
        try:
            run(box.provider.upload(box.ref, box.folder, chunks(make_tar((one, b"")))))
        except Invalid:
            continue
    assert run(box.sh("test ! -c device && echo none")) == "none\n"


@pytest.mark.parametrize("data", [b"not an archive" * 100, b"\x1f\x8b" + b"x" * 2000])
def test_what_is_no_archive(box: Box, run, data: bytes) -> None:
    with pytest.raises(Invalid):
        run(box.provider.upload(box.ref, box.folder, chunks(data)))


def test_an_archive_that_breaks_off(box: Box, run) -> None:
    whole = make_tar(("file", b"x" * 1_000_000))
    with pytest.raises(Invalid):
        run(box.provider.upload(box.ref, box.folder, chunks(whole[:500_000])))


class Broken:
    """A client that goes away in the middle."""

    def __init__(self) -> None:
        self.parts = [make_tar(("file", b"x" * 1_000_000))[:300_000]]

    async def read(self) -> bytes:
        if not self.parts:
            raise StreamClosed("the client closed the connection")
        return self.parts.pop()


def test_an_upload_whose_client_goes_away(box: Box, run) -> None:
    with pytest.raises((StreamClosed, WitError)):
        run(box.provider.upload(box.ref, box.folder, Broken()))
    assert run(box.sh("echo still here")) == "still here\n"
