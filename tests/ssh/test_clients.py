"""Other people's programs: git on OpenSSH in every protocol version, asyncssh, paramiko."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import asyncssh
import paramiko
import pytest

from tests.ssh.support import GIT, SshServer, make_repository
from tests.support.daemon import wait_until
from wit.config import Ssh
from wit.ssh.packets import MAX_PACKET


def git(*arguments: str) -> str:
    done = subprocess.run([GIT, *arguments], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("version", [0, 1, 2])
def test_clone_push_fetch(
    server: SshServer, repositories: Path, tmp_path: Path, version: int
) -> None:
    name = f"alice/work{version}.git"
    make_repository(repositories / name, {"a": os.urandom(300_000), "b": b"text\n"})
    url, copy, other = server.url(name), str(tmp_path / "copy"), str(tmp_path / "other")
    for folder in (copy, other):
        result = server.git("clone", "-q", url, folder, version=version)
        assert (result.returncode, result.stderr) == (0, "")
    (tmp_path / "copy/big").write_bytes(os.urandom(6_000_000))
    git("-C", copy, "add", "big")
    git("-C", copy, "commit", "-q", "-m", "big")
    pushed = server.git("-C", copy, "push", "-q", "origin", "HEAD", version=version)
    assert (pushed.returncode, pushed.stderr) == (0, "")
    fetched = server.git("-C", other, "pull", "-q", version=version)
    assert (fetched.returncode, fetched.stderr) == (0, "")
    tips = {git("-C", folder, "rev-parse", "HEAD") for folder in (copy, other)}
    tips.add(git("--git-dir", str(repositories / name), "rev-parse", "main"))
    assert len(tips) == 1
    git("--git-dir", str(repositories / name), "fsck", "--full", "--strict")
    assert server.traffic.protocols == [version] * 2 + [version % 2, version]  # v2 has no push
    sent = server.metrics.bytes_sent.labels("ssh")._value.get()
    received = server.metrics.bytes_received.labels("ssh")._value.get()
    assert sent > 6_000_000
    assert received > 6_000_000
    # the client may be gone before the server has seen git end
    wait_until(lambda: server.metrics.requests.labels("ssh", "ok")._value.get() == 4)


def test_what_people_see_when_a_repository_is_missing(server: SshServer, tmp_path: Path) -> None:
    """One sentence, without git's advice about access rights."""
    url = server.url("alice/none.git")
    assert server.git("ls-remote", url).stderr == "fatal: remote error: repository not found\n"
    cloned = server.git("clone", url, str(tmp_path / "copy"))
    assert cloned.returncode == 128
    assert cloned.stderr.endswith("\nfatal: remote error: repository not found\n")
    git("init", "-q", str(tmp_path / "new"))
    git("-C", str(tmp_path / "new"), "commit", "-q", "--allow-empty", "-m", "x")
    pushed = server.git("-C", str(tmp_path / "new"), "push", url, "HEAD:main")
    assert pushed.stderr == "fatal: remote error: repository not found\n"
    raw = server.ssh("git-upload-pack 'alice/none.git'")
    assert (raw.returncode, raw.stderr) == (128, b"")
    assert server.metrics.requests.labels("ssh", "not_found")._value.get() == 4


@pytest.mark.parametrize("mac", Ssh().macs)
def test_asyncssh(server: SshServer, mac: str) -> None:
    async def talk() -> None:
        async with asyncssh.connect(
            "127.0.0.1",
            server.port,
            username="git",
            known_hosts=None,
            client_keys=[str(server.keys / "alice")],
            config=None,
            kex_algs=["mlkem768x25519-sha256", "curve25519-sha256"],
            mac_algs=[mac],
        ) as connection:
            assert connection.get_extra_info("send_cipher").endswith("-ctr")
            assert connection.get_extra_info("recv_mac") == mac
            greeted = await connection.run(request_pty=False)
            assert "Hi alice!" in str(greeted.stderr)
            assert greeted.exit_status == 0
            refused = await connection.run("ls")
            assert refused.exit_status == 128
            assert "only git clone" in str(refused.stderr)
            listed = await connection.run("git-upload-pack 'alice/small.git'", input="0000")
            assert "refs/heads/main" in str(listed.stdout)
            assert listed.exit_status == 0
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_connection("127.0.0.1", 22)
            with pytest.raises((asyncssh.ChannelOpenError, asyncssh.SFTPError)):
                await connection.start_sftp_client()

    asyncio.run(talk())


@pytest.mark.parametrize(
    ("exchange", "mac"),
    [
        ("mlkem768x25519-sha256", "hmac-sha2-256-etm@openssh.com"),
        ("curve25519-sha256@libssh.org", "hmac-sha2-512-etm@openssh.com"),
        ("curve25519-sha256@libssh.org", "hmac-sha2-256"),
    ],
)
def test_paramiko(
    server: SshServer, exchange: str, mac: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paramiko.Transport, "_preferred_kex", (exchange,))
    monkeypatch.setattr(paramiko.Transport, "_preferred_macs", (mac,))
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(
            "127.0.0.1",
            server.port,
            "git",
            pkey=paramiko.Ed25519Key.from_private_key_file(str(server.keys / "alice")),
            allow_agent=False,
            look_for_keys=False,
        )
        stdin, stdout, _ = client.exec_command("git-upload-pack 'alice/small.git'")
        stdin.write("0000")
        stdin.channel.shutdown_write()
        assert b"refs/heads/main" in stdout.read()
        assert stdout.channel.recv_exit_status() == 0
        _, stdout, stderr = client.exec_command("cat /etc/passwd")
        assert b"'cat' is not available here" in stderr.read()
        assert stdout.channel.recv_exit_status() == 128
        transport = client.get_transport()
        assert transport is not None
        assert (transport.local_mac, transport.remote_mac) == (mac, mac)
        with pytest.raises(paramiko.SSHException):
            transport.open_channel("direct-tcpip", ("127.0.0.1", 22), ("127.0.0.1", 1))


def signed_in_by_paramiko(server: SshServer) -> paramiko.Transport:
    transport = paramiko.Transport(("127.0.0.1", server.port))
    transport.get_security_options().digests = ("hmac-sha2-256-etm@openssh.com",)
    key = paramiko.Ed25519Key.from_private_key_file(str(server.keys / "alice"))
    transport.connect(username="git", pkey=key)
    return transport


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ((MAX_PACKET + 5).to_bytes(4, "big"), "bad packet length"),
        (b"\xff\xff\xff\xff", "bad packet length"),
        ((20).to_bytes(4, "big"), "bad packet length"),
        ((32).to_bytes(4, "big") + bytes(64), "bad MAC"),
    ],
    ids=("too long", "longest", "no whole block", "wrong MAC"),
)
def test_packets_that_are_none_with_encrypt_then_mac(
    server: SshServer, sent: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A length that cannot be is refused when its four bytes are there."""
    caplog.set_level("INFO", "paramiko.transport")
    transport = signed_in_by_paramiko(server)
    transport.sock.sendall(sent)
    transport.join(20)
    assert not transport.is_active()
    assert f"Disconnect (code 2): {reason}" in caplog.text


def test_a_packet_that_is_cut_off_with_encrypt_then_mac(server: SshServer) -> None:
    transport = signed_in_by_paramiko(server)
    factory = server.service._factory
    assert factory is not None and len(factory.connections) == 1
    transport.sock.sendall((32).to_bytes(4, "big") + bytes(63))
    assert transport.is_active(), "the server waits for the last byte of the MAC"
    transport.close()
    wait_until(lambda: not factory.connections)
