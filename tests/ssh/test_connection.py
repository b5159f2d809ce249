"""Channels and requests that are refused, limits, and messages that make no sense."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from twisted.conch.ssh.common import NS, getNS

from tests.ssh.raw_client import CLOSED, RawClient, signed_in
from tests.ssh.support import SshServer
from tests.support.daemon import free_port
from wit.streams import ByteSink, ByteSource

MakeServer = Callable[..., SshServer]
UNIMPLEMENTED = 3
CONFIRMED, FAILED, DATA, STDERR, CLOSE, REQUEST = 91, 92, 94, 95, 97, 98
OK, REFUSED = 99, 100


@pytest.fixture
def client(server: SshServer, run: Any) -> Any:
    client = run(signed_in(server.port, server.keys / "alice"))
    yield client
    run(_close(client))


async def _close(client: RawClient) -> None:
    client.close()


def test_the_greeting(server: SshServer) -> None:
    result = server.ssh("-T")
    assert result.returncode == 0
    assert result.stdout == b""
    assert result.stderr.decode().splitlines() == [
        "Hi alice! You are signed in to wit.",
        "There is no shell here; git clone, fetch and push work:",
        f"  git clone ssh://git@localhost:{server.port}/alice/REPO.git",
    ]


@pytest.mark.attack(11)
def test_the_greeting_on_a_terminal(server: SshServer) -> None:
    result = server.ssh(options=("-tt",))
    assert result.returncode == 0
    assert result.stderr == b""
    lines = result.stdout.split(b"\r\n")
    assert lines[0] == b"Hi alice! You are signed in to wit."
    assert lines[-1] == b""
    assert result.stdout.count(b"\n") == result.stdout.count(b"\r\n") == 3


@pytest.mark.attack(11)
@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("id", b"wit: 'id' is not available here: only git clone, fetch, ls-remote and push are\n"),
        ("git-upload-archive alice/small.git", b"wit: git archive --remote does not work over SSH"),
        ("git-upload-pack --exec=id alice/small.git", b"takes exactly one path, and no options"),
        ("rsync --server .", b"wit: 'rsync' is not available here"),
        ("git-lfs-authenticate a/b download", b"wit: Git LFS is not available over SSH\n"),
    ],
)
def test_commands_that_are_not_git(server: SshServer, command: str, text: bytes) -> None:
    result = server.ssh(command)
    assert result.returncode == 128
    assert result.stdout == b""
    assert text in result.stderr
    assert server.traffic.opened == []


@pytest.mark.attack(11)
def test_git_on_a_terminal(server: SshServer) -> None:
    result = server.ssh("git-upload-pack alice/small.git", options=("-tt",))
    assert result.returncode == 128
    assert result.stdout == b"wit: git commands run without a terminal: leave out -t\r\n"
    assert server.traffic.opened == []


@pytest.mark.attack(11)
def test_file_transfer(server: SshServer) -> None:
    common = server.ssh_words()[1:]
    port = common.index("-p")
    common[port] = "-P"
    for program in (
        ["sftp", *common, "git@127.0.0.1"],
        ["scp", *common, "git@127.0.0.1:x", "/tmp"],
    ):
        result = subprocess.run(program, capture_output=True, stdin=subprocess.DEVNULL, timeout=20)
        assert result.returncode != 0
        assert b"subsystem request failed on channel 0" in result.stderr


@pytest.mark.attack(11)
def test_forwarding(server: SshServer) -> None:
    through = server.ssh(options=("-W", f"127.0.0.1:{server.port}"), level="INFO")
    assert through.returncode == 255
    assert b"administratively prohibited: wit forwards nothing" in through.stderr
    remote = server.ssh(
        "-T", options=("-oExitOnForwardFailure=yes", "-R", f"{free_port()}:127.0.0.1:22")
    )
    assert remote.returncode == 255
    assert b"remote port forwarding failed" in remote.stderr
    harmless = server.ssh("-T", options=("-A", "-X", "-R", f"{free_port()}:127.0.0.1:22"))
    assert harmless.returncode == 0
    assert b"Hi alice!" in harmless.stderr


@pytest.mark.attack(11)
@pytest.mark.parametrize(
    "kind", ["direct-tcpip", "direct-streamlocal@openssh.com", "x11", "tun@openssh.com", "strange"]
)
def test_other_channels(client: RawClient, run: Any, kind: str) -> None:
    number, payload = run(client.open(kind.encode(), extra=NS(b"localhost") + bytes(12)))
    assert number == FAILED
    _, reason = struct.unpack(">2L", payload[:8])
    assert reason == (3 if kind == "strange" else 1)


@pytest.mark.attack(11)
def test_requests_that_are_refused(client: RawClient, run: Any) -> None:
    async def ask() -> None:
        await client.open()
        for kind in (b"x11-req", b"auth-agent-req@openssh.com", b"signal", b"break", b"\xff\xfe"):
            client.request(kind, bytes(16))
            assert (await client.receive())[0] == REFUSED
            client.request(kind, bytes(16), want=False)
        client.say(80, NS(b"tcpip-forward") + b"\1" + NS(b"") + bytes(4))
        assert (await client.receive())[0] == 82
        client.say(80, NS(b"tcpip-forward") + b"\0" + NS(b"") + bytes(4))
        client.say(80, NS(b"keepalive@openssh.com") + b"\1")
        assert (await client.receive())[0] == 82

    run(ask())


@pytest.mark.attack(1)
def test_only_git_protocol_comes_through(server: SshServer, run: Any) -> None:
    async def ask() -> None:
        client = await signed_in(server.port, server.keys / "alice")
        await client.open()
        for name, value, answer in (
            (b"LD_PRELOAD", b"/tmp/x.so", REFUSED),
            (b"GIT_PROTOCOL", b"version=2", OK),
            (b"GIT_PROTOCOL", b"--split-string=id", REFUSED),
            (b"GIT_CONFIG_COUNT", b"1", REFUSED),
            (b"PATH", b"/tmp", REFUSED),
        ):
            client.request(b"env", NS(name) + NS(value))
            assert (await client.receive())[0] == answer
        client.request(b"exec", NS(b"git-upload-pack alice/small.git"))
        assert (await client.receive())[0] == OK
        assert b"version 2" in (await client.until(DATA))[1]
        client.close()

    run(ask())
    assert server.traffic.protocols == [2]
    names = ("LD_PRELOAD", "GIT_PROTOCOL")
    options = [word for name in names for word in ("-o", f"SetEnv={name}=--split-string=id")]
    result = server.git("ls-remote", server.url("alice/small.git"), options=tuple(options))
    assert result.returncode == 0
    assert result.stderr == ""


def test_one_command_in_a_session(server: SshServer, run: Any) -> None:
    async def ask() -> None:
        client = await signed_in(server.port, server.keys / "alice")
        await client.open()
        client.request(b"exec", NS(b"git-upload-pack alice/small.git"))
        assert (await client.receive())[0] == OK
        for kind in (b"exec", b"shell", b"subsystem", b"pty-req", b"env"):
            client.request(kind, NS(b"git-upload-pack alice/small.git"))
            assert (await client.until(OK, REFUSED))[0] == REFUSED
        client.close()

    run(ask())
    assert len(server.traffic.opened) == 1


@pytest.mark.attack(7)
def test_sessions_on_one_connection(make_server: MakeServer, run: Any) -> None:
    server = make_server(max_channels=3)

    async def ask() -> None:
        client = await signed_in(server.port, server.keys / "alice")
        answers = [(await client.open(number=number))[0] for number in range(20)]
        assert answers == [CONFIRMED] * 3 + [FAILED] * 17
        client.request(b"shell", channel=1)
        while (message := await client.until(CLOSE))[1] != struct.pack(">L", 1):
            assert message[0] == CLOSE
        assert (await client.open(number=5))[0] == FAILED, "the client has not closed it yet"
        client.say(CLOSE, struct.pack(">L", 1))
        assert (await client.open(number=5))[0] == CONFIRMED
        client.close()

    run(ask())


def test_sessions_share_a_connection(server: SshServer, run: Any) -> None:
    """As OpenSSH's ControlMaster does it."""

    async def endless(source: ByteSource, sink: ByteSink) -> None:
        while True:
            await sink.write(bytes(200_000))

    async def ask() -> None:
        server.traffic.session = endless
        client = await signed_in(server.port, server.keys / "alice")
        received = [0, 0, 0]
        for number in range(3):
            await client.open(number=number, window=1 << 24)
            client.request(b"exec", NS(b"git-upload-pack x"), channel=number, want=False)
        while sum(received) < 12 << 20:
            _, payload = await client.until(DATA)
            received[int.from_bytes(payload[:4], "big")] += len(payload) - 8
        assert min(received) > max(received) / 2, "each had its turn"
        client.close()

    run(ask())


@pytest.mark.parametrize(
    ("number", "payload"),
    [
        (94, struct.pack(">L", 7) + NS(b"x")),
        (93, struct.pack(">2L", 7, 1)),
        (98, struct.pack(">L", 7) + NS(b"shell") + b"\1"),
        (94, b"\0\0"),
        (94, bytes(4) + struct.pack(">L", 900) + b"short"),
        (98, bytes(4) + b"\xff\xff\xff\xff"),
        (98, bytes(4) + NS(b"exec") + b"\1" + b"\0\0\1\0ls"[:2]),
        (90, NS(b"session")),
        (80, b""),
        (96, b""),
        (97, bytes(3)),
    ],
)
def test_malformed_messages(client: RawClient, run: Any, number: int, payload: bytes) -> None:
    async def ask() -> str:
        await client.open()
        client.say(number, payload)
        return await client.ended()

    assert run(ask()) == "malformed message"


def test_unknown_messages(client: RawClient, run: Any) -> None:
    async def ask() -> None:
        for number in (79, 91, 99, 192, 255):
            client.say(number, b"rubbish")
            sequence = client.outgoingPacketSequence - 1
            assert await client.receive() == (UNIMPLEMENTED, struct.pack(">L", sequence))

    run(ask())


def test_more_data_than_the_window_allows(client: RawClient, run: Any) -> None:
    async def ask() -> str:
        await client.open()
        for _ in range(5):
            client.data(bytes(32768))
        return await client.ended()

    assert run(ask()) == "malformed message"


@pytest.mark.parametrize(("max_packet", "answer"), [(0, FAILED), (1, FAILED), (256, CONFIRMED)])
def test_tiny_packets(client: RawClient, run: Any, max_packet: int, answer: int) -> None:
    assert run(client.open(max_packet=max_packet))[0] == answer


def test_a_tiny_window(server: SshServer, run: Any) -> None:
    """A greeting byte by byte: nothing is sent that the client has not allowed."""

    async def ask() -> bytes:
        client = await signed_in(server.port, server.keys / "alice")
        await client.open(window=0)
        client.request(b"shell", want=False)
        text = b""
        while True:
            client.adjust(7)
            number, payload = await client.until(STDERR, CLOSE)
            if number == CLOSE:
                client.close()
                return text
            piece = getNS(payload[8:])[0]
            assert 0 < len(piece) <= 7
            text += piece

    assert run(ask()).endswith(b"REPO.git\n")


def test_leaving_in_the_middle(server: SshServer, run: Any) -> None:
    async def ask() -> None:
        client = await signed_in(server.port, server.keys / "alice")
        await client.open()
        client.say(1, struct.pack(">L", 11) + NS(b"bye") + NS(b""))
        assert (await client.until(CLOSED))[0] == CLOSED

    run(ask())
