"""Pushes with the real git into ReceivePack, with policies made for the test."""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.git.conftest import Children
from tests.git.pushing import (
    Gate,
    PolicyPush,
    PushServer,
    commit,
    eventually,
    git,
    in_background,
    ok,
    work_tree,
)
from wit.config import Config
from wit.config import Git as GitConfig
from wit.errors import Invalid
from wit.git.pktline import FLUSH, encode
from wit.git.push import Verdict, reflog_identity
from wit.runtime import Runtime
from wit.streams import BytesSink, BytesSource

Make = Callable[..., PushServer]
ZERO = "0" * 40


@pytest.fixture
def make_server(tmp_path: Path, run: Any, runtime: Runtime) -> Iterator[Make]:
    servers: list[PushServer] = []

    def make(**git_settings: Any) -> PushServer:
        server = PushServer(Config(tmp_path / "data", git=GitConfig(**git_settings)), runtime)
        run(server.start())
        servers.append(server)
        return server

    yield make
    for server in servers:
        run(server.stop())


@pytest.fixture
def server(make_server: Make) -> PushServer:
    return make_server()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return work_tree(tmp_path / "work")


def refuse(*refs: bytes, reason: str = "not this one") -> dict[str, Any]:
    return {
        "policy": lambda updates, options: Verdict(
            {u.ref: f"{u.ref.decode()}: {reason}" for u in updates if u.ref in refs}
        )
    }


@pytest.mark.parametrize("protocol", [0, 1, 2])
@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_create_update_force_delete(
    server: PushServer, tmp_path: Path, protocol: int, object_format: str
) -> None:
    work = work_tree(tmp_path / "work", object_format)
    bare = server.bare("r.git", object_format)
    url = server.url("r.git")
    git_push = ("-c", f"protocol.version={protocol}", "push")
    first = ok("rev-parse", "HEAD", cwd=work)
    ok(*git_push, url, "main", "main:refs/tags/v1", cwd=work)
    assert ok("rev-parse", "main", "v1", cwd=bare).split() == [first, first]
    second = commit(work, "two", files=30)  # comes as a pack
    ok(*git_push, url, "main", cwd=work)
    assert ok("rev-parse", "main", cwd=bare) == second
    ok(*git_push, "--force", url, f"{first}:refs/heads/main", cwd=work)
    assert ok("rev-parse", "main", cwd=bare) == first
    ok(*git_push, url, ":refs/tags/v1", cwd=work)
    assert "v1" not in ok("for-each-ref", cwd=bare)
    ok("fsck", "--strict", cwd=bare)
    server.idle()
    assert server.leftovers("r.git") == []
    assert [push.ended for push in server.pushes] == [1, 1, 1, 1]
    log = (bare / "logs" / "refs" / "heads" / "main").read_text().splitlines()
    assert f"ada <{reflog_identity(server.pushes[0].id)}>" in log[0]
    assert [u.ref for u in server.pushes[0].updates] == [b"refs/heads/main", b"refs/tags/v1"]
    assert not server.errors


def test_nothing_to_push_runs_nothing(server: PushServer, work: Path) -> None:
    server.bare("r.git")
    ok("push", server.url("r.git"), "main", cwd=work)
    done = git("push", server.url("r.git"), "main", cwd=work)
    assert "up-to-date" in done.err
    server.idle()
    assert [push.ended for push in server.pushes] == [1, 0]


def test_push_options_arrive_whatever_they_contain(server: PushServer, work: Path) -> None:
    server.bare("r.git")
    options = ["a b", "quote ' \" $(id) `id` \\ \\n %s", "höhe=10", "", "*"]
    arguments = [f"--push-option={option}" for option in options]
    ok("push", *arguments, server.url("r.git"), "main", cwd=work)
    assert server.pushes[0].options == options


def test_many_refs_with_odd_names(server: PushServer, work: Path) -> None:
    bare = server.bare("r.git")
    head = ok("rev-parse", "HEAD", cwd=work)
    names = [f"refs/heads/b{number}" for number in range(60)]
    names += ["refs/heads/quote'\"$(id)`", "refs/heads/Á\u0081", "refs/heads/ö/ü", "refs/heads/a%s"]
    ok("push", "-q", server.url("r.git"), *(f"{head}:{name}" for name in names), cwd=work)
    assert sorted(u.ref.decode() for u in server.pushes[0].updates) == sorted(names)
    assert ok("for-each-ref", "--format=%(refname)", cwd=bare).splitlines() == sorted(
        names, key=str.encode
    )


@pytest.mark.attack(22)
def test_refused_refs_alone_are_refused_alone(server: PushServer, work: Path) -> None:
    bare = server.bare("r.git")
    odd = "refs/heads/it's;$x`y`Á"
    server.settings = refuse(b"refs/heads/main", odd.encode())
    done = git(
        "push", "--porcelain", server.url("r.git"), "main", "main:ok", f"main:{odd}", cwd=work
    )
    assert done.code != 0
    assert "remote: refs/heads/main: not this one" in done.err
    assert f"remote: {odd}: not this one" in done.err
    assert "!\trefs/heads/main:refs/heads/main\t[remote rejected] (hook declined)" in done.out
    assert "*\trefs/heads/main:refs/heads/ok\t[new branch]" in done.out
    assert ok("for-each-ref", "--format=%(refname)", cwd=bare) == "refs/heads/ok"
    server.idle()
    assert server.leftovers("r.git") == []


@pytest.mark.attack(22)
@pytest.mark.parametrize("atomic", [True, False])
def test_atomic_or_all_refused_changes_nothing(
    server: PushServer, work: Path, atomic: bool
) -> None:
    bare = server.bare("r.git")
    server.settings = refuse(b"refs/heads/main", *([] if atomic else [b"refs/heads/ok"]))
    flags = ["--atomic"] if atomic else []
    done = git("push", *flags, server.url("r.git"), "main", "main:ok", cwd=work)
    assert done.code != 0
    assert "remote: refs/heads/main: not this one" in done.err
    assert ok("for-each-ref", cwd=bare) == ""
    assert not list((bare / "objects").glob("??")), "the objects went with the quarantine"


@pytest.mark.attack(23)
def test_a_policy_that_fails_refuses(server: PushServer, work: Path) -> None:
    bare = server.bare("r.git")

    async def broken() -> None:
        raise ValueError("secret")

    async def invalid() -> None:
        raise Invalid("the moon is wrong")

    server.settings = {"before": broken}
    done = git("push", server.url("r.git"), "main", cwd=work)
    assert done.code != 0 and "remote: internal error, request id" in done.err
    assert "secret" not in done.err
    server.settings = {"before": invalid}
    assert "remote: the moon is wrong" in git("push", server.url("r.git"), "main", cwd=work).err
    assert ok("for-each-ref", cwd=bare) == ""


@pytest.mark.attack(23)
def test_a_policy_that_takes_too_long_refuses(make_server: Make, work: Path) -> None:
    server = make_server(hook_seconds=0.2)
    bare = server.bare("r.git")
    server.settings = {"before": lambda: Deferred()}
    done = git("push", server.url("r.git"), "main", cwd=work)
    assert done.code != 0
    assert "remote: the push rules did not answer in time" in done.err
    assert ok("for-each-ref", cwd=bare) == ""
    server.idle()
    assert server.leftovers("r.git") == []


@pytest.mark.attack(23)
def test_a_channel_that_breaks_refuses(
    server: PushServer, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = server.bare("r.git")

    def garbage(_: object) -> bytes:
        return b"yes please\n"

    def nothing(_: object) -> bytes:
        raise RuntimeError("the daemon stumbles")

    for broken in (garbage, nothing):
        monkeypatch.setattr("wit.git.hook_channel.encode_answer", broken)
        done = git("push", server.url("r.git"), "main", cwd=work)
        assert done.code != 0
        assert "remote: the push could not be checked, nothing was changed; try again" in done.err
    assert ok("for-each-ref", cwd=bare) == ""
    server.idle()
    assert server.leftovers("r.git") == []


def test_the_hook_refuses_without_a_daemon(server: PushServer, work: Path) -> None:
    """The script by itself: descriptors that are closed or lead to nobody."""
    server.bare("r.git")
    ok("push", server.url("r.git"), "main", cwd=work)
    (script,) = (server.root / ".wit" / "hooks").iterdir()
    hooks = server.root / "hooks"
    hooks.mkdir()
    (hooks / "pre-receive").symlink_to(script)
    ok("init", "-q", "--bare", server.root / "plain.git")
    done = git("push", server.root / "plain.git", "main", cwd=work)
    assert done.code == 0
    ok("config", "core.hooksPath", hooks, cwd=server.root / "plain.git")
    done = git("push", server.root / "plain.git", "main:other", cwd=work)
    assert done.code != 0
    assert "remote: the push could not be checked, nothing was changed; try again" in done.err


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


def command_list(new: str, capabilities: str = "report-status side-band-64k") -> bytes:
    return encode(f"{ZERO} {new} refs/heads/x\0{capabilities}".encode()) + FLUSH


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


@pytest.mark.attack(20)
def test_hidden_and_read_only_namespaces(server: PushServer, work: Path) -> None:
    bare = server.bare("r.git")
    head = ok("rev-parse", "HEAD", cwd=work)
    ok("push", bare, "main:refs/wit/secret", "main:refs/pull/1/head", cwd=work)
    for ref in ("refs/wit/secret", "refs/wit/x", "refs/pull/1/head", "refs/pull/2/head"):
        done = git("push", server.url("r.git"), f"{head}:{ref}x", cwd=work)
        assert "deny updating a hidden ref" in done.err
    assert "refs/pull/1/head" in ok("for-each-ref", cwd=bare)


@pytest.mark.attack(21)
def test_of_two_racing_pushes_one_wins(
    server: PushServer, work: Path, tmp_path: Path, runtime: Runtime
) -> None:
    bare = server.bare("r.git")
    ok("push", server.url("r.git"), "main", cwd=work)
    ok("clone", "-q", bare, tmp_path / "other")
    gates = [Gate(runtime), Gate(runtime)]
    waiting = iter(gates)
    server.make_push = lambda repo: PolicyPush(runtime.new_id(), before=next(waiting).wait)
    tips, clients = [], []
    for clone in (work, tmp_path / "other"):
        tips.append(commit(clone, f"from {clone.name}"))
        clients.append(in_background("push", server.url("r.git"), "main", cwd=clone))
    for gate in gates:
        assert gate.reached.wait(20)
    for gate in gates:
        gate.open()
    ends = [client.communicate(timeout=30) for client in clients]
    codes = [client.returncode for client in clients]
    assert sorted(codes) == [0, 1]
    winner = codes.index(0)
    assert ok("rev-parse", "main", cwd=bare) == tips[winner]
    assert b"[remote rejected]" in ends[1 - winner][1]
    ok("fsck", cwd=bare)
    server.idle()
    assert server.leftovers("r.git") == []


@pytest.mark.attack(10)
def test_a_client_that_goes_away_mid_push_leaves_nothing(
    server: PushServer, work: Path, runtime: Runtime, children: Children
) -> None:
    bare = server.bare("r.git")
    path = server.url("r.git").removeprefix("git://")
    host, port = path.split("/")[0].split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(encode(b"git-receive-pack /r.git\0host=x\0"))
        assert client.recv(4)
        client.sendall(command_list("1" * 40) + b"PACK\0\0\0\2\0\0\x10\0")
        eventually(lambda: list((bare / "objects").glob("tmp_objdir*")))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.idle()
    assert server.leftovers("r.git") == []
    assert server.pushes[0].ended == 1
    assert server.governor.running == 0
    assert children() == []


@pytest.mark.attack(10)
def test_a_client_that_goes_away_while_the_policy_thinks(
    server: PushServer, work: Path, runtime: Runtime, children: Children
) -> None:
    bare = server.bare("r.git")
    gate = Gate(runtime)
    server.settings = {"before": gate.wait}
    client = in_background("push", server.url("r.git"), "main", cwd=work)
    assert gate.reached.wait(20)
    server.hang_up()
    assert client.wait(20) != 0
    client.communicate()
    server.idle()
    assert ok("for-each-ref", cwd=bare) == ""
    assert server.leftovers("r.git") == []
    assert server.pushes[0].ended == 1
    assert children() == []


def test_a_push_that_takes_too_long_is_ended(
    make_server: Make, run: Any, children: Children
) -> None:
    server = make_server(push_seconds=0.3)
    server.bare("r.git")

    class Stalled:
        def __init__(self) -> None:
            self.first = True

        async def read(self) -> bytes:
            if self.first:
                self.first = False
                return command_list("1" * 40) + b"PACK"
            await Deferred()
            raise AssertionError

    sink = BytesSink()
    push = PolicyPush("12345678")
    run(server.receive_pack.serve_request(server.repo("r.git"), 0, Stalled(), sink, push))
    assert b"took too long" in sink.value() or b"unpack" in sink.value()
    assert push.ended == 1
    assert server.leftovers("r.git") == []
    assert children() == []


def test_git_that_is_killed_is_cleaned_up_after(
    server: PushServer, work: Path, runtime: Runtime, children: Children
) -> None:
    bare = server.bare("r.git")
    gate = Gate(runtime)
    server.settings = {"before": gate.wait}
    client = in_background("push", server.url("r.git"), "main", cwd=work)
    assert gate.reached.wait(20)
    (bare / "refs" / "heads" / "main.lock").write_text("as if git had been about to write")
    (receive_pack,) = [
        p for p in children() if p.pid != client.pid and p.cmdline()[1] == "receive-pack"
    ]
    receive_pack.send_signal(signal.SIGKILL)
    assert client.wait(20) != 0
    client.communicate()
    server.idle()
    assert server.leftovers("r.git") == []
    assert ok("for-each-ref", cwd=bare) == ""
    server.settings = {}
    ok("push", server.url("r.git"), "main", cwd=work)
