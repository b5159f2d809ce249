"""What may be executed: two services with one path, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.errors import Invalid
from wit.repositories.traffic import Service
from wit.ssh.command import MAX_LINE, GitCommand, parse_command, parse_git_protocol


@pytest.mark.parametrize(
    ("line", "service", "path"),
    [
        (b"git-upload-pack '/alice/r.git'", Service.UPLOAD_PACK, "/alice/r.git"),
        (b"git-receive-pack 'alice/r'", Service.RECEIVE_PACK, "alice/r"),
        (b"git upload-pack alice/r", Service.UPLOAD_PACK, "alice/r"),
        (b'git receive-pack "a b/c"', Service.RECEIVE_PACK, "a b/c"),
        (b"git-upload-pack 'it'\\''s/r'", Service.UPLOAD_PACK, "it's/r"),
        ("git-upload-pack 'ü/r'".encode(), Service.UPLOAD_PACK, "ü/r"),
        (b"git-upload-pack '$(id)/`id`'", Service.UPLOAD_PACK, "$(id)/`id`"),
    ],
)
def test_git_commands(line: bytes, service: Service, path: str) -> None:
    assert parse_command(line) == GitCommand(service, path)


@pytest.mark.attack(2)
@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"   ",
        b"ls",
        b"git",
        b"git-upload-pack",
        b"git-upload-pack a/b c/d",
        b"git-upload-pack '--exec=x'",
        b"git-upload-pack --strict a/b",
        b"git-upload-pack -- a/b",
        b"git-upload-pack -a/b",
        b"git-upload-pack a/b; id",
        b"git-upload-pack 'a/b",
        b"git-upload-pack a/\0b",
        b"git-upload-pack \xff\xfe",
        b"git-upload-archive --exec=id a/b",
        b"git upload-archive a/b",
        b"git-lfs-authenticate a/b download",
        b"git --exec-path=/tmp upload-pack a/b",
        b"/usr/bin/git-upload-pack a/b",
        b"scp -f x",
        b"rsync --server . x",
        b"sh -c 'git-upload-pack a/b'",
        b"git-upload-pack " + b"a" * MAX_LINE,
    ],
)
def test_everything_else_is_refused(line: bytes) -> None:
    with pytest.raises(Invalid):
        parse_command(line)


def test_the_refusal_says_what_is_possible_and_repeats_no_control_characters() -> None:
    with pytest.raises(Invalid, match=r"'rsync' is not available here: only git clone, fetch"):
        parse_command(b"rsync --server")
    with pytest.raises(Invalid) as caught:
        parse_command(b"\x1b[2J\x07 evil")
    assert caught.value.message.isprintable()
    with pytest.raises(Invalid, match="archive"):
        parse_command(b"git-upload-archive a/b")
    with pytest.raises(Invalid, match="LFS"):
        parse_command(b"git-lfs-authenticate a/b upload")


@given(st.binary(max_size=200))
def test_no_line_gives_anything_but_a_service_and_a_path(line: bytes) -> None:
    try:
        command = parse_command(b"git-upload-pack " + line)
    except Invalid:
        return
    assert command.service is Service.UPLOAD_PACK
    assert not command.path.startswith("-")
    assert "\0" not in command.path


@pytest.mark.attack(1)
@pytest.mark.parametrize(
    ("value", "version"),
    [
        (b"version=2", 2),
        (b"version=1", 1),
        (b"version=0", 0),
        (b"version=9", 0),
        (b"version=1:version=2", 2),
        (b"some=thing:version=1", 1),
        (b"", None),
        (b"version", None),
        (b"version=", None),
        (b"version=2\n", None),
        (b"version=2:", None),
        (b"version=2 id", None),
        (b"--split-string=id", None),
        (b"version=2;id", None),
        (b"a=" + b"b" * 300, None),
    ],
)
def test_git_protocol(value: bytes, version: int | None) -> None:
    assert parse_git_protocol(value) == version
