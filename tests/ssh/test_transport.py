"""The connection itself: time limits, floods, algorithms, key exchange."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.conch.ssh.common import NS

from tests.ssh.raw_client import CLOSED, connect, signed_in
from tests.ssh.support import SshServer, make_repository
from tests.support.daemon import wait_until
from wit import __version__
from wit.config import Ssh
from wit.ssh import factory as factory_module
from wit.ssh import transport as transport_module
from wit.ssh import writers
from wit.ssh.packets import PacketWriter
from wit.ssh.transport import SshTransport

MakeServer = Callable[..., SshServer]


def talk(server: SshServer, sent: bytes) -> bytes:
    """What the server says to these bytes until it closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as peer:
        peer.sendall(sent)
        received = b""
        try:
            while data := peer.recv(65536):
                received += data
        except ConnectionResetError:
            pass
    return received


def open_connections(server: SshServer) -> int:
    factory = server.service._factory
    assert factory is not None
    return len(factory.connections)


# -- time limits and floods -------------------------------------------------------------------


@pytest.mark.attack(6)
@pytest.mark.parametrize(
    "sent", [b"", b"SSH-2.0-slow", b"SSH-2.0-slow\r\n", b"SSH-2.0-x\r\n\0\0\1"]
)
def test_a_stalled_handshake(make_server: MakeServer, sent: bytes) -> None:
    server = make_server(login_seconds=0.5)
    assert talk(server, sent).startswith(b"SSH-2.0-wit_")
    wait_until(lambda: open_connections(server) == 0)


@pytest.mark.attack(6)
def test_a_stalled_sign_in(make_server: MakeServer, run: Any) -> None:
    server = make_server(login_seconds=0.5)

    async def stall() -> str:
        client = await connect(server.port)
        await client.start_user_auth()
        return await client.ended()

    assert run(stall()) == "sign-in took too long"
    wait_until(lambda: open_connections(server) == 0)


def test_time_limits_are_as_required() -> None:
    assert transport_module.HANDSHAKE_SECONDS <= 15
    assert SshTransport.rekey_bytes <= 64 << 30


@pytest.mark.attack(6)
def test_somebody_signed_in_is_not_hurried(make_server: MakeServer, run: Any) -> None:
    server = make_server(login_seconds=0.5)

    async def wait() -> int:
        client = await signed_in(server.port, server.keys / "alice")
        await server.service._runtime.sleep(0.8)
        number, _ = await client.open()
        client.close()
        return number

    assert run(wait()) == 91


@pytest.mark.attack(12)
@pytest.mark.parametrize(
    "sent",
    [
        b"A" * 4096,
        b"SSH-2.0-" + b"A" * 4096,
        b"SSH-2.0-" + b"A" * 300 + b"\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\r\n" * 200,
        b"SSH-1.5-old\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_no_ssh_client(server: SshServer, sent: bytes) -> None:
    answer = talk(server, sent)
    if answer:  # a reset connection may lose it
        assert answer.startswith(b"SSH-2.0-wit_")
    wait_until(lambda: open_connections(server) == 0)


def test_the_version_string(server: SshServer) -> None:
    first = talk(server, b"nonsense\r\n").split(b"\r\n")[0]
    assert first == b"SSH-2.0-wit_" + __version__.encode()


@pytest.mark.parametrize(
    "packet",
    [
        b"\xff\xff\xff\xff" + bytes(20),
        b"\0\0\0\0" + bytes(20),
        b"\0\0\0\x0c\x04" + bytes((21,)) + bytes(10),
        b"\0\0\0\x0c\x04" + bytes((30,)) + bytes(10),
        b"\0\0\0\x0c\x04" + bytes((50,)) + bytes(10),
        b"\0\0\0\x0c\x04" + bytes((5,)) + bytes(10),
        b"\0\0\0\x0c\x04" + bytes((20,)) + bytes(10),
    ],
)
def test_packets_before_the_keys(server: SshServer, packet: bytes) -> None:
    """Neither sign-in nor new keys nor rubbish is accepted in the clear."""
    talk(server, b"SSH-2.0-x\r\n" + packet)
    wait_until(lambda: open_connections(server) == 0)
    assert server.owners.asked == []


def test_a_wrong_mac(server: SshServer, run: Any) -> None:
    async def spoil() -> str:
        client = await connect(server.port)
        client.currentEncryptions.outMAC.key = b"x" * 32  # type: ignore[attr-defined]
        client.say(2, NS(b"ignore me"))
        return await client.ended()

    assert run(spoil()) == "bad MAC"


@pytest.mark.attack(7)
def test_connections_beyond_the_limit(make_server: MakeServer) -> None:
    server = make_server(max_connections=3)
    address = ("127.0.0.1", server.port)
    peers = [socket.create_connection(address, timeout=20) for _ in range(3)]
    assert all(peer.recv(8) == b"SSH-2.0-" for peer in peers)
    assert talk(server, b"") == b"wit: too many connections, try again in a minute\r\n"
    assert open_connections(server) == 3
    assert server.metrics.open_connections.labels("ssh")._value.get() == 3
    peers.pop().close()
    wait_until(lambda: open_connections(server) == 2)
    assert server.ssh("-T").returncode == 0
    for peer in peers:
        peer.close()
    wait_until(lambda: server.metrics.open_connections.labels("ssh")._value.get() == 0)


@pytest.mark.attack(7)
def test_connections_that_do_not_sign_in_give_way(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory_module, "MAX_SIGNING_IN", 5)
    server = make_server(login_seconds=20.0)
    address = ("127.0.0.1", server.port)
    peers = [socket.create_connection(address, timeout=20) for _ in range(5)]
    assert all(peer.recv(8) == b"SSH-2.0-" for peer in peers)
    assert b"too many connections" in talk(server, b"")
    monkeypatch.setattr(factory_module, "PATIENCE_SECONDS", 0.0)
    assert server.ssh("-T").returncode == 0
    while peers[0].recv(65536):
        pass
    for peer in peers:
        peer.close()


def test_a_client_that_asks_and_never_reads(
    server: SshServer, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers do not pile up without end."""
    monkeypatch.setattr(writers, "MAX_UNREAD", 64 * 1024)

    async def flood() -> None:
        client = await signed_in(server.port, server.keys / "alice")
        assert client.transport is not None
        client.transport.pauseProducing()  # type: ignore[attr-defined]
        while open_connections(server):
            for _ in range(2000):
                client.say(80, NS(b"keepalive@openssh.com") + b"\1")
            await server.service._runtime.sleep(0)
        client.close()

    run(flood())


# -- algorithms ---------------------------------------------------------------------------------


@pytest.mark.attack(12)
def test_ssh_audit_has_nothing_to_say_of_encrypt_then_mac(make_server: MakeServer) -> None:
    """As it is without the MACs for old clients."""
    server = make_server(macs=tuple(name for name in Ssh().macs if "-etm@" in name))
    program = str(Path(sys.executable).parent / "ssh-audit")
    done = subprocess.run(
        [program, "-j", "--skip-rate-test", "-p", str(server.port), "127.0.0.1"],
        capture_output=True,
        timeout=60,
    )
    report = json.loads(done.stdout)
    assert len(report["mac"]) == 2
    for kind in ("key", "enc", "mac"):
        for entry in report[kind]:
            assert not {"fail", "warn"} & set(entry["notes"]), entry


@pytest.mark.attack(12)
def test_ssh_audit_finds_nothing_to_fail(server: SshServer) -> None:
    program = str(Path(sys.executable).parent / "ssh-audit")
    result = subprocess.run(
        [program, "-j", "--skip-rate-test", "-p", str(server.port), "127.0.0.1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    report = json.loads(result.stdout)
    algorithms = [entry for kind in ("kex", "key", "enc", "mac") for entry in report[kind]]
    assert len(algorithms) >= 10
    for entry in algorithms:
        assert "fail" not in entry["notes"], entry
    assert report["cves"] == []
    assert report["compression"] == ["none"]
    names = {entry["algorithm"] for entry in algorithms}
    assert {"mlkem768x25519-sha256", "curve25519-sha256", "ssh-ed25519"} <= names
    assert "kex-strict-s-v00@openssh.com" in names
    text = subprocess.run(
        [program, "--skip-rate-test", "-n", "-p", str(server.port), "127.0.0.1"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "[fail]" not in text.stdout


@pytest.mark.attack(12)
@pytest.mark.parametrize(
    "option",
    [
        "KexAlgorithms=diffie-hellman-group14-sha1",
        "KexAlgorithms=diffie-hellman-group-exchange-sha256",
        "KexAlgorithms=ecdh-sha2-nistp256",
        "Ciphers=3des-cbc",
        "Ciphers=aes128-cbc",
        "Ciphers=chacha20-poly1305@openssh.com",
        "MACs=hmac-md5",
        "MACs=hmac-sha1",
        "HostKeyAlgorithms=ssh-rsa",
        "HostKeyAlgorithms=ecdsa-sha2-nistp256",
    ],
)
def test_weak_algorithms_are_refused(server: SshServer, option: str) -> None:
    result = server.ssh("-T", options=("-o", option), level="INFO")
    assert result.returncode == 255
    assert b"Unable to negotiate" in result.stderr


@pytest.mark.parametrize(
    "option",
    [
        "KexAlgorithms=curve25519-sha256",
        "KexAlgorithms=curve25519-sha256@libssh.org",
        "Ciphers=aes128-ctr",
        "Ciphers=aes192-ctr",
        "Ciphers=aes256-ctr",
        "MACs=hmac-sha2-256-etm@openssh.com",
        "MACs=hmac-sha2-512-etm@openssh.com",
        "MACs=hmac-sha2-256",
        "MACs=hmac-sha2-512",
        "HostKeyAlgorithms=rsa-sha2-512",
        "HostKeyAlgorithms=rsa-sha2-256",
        "HostKeyAlgorithms=ssh-ed25519",
    ],
)
def test_modern_algorithms_work(server: SshServer, option: str) -> None:
    assert server.ssh("-T", options=("-o", option)).returncode == 0


def test_encrypt_then_mac_is_what_openssh_agrees_on(server: SshServer) -> None:
    result = server.ssh("-T", level="DEBUG1")
    assert result.stderr.count(b"MAC: hmac-sha2-256-etm@openssh.com") == 2, "in both directions"


def test_macs_that_are_not_configured_are_refused(make_server: MakeServer) -> None:
    server = make_server(macs=("hmac-sha2-512-etm@openssh.com",))
    for mac, status in (("hmac-sha2-512-etm@openssh.com", 0), ("hmac-sha2-512", 255)):
        assert server.ssh("-T", options=("-o", f"MACs={mac}")).returncode == status


def test_ecdsa_host_keys_when_configured(make_server: MakeServer) -> None:
    server = make_server(host_key_algorithms=("ecdsa-sha2-nistp256",))
    option = ("-o", "HostKeyAlgorithms=ecdsa-sha2-nistp256")
    assert server.ssh("-T", options=option).returncode == 0
    assert server.ssh("-T", options=("-o", "HostKeyAlgorithms=ssh-ed25519")).returncode == 255


def kexinit(*exchanges: bytes) -> bytes:
    """A client's KEXINIT message that offers these key exchanges."""
    names = (b",".join(exchanges), b"ssh-ed25519", b"aes128-ctr", b"aes128-ctr")
    more = (b"hmac-sha2-256", b"hmac-sha2-256", b"none", b"none", b"", b"")
    return bytes((20,)) + bytes(16) + b"".join(map(NS, (*names, *more))) + bytes(5)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([kexinit(b"kex-strict-s-v00@openssh.com"), b"\x1e"], b"malformed message"),
        ([kexinit(b"ext-info-c"), b"\x1e"], b"couldn't match all kex parts"),
        ([kexinit(b"curve25519-sha256"), b"\x1e" + NS(bytes(32))], b"malformed message"),
        ([kexinit(b"curve25519-sha256"), b"\x1e" + NS(b"short")], b"malformed message"),
        ([kexinit(b"mlkem768x25519-sha256"), b"\x1e" + NS(b"x")], b"Invalid C_INIT length"),
        ([kexinit(b"curve25519-sha256"), b"\x15"], b"message out of order"),
        ([kexinit(b"curve25519-sha256"), kexinit(b"curve25519-sha256")], b"message out of order"),
    ],
    ids=("marker", "extension", "low order", "short", "short hybrid", "early keys", "twice"),
)
def test_key_exchanges_that_cannot_be(
    server: SshServer, messages: list[bytes], reason: bytes
) -> None:
    writer = PacketWriter()
    packets = b"".join(writer.packet(message)[0] for message in messages)
    assert reason in talk(server, b"SSH-2.0-x\r\n" + packets)
    wait_until(lambda: open_connections(server) == 0)


@pytest.mark.attack(12)
@pytest.mark.parametrize("strict", [True, False])
def test_strict_key_exchange(server: SshServer, strict: bool) -> None:
    """Terrapin (CVE-2023-48795): with strict key exchange, nothing may be slipped in."""
    names = [b"curve25519-sha256", *([b"kex-strict-c-v00@openssh.com"] if strict else [])]
    ignore = b"\x02" + NS(b"slipped in")
    before, after = PacketWriter(), PacketWriter()
    first = [before.packet(message)[0] for message in (ignore, kexinit(*names), b"\x15")]
    second = [after.packet(message)[0] for message in (kexinit(*names), ignore, b"\x1e")]
    answer = talk(server, b"SSH-2.0-x\r\n" + b"".join(first))
    assert (b"KEXINIT was not the first packet" in answer) == strict
    answer = talk(server, b"SSH-2.0-x\r\n" + b"".join(second))
    assert (b"message out of order" if strict else b"malformed message") in answer


# -- new keys -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def big_repository(repositories: Path) -> str:
    """20 MB that cannot be compressed."""
    name = "alice/twenty.git"
    files = {f"file{number}": os.urandom(1_000_000) for number in range(20)}
    make_repository(repositories / name, files)
    return name


def test_a_client_that_changes_keys_often(
    server: SshServer, tmp_path: Path, big_repository: str
) -> None:
    result = server.git(
        *("clone", "-q", "--bare", server.url(big_repository), str(tmp_path / "copy")),
        options=("-o", "RekeyLimit=1M"),
    )
    assert (result.returncode, result.stderr) == (0, "")
    checked = server.git("--git-dir", str(tmp_path / "copy"), "fsck", "--full")
    assert checked.returncode == 0


def test_the_server_asks_for_new_keys(
    server: SshServer, tmp_path: Path, big_repository: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = []
    plain = SshTransport.ssh_NEWKEYS

    def counting(self: SshTransport, packet: bytes) -> None:
        changes.append(self)
        plain(self, packet)

    monkeypatch.setattr(SshTransport, "rekey_bytes", 2 << 20)
    monkeypatch.setattr(SshTransport, "ssh_NEWKEYS", counting)
    copy = str(tmp_path / "copy")
    result = server.git("clone", "-q", server.url(big_repository), copy)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(changes) >= 8
    changes.clear()
    new = Path(copy) / "new"
    new.write_bytes(os.urandom(10_000_000))
    server.git("-C", copy, "add", "new")
    server.git("-C", copy, "commit", "-q", "-m", "more")
    result = server.git("-C", copy, "push", "-q", "origin", "HEAD:refs/heads/rekey")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(changes) >= 4


def test_messages_that_do_not_belong_into_a_key_exchange(server: SshServer, run: Any) -> None:
    async def interrupt() -> str:
        client = await signed_in(server.port, server.keys / "alice")
        client.sendKexInit()  # type: ignore[no-untyped-call]
        client._keyExchangeState = client._KEY_EXCHANGE_NONE
        client.say(80, NS(b"keepalive@openssh.com") + b"\1")
        return await client.ended()

    async def repeat() -> str:
        client = await signed_in(server.port, server.keys / "alice")
        for _ in range(2):
            client._keyExchangeState = client._KEY_EXCHANGE_NONE
            client.sendKexInit()  # type: ignore[no-untyped-call]
        return await client.ended()

    async def early() -> str:
        client = await signed_in(server.port, server.keys / "alice")
        client.say(21, b"")
        return await client.ended()

    assert run(interrupt()) == "message out of order"
    assert run(repeat()) == "message out of order"
    assert run(early()) == "message out of order"


def test_disconnecting_without_a_word(server: SshServer, run: Any) -> None:
    async def vanish() -> None:
        client = await signed_in(server.port, server.keys / "alice")
        await client.open()
        client.close()
        assert (await client.until(CLOSED))[0] == CLOSED

    run(vanish())
    wait_until(lambda: open_connections(server) == 0)
