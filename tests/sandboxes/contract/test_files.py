"""Files of a sandbox, read and written from outside."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.sandboxes.plug import Plug
from tests.sandboxes.support import Box
from wit.errors import Invalid, NotFound, TooLarge, WitError

LIMIT = 10 * 1024 * 1024


def test_write_and_read(box: Box, run) -> None:
    data = os.urandom(300_000)
    run(box.provider.write_file(box.ref, box.path("data"), data))
    assert run(box.provider.read_file(box.ref, box.path("data"), LIMIT)) == data
    assert run(box.provider.read_file(box.ref, f"{box.cwd}/data", LIMIT)) == data
    assert run(box.sh("wc -c <data")).strip() == "300000"


@pytest.mark.parametrize("size", [0, 1, 65536, 5_000_000])
def test_sizes(box: Box, run, size: int) -> None:
    data = b"x" * size
    run(box.provider.write_file(box.ref, box.path("sized"), data))
    assert run(box.provider.read_file(box.ref, box.path("sized"), size)) == data


def test_folders_are_made_and_modes_kept(box: Box, run) -> None:
    run(box.provider.write_file(box.ref, box.path("a/b c/d.sh"), b"#!/bin/sh\necho ran\n", 0o755))
    assert run(box.sh('"a/b c/d.sh"; rm "a/b c/d.sh"; rmdir "a/b c"')) == "ran\n"
    run(box.provider.write_file(box.ref, box.path("plain"), b""))
    assert run(box.sh("stat -c %a plain")) == "644\n"


@pytest.mark.parametrize("name", ["ü", "two words", "-rf", "a'b\"c", "$(id)", "*", "new\nline"])
def test_names(box: Box, run, name: str) -> None:
    run(box.provider.write_file(box.ref, box.path(name), b"content"))
    assert run(box.provider.read_file(box.ref, box.path(name), LIMIT)) == b"content"
    assert [entry.name for entry in run(box.provider.list_files(box.ref, box.folder))] == [name]
    assert run(box.sh('cat -- "./$1"', name)) == "content"
    run(box.provider.remove_file(box.ref, box.path(name)))
    assert run(box.provider.list_files(box.ref, box.folder)) == []


def test_what_the_sandbox_writes_can_be_read_and_changed(box: Box, run) -> None:
    run(box.sh("echo from inside >inside; mkdir -m 700 private; echo x >private/file"))
    assert run(box.provider.read_file(box.ref, box.path("inside"), LIMIT)) == b"from inside\n"
    run(box.provider.write_file(box.ref, box.path("inside"), b"from outside"))
    run(box.provider.write_file(box.ref, box.path("private/file"), b"y"))
    assert run(box.sh("cat inside private/file; echo more >>inside")) == "from outsidey"


def test_a_shorter_content_replaces_a_longer_one(box: Box, run) -> None:
    run(box.provider.write_file(box.ref, box.path("file"), b"long content"))
    run(box.provider.write_file(box.ref, box.path("file"), b"short"))
    assert run(box.provider.read_file(box.ref, box.path("file"), LIMIT)) == b"short"


def test_what_cannot_be_read(box: Box, run) -> None:
    run(box.sh("mkdir folder; echo 12345 >file; mkfifo fifo"))

    def read(name: str, limit: int = LIMIT) -> bytes:
        content: bytes = run(box.provider.read_file(box.ref, box.path(name), limit))
        return content

    for name in ("missing", "folder/missing", "missing/file"):
        with pytest.raises(NotFound):
            read(name)
    for name in ("folder", "fifo"):
        with pytest.raises(Invalid):
            read(name)
    with pytest.raises(TooLarge):
        read("file", 5)
    assert read("file", 6) == b"12345\n"


def test_what_cannot_be_written(box: Box, run) -> None:
    run(box.sh("mkdir folder; echo x >file"))
    for name in ("folder", "file/below"):
        with pytest.raises(Invalid):
            run(box.provider.write_file(box.ref, box.path(name), b"x"))
    assert run(box.sh("cat file; test -d folder")) == "x\n"


@pytest.mark.parametrize(
    "path", ["../outside", "a/../../../outside", "/workspace/../outside", "a\0b", ""]
)
def test_paths_that_leave_the_workspace(box: Box, run, path: str) -> None:
    with pytest.raises((Invalid, NotFound)):
        run(box.provider.read_file(box.ref, path, LIMIT))
    with pytest.raises(Invalid):
        run(box.provider.write_file(box.ref, path, b"x"))
    with pytest.raises((Invalid, NotFound)):
        run(box.provider.remove_file(box.ref, path))


def test_no_symlink_leads_out(box: Box, plug: Plug, run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("host's own")
    os.chmod(tmp_path, 0o755)
    run(box.sh('ln -s "$1" link; ln -s "$2" folder; ln -s /tmp tmp', str(secret), str(tmp_path)))
    for name in ("link", "folder/secret"):
        if plug.isolated:
            with pytest.raises(WitError):
                run(box.provider.read_file(box.ref, box.path(name), LIMIT))
    for name in ("link", "folder/secret", "folder/new", "tmp/planted-by-a-link"):
        try:
            run(box.provider.write_file(box.ref, box.path(name), b"changed"))
        except (Invalid, NotFound):
            continue
    assert secret.read_text() == "host's own"
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]
    assert run(box.sh("test ! -e /tmp/planted-by-a-link && echo no")) == "no\n"


def test_list(box: Box, run) -> None:
    run(
        box.sh(
            "echo 12345 >b; chmod 640 b; mkdir -m 750 a; ln -s /nowhere c; mkfifo d; echo >.hidden"
        )
    )
    entries = run(box.provider.list_files(box.ref, box.folder))
    assert [entry.name for entry in entries] == [".hidden", "a", "b", "c", "d"]
    kinds = {entry.name: entry.kind for entry in entries}
    assert kinds == {
        ".hidden": "file",
        "a": "directory",
        "b": "file",
        "c": "symlink",
        "d": "other",
    }
    by_name = {entry.name: entry for entry in entries}
    assert by_name["b"].size == 6 and by_name["b"].mode & 0o777 == 0o640
    assert by_name["a"].size == 0 and by_name["a"].mode & 0o777 == 0o750
    assert by_name["c"].target == "/nowhere" and by_name["b"].target is None


def test_list_of_the_workspace(box: Box, run) -> None:
    for path in (".", "/workspace", "/workspace/"):
        assert box.folder in [entry.name for entry in run(box.provider.list_files(box.ref, path))]


def test_what_cannot_be_listed(box: Box, run) -> None:
    run(box.sh("echo >file"))
    with pytest.raises(NotFound):
        run(box.provider.list_files(box.ref, box.path("missing")))
    with pytest.raises(Invalid):
        run(box.provider.list_files(box.ref, box.path("file")))


def test_a_huge_directory(box: Box, run) -> None:
    run(box.sh("seq -f 'name-%05g' 1 5000 | xargs touch"))
    entries = run(box.provider.list_files(box.ref, box.folder))
    assert [entry.name for entry in entries] == [f"name-{number:05}" for number in range(1, 5001)]


def test_remove(box: Box, run) -> None:
    run(
        box.sh(
            "mkdir -p tree/a/b outside; echo x >tree/a/b/c; echo y >outside/kept; ln -s ../outside tree/l"
        )
    )
    run(box.sh("ln -s outside link; echo >file; chmod 0 file"))
    for name in ("tree", "link", "file"):
        run(box.provider.remove_file(box.ref, box.path(name)))
        with pytest.raises(NotFound):
            run(box.provider.remove_file(box.ref, box.path(name)))
    assert run(box.sh("ls; cat outside/kept")) == "outside\ny\n"
