"""Bytes through a channel: complete, bounded, and over when a side is gone."""

from __future__ import annotations

import hashlib
import os
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from twisted.conch.ssh.common import NS
from twisted.internet.defer import CancelledError, Deferred

from tests.ssh.raw_client import CLOSED, signed_in
from tests.ssh.support import SshServer, make_repository
from tests.support.daemon import wait_until
from wit.errors import Forbidden, TooLarge
from wit.ssh.channel import PUSH_WINDOW, WINDOW
from wit.streams import ByteSink, ByteSource, StreamClosed

MakeServer = Callable[..., SshServer]
MIB = 1024 * 1024
DATA, STDERR, CLOSE, ADJUST = 94, 95, 97, 93
FETCH, PUSH = b"git-upload-pack x", b"git-receive-pack x"


def start(server: SshServer, command: str = "git-upload-pack x", **options: Any) -> Any:
    return subprocess.Popen(
        [*server.ssh_words(), "git@127.0.0.1", command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


@pytest.fixture
def clients() -> Iterator[list[Any]]:
    """ssh processes that are ended after the test, stopped ones too."""
    started: list[Any] = []
    yield started
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def test_two_hundred_megabytes_are_complete_every_time(server: SshServer) -> None:
    block = os.urandom(MIB)

    async def long(source: ByteSource, sink: ByteSink) -> None:
        for _ in range(200):
            await sink.write(block)

    expected = hashlib.sha256()
    for _ in range(200):
        expected.update(block)
    server.traffic.session = long
    for _ in range(3):
        process = start(server)
        process.stdin.close()
        digest, size = hashlib.sha256(), 0
        while data := process.stdout.read(MIB):
            digest.update(data)
            size += len(data)
        assert process.wait(30) == 0
        assert process.stderr.read() == b""
        assert size == 200 * MIB
        assert digest.digest() == expected.digest()


def test_both_directions_at_once(server: SshServer) -> None:
    async def echo(source: ByteSource, sink: ByteSink) -> None:
        while data := await source.read():
            await sink.write(data)

    server.traffic.session = echo
    data = os.urandom(20 * MIB)
    for command in ("git-upload-pack x", "git-receive-pack x"):
        process = start(server, command)
        output, errors = process.communicate(data, timeout=60)
        assert (process.returncode, errors) == (0, b"")
        assert output == data


@pytest.mark.attack(8)
def test_a_client_that_stops_reading(make_server: MakeServer, clients: list[Any]) -> None:
    """The writer waits, memory stays flat, and after the idle time the work is ended."""
    server = make_server(idle_seconds=3.0)
    written: list[int] = []
    ends: list[str] = []

    async def endless(source: ByteSource, sink: ByteSink) -> None:
        try:
            while True:
                await sink.write(bytes(MIB))
                written.append(MIB)
        except (CancelledError, StreamClosed) as error:
            ends.append(type(error).__name__)
            raise

    server.traffic.session = endless
    process = start(server)
    clients.append(process)
    assert process.stdout.read(MIB) == bytes(MIB)
    before = psutil.Process().memory_info().rss
    process.send_signal(signal.SIGSTOP)
    factory = server.service._factory
    assert factory is not None
    (connection,) = factory.connections
    (channel,) = connection.service.channels.values()  # type: ignore[union-attr]
    wait_until(
        lambda: connection.writers.congested or not channel._remote_window, what="back-pressure"
    )
    assert sum(written) < 64 * MIB, "no more than what the sockets and the client take"
    assert psutil.Process().memory_info().rss - before < 8 * MIB
    wait_until(lambda: ends, what="the end of the work")
    wait_until(lambda: not factory.connections and not factory.tasks)
    process.send_signal(signal.SIGCONT)
    assert process.wait(20) != 0


@pytest.mark.attack(8)
def test_a_closed_window(make_server: MakeServer, run: Any) -> None:
    """A client that reads its socket but never opens its window."""
    server = make_server(idle_seconds=0.8)
    sent: list[int] = []

    async def endless(source: ByteSource, sink: ByteSink) -> None:
        while True:
            await sink.write(bytes(10_000))
            sent.append(1)

    async def ask() -> tuple[int, str]:
        server.traffic.session = endless
        client = await signed_in(server.port, server.keys / "alice")
        await client.open(window=25_000)
        client.request(b"exec", NS(FETCH), want=False)
        received = 0
        while True:
            number, payload = await client.receive()
            if number != DATA:
                client.put(number, payload)
                return received, await client.ended()
            received += len(payload) - 8

    received, reason = run(ask())
    assert received == 25_000
    assert len(sent) == 2
    assert reason == "nothing moved for 0.8 seconds"


def test_one_idle_channel_among_busy_ones(make_server: MakeServer, run: Any) -> None:
    server = make_server(idle_seconds=0.8)
    works: list[str] = []

    async def work(source: ByteSource, sink: ByteSink) -> None:
        while await source.read():
            await sink.write(b"tick")
        works.append("ended")

    async def ask() -> None:
        server.traffic.session = work
        client = await signed_in(server.port, server.keys / "alice")
        for number in (0, 1):
            await client.open(number=number)
            client.request(b"exec", NS(FETCH), channel=number, want=False)
        while not any(message[0] == CLOSE for message in client.inbox):
            client.data(b"tack", channel=1)
            await server.service._runtime.sleep(0.05)
        closed = [payload for number, payload in client.inbox if number == CLOSE]
        assert closed == [struct.pack(">L", 0)]
        client.data(b"tack", channel=1)
        client.say(96, struct.pack(">L", 1))
        while not works:
            await server.service._runtime.sleep(0.01)
        client.close()

    run(ask())
    assert works == ["ended"]


def test_an_idle_connection(make_server: MakeServer, run: Any) -> None:
    server = make_server(idle_seconds=0.4)

    async def wait() -> str:
        client = await signed_in(server.port, server.keys / "alice")
        await client.open()
        client.request(b"shell", want=False)
        assert (await client.until(CLOSE))[0] == CLOSE
        client.say(CLOSE, bytes(4))
        return await client.ended()

    assert run(wait()) == "nothing moved for 0.4 seconds"


@pytest.mark.attack(9)
@pytest.mark.parametrize(("command", "window"), [(FETCH, WINDOW), (PUSH, PUSH_WINDOW)])
def test_a_push_faster_than_git_reads(
    server: SshServer, run: Any, command: bytes, window: int
) -> None:
    """The window is given back for what has been taken, and for nothing else."""
    go: Deferred[None] = Deferred()
    taken: list[int] = []

    async def slow(source: ByteSource, sink: ByteSink) -> None:
        await go
        while data := await source.read():
            taken.append(len(data))

    async def ask() -> None:
        server.traffic.session = slow
        client = await signed_in(server.port, server.keys / "alice")
        _, payload = await client.open()
        allowed = int.from_bytes(payload[8:12], "big")
        client.request(b"exec", NS(command))
        assert (await client.receive())[0] == 99
        if window > WINDOW:
            _, payload = await client.until(ADJUST)
            allowed += int.from_bytes(payload[4:8], "big")
        assert allowed == window
        for _ in range(window // 32768):
            client.data(bytes(32768))
        client.request(b"signal")
        assert (await client.receive())[0] == 100, "everything has arrived, nothing is given back"
        assert taken == []
        go.callback(None)
        given = 0
        while given < window * 3 // 4:
            _, payload = await client.until(ADJUST)
            given += int.from_bytes(payload[4:8], "big")
        client.say(96, bytes(4))
        assert (await client.until(CLOSE))[0] == CLOSE
        client.close()

    run(ask())
    assert sum(taken) == window


@pytest.mark.attack(10)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, None])
def test_an_interrupted_client_leaves_no_process(
    server: SshServer, repositories: Path, clients: list[Any], how: int | None
) -> None:
    if not (repositories / "alice/slow.git").exists():
        make_repository(repositories / "alice/slow.git", {"f": os.urandom(8 * MIB)})
    process = start(server, "git-upload-pack alice/slow.git")
    clients.append(process)
    assert process.stdout.read(4)
    wait_until(lambda: server.traffic.pids)
    if how is None:
        process.stdin.close()  # the end of the input: git ends by itself
    else:
        process.send_signal(how)
    factory = server.service._factory
    assert factory is not None
    wait_until(lambda: not factory.tasks)
    assert not any(psutil.pid_exists(pid) for pid in server.traffic.pids)
    if how is not None:
        assert server.metrics.requests.labels("ssh", "cancelled")._value.get() == 1


@pytest.mark.attack(10)
@pytest.mark.parametrize("leave", ["close the channel", "drop the connection"])
def test_the_work_is_cancelled_when_the_client_leaves(
    server: SshServer, run: Any, leave: str
) -> None:
    seen: list[str] = []

    async def waiting(source: ByteSource, sink: ByteSink) -> None:
        seen.append("started")
        try:
            await Deferred()
        except CancelledError:
            seen.append("cancelled")
        for act in (source.read, lambda: sink.write(b"x")):
            try:
                await act()
            except StreamClosed:
                seen.append("closed")

    async def ask() -> None:
        server.traffic.session = waiting
        client = await signed_in(server.port, server.keys / "alice")
        await client.open()
        client.request(b"exec", NS(FETCH))
        await client.receive()
        if leave == "close the channel":
            client.say(CLOSE, bytes(4))
            assert await client.receive() == (CLOSE, bytes(4))
            assert (await client.open())[0] == 91
        client.close()
        assert (await client.until(CLOSED))[0] == CLOSED

    run(ask())
    wait_until(lambda: len(seen) == 4)
    assert seen == ["started", "cancelled", "closed", "closed"]


# -- errors -------------------------------------------------------------------------------------


def test_an_error_before_git_has_said_anything(server: SshServer) -> None:
    async def refuse(source: ByteSource, sink: ByteSink) -> None:
        raise Forbidden("you may read this repository, not write to it")

    server.traffic.session = refuse
    result = server.git("ls-remote", server.url("a/b"))
    assert result.stderr == ("fatal: remote error: you may read this repository, not write to it\n")
    assert server.ssh("git-receive-pack a/b").returncode == 128


def test_an_error_in_the_middle(server: SshServer) -> None:
    async def refuse(source: ByteSource, sink: ByteSink) -> None:
        await sink.write(b"0008NAK\n")
        raise TooLarge("the fetch request is too large")

    server.traffic.session = refuse
    result = server.ssh("git-upload-pack a/b")
    assert result.returncode == 128
    assert result.stdout == b"0008NAK\n"
    assert result.stderr == b"wit: the fetch request is too large\n"


@pytest.mark.parametrize("error", [RuntimeError("secret"), StreamClosed("secret")])
def test_an_unexpected_error_tells_the_request_id_only(server: SshServer, error: Exception) -> None:
    async def fail(source: ByteSource, sink: ByteSink) -> None:
        raise error

    server.traffic.session = fail
    result = server.git("ls-remote", server.url("a/b"))
    request_id = server.traffic.opened[0][3].request_id
    assert result.stderr == f"fatal: remote error: internal error, request id {request_id}\n"
    assert server.metrics.requests.labels("ssh", "internal")._value.get() == 1


def test_the_request_says_where_it_comes_from(server: SshServer) -> None:
    server.git("ls-remote", server.url("alice/small.git"))
    actor, path, service, request = server.traffic.opened[0]
    assert (actor.username, path, service.value) == ("alice", "/alice/small.git", "git-upload-pack")
    assert (request.address, request.door) == ("127.0.0.1", "ssh")
