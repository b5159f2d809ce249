"""Pushes that end early: nothing is left of them."""

from __future__ import annotations

import signal
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.git.conftest import Children
from tests.git.pushing import Gate, PolicyPush, PushServer, eventually, in_background, ok
from tests.git.receive_pack.support import Make, command_list
from wit.git.pktline import encode
from wit.runtime import Runtime
from wit.streams import BytesSink


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
