"""Objects, packs and commands that no honest client sends."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.git.pushing import PolicyPush, PushServer, commit, git, ok
from tests.git.receive_pack.support import command_list
from wit.git.pktline import FLUSH, encode
from wit.streams import BytesSink, BytesSource


@pytest.mark.attack(18)
@pytest.mark.parametrize(
    ("mode", "name", "content"),
    [
        ("100644", ".git", "x"),
        ("100644", ".GIT", "x"),
        ("100644", "git~1", "x"),
        ("100644", "..", "x"),
        ("100644", ".g\u200cit", "x"),
        ("120000", ".gitmodules", "/etc/passwd"),
        ("100644", ".gitmodules", '[submodule "../../x"]\n\tpath = a\n\turl = b\n'),
        ("100644", ".gitmodules", '[submodule "a"]\n\tpath = a\n\turl = "-u./payload"\n'),
    ],
)
def test_poisonous_trees_are_refused(
    server: PushServer, work: Path, mode: str, name: str, content: str
) -> None:
    bare = server.bare("r.git")
    blob = ok("hash-object", "-w", "--stdin", cwd=work, data=content.encode())
    entry = mode.encode() + b" " + name.encode() + b"\0" + bytes.fromhex(blob)
    tree = ok("hash-object", "-t", "tree", "-w", "--literally", "--stdin", cwd=work, data=entry)
    evil = ok("commit-tree", "-m", "evil", tree, cwd=work)
    done = git("push", server.url("r.git"), f"{evil}:refs/heads/evil", cwd=work)
    assert done.code != 0
    assert "unpack" in done.err
    assert ok("for-each-ref", cwd=bare) == ""
    server.idle()
    assert server.leftovers("r.git") == []
    assert not list((bare / "objects").glob("??"))
    assert server.pushes[0].updates == [], "the policy was not even asked"


@pytest.mark.attack(17)
def test_a_pack_that_is_too_large_is_refused(server: PushServer, work: Path) -> None:
    bare = server.bare("r.git")
    (work / "large").write_bytes(os.urandom(3_000_000))
    commit(work, "large")
    server.settings = {"max_bytes": 100_000}
    done = git("push", server.url("r.git"), "main", cwd=work)
    assert done.code != 0
    assert "exceeds maximum allowed size" in done.err
    assert ok("for-each-ref", cwd=bare) == ""
    server.idle()
    assert server.leftovers("r.git") == []


@pytest.mark.attack(17)
def test_an_object_that_inflates_beyond_all_limits(
    server: PushServer, run: Any, work: Path
) -> None:
    """A commit that claims two gigabytes; git must not even try to make room for it."""
    bare = server.bare("r.git")
    size, header = 2 << 30, []
    byte, size = (1 << 4) | (size & 15), size >> 4
    while size:
        header.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    header.append(byte)
    pack = b"PACK" + struct.pack(">II", 2, 1) + bytes(header) + b"\x78\x9c\x00"
    sink = BytesSink()
    push = PolicyPush("12345678")
    source = BytesSource(command_list("1" * 40) + pack)
    run(server.receive_pack.serve_request(server.repo("r.git"), 0, source, sink, push))
    assert b"unpack" in sink.value() and b"ng refs/heads/x" in sink.value()
    assert b"attempting to allocate" in sink.value()
    server.idle()
    assert push.ended == 1
    assert server.leftovers("r.git") == []
    assert bare.exists()


@pytest.mark.parametrize(
    "request_bytes",
    [
        command_list("1" * 40) + b"no pack at all",
        command_list("1" * 40),
        command_list("1" * 40) + b"PACK\0\0\0\2\0\0\0\1",
    ],
)
def test_broken_packs_are_reported(server: PushServer, run: Any, request_bytes: bytes) -> None:
    server.bare("r.git")
    sink = BytesSink()
    push = PolicyPush("12345678")
    source = BytesSource(request_bytes)
    run(server.receive_pack.serve_request(server.repo("r.git"), 0, source, sink, push))
    assert b"ng refs/heads/x" in sink.value()
    server.idle()
    assert push.ended == 1 and push.updates == []
    assert server.leftovers("r.git") == []


@pytest.mark.attack(14)
@pytest.mark.parametrize("request_bytes", [b"zzzz", b"0001", b"fff5", b"0030abc", b"0003"])
def test_malformed_command_lists_are_refused(
    server: PushServer, run: Any, request_bytes: bytes
) -> None:
    server.bare("r.git")
    sink = BytesSink()
    push = PolicyPush("12345678")
    source = BytesSource(request_bytes)
    run(server.receive_pack.serve_request(server.repo("r.git"), 0, source, sink, push))
    assert sink.value()[4:8] == b"ERR "
    assert push.ended == 0


def test_nonsense_commands_get_a_clear_error(server: PushServer, run: Any) -> None:
    server.bare("r.git")
    sink = BytesSink()
    source = BytesSource(encode(b"this is no command\0 side-band-64k") + FLUSH)
    run(
        server.receive_pack.serve_request(
            server.repo("r.git"), 0, source, sink, PolicyPush("12345678")
        )
    )
    assert b"\3git could not read this push" in sink.value()
    assert server.leftovers("r.git") == []
