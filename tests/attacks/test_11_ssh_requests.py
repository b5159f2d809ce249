"""What SSH can do besides: refused cleanly, by the clients that people have."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from twisted.conch.ssh.common import NS

from tests.ssh.raw_client import signed_in
from tests.support.daemon import free_port, git, ssh_command, talkative, wait_until
from tests.support.site import Site
from tests.support.wire import push_history, ssh

pytestmark = pytest.mark.attack(11)

SUCCESS, FAILURE, OPEN_FAILURE, REQUEST_FAILURE = 99, 100, 92, 82


def run(site: Site, command: str, *options: str) -> tuple[int, str]:
    client = ssh(site.daemon, site.alice, command, *options)
    out, err = client.communicate(b"", timeout=20)
    return client.returncode, (out + err).decode()


def test_the_greeting_tells_who_one_is_and_what_can_be_done(site: Site) -> None:
    for options in (("-T",), ("-tt",), ()):
        status, said = run(site, "", *options)
        assert status == 0
        assert "alice" in said and "git" in said


def test_a_command_with_a_terminal_is_refused(site: Site, new_name: str) -> None:
    push_history(site.daemon, site.alice, new_name)
    status, said = run(site, f"git-upload-pack '{new_name}'", "-tt")
    assert status == 128 and "without a terminal" in said and "refs/" not in said


@pytest.mark.parametrize("option", ["-A", "-X", "-Y"])
def test_agent_and_x11_forwarding_do_not_disturb_git(
    site: Site, new_name: str, option: str
) -> None:
    """git works on; nothing is forwarded."""
    push_history(site.daemon, site.alice, new_name)
    command = " ".join(ssh_command(site.alice.key, option))
    environment = {"GIT_SSH_COMMAND": command, "DISPLAY": ":0"}
    listed = git("ls-remote", site.daemon.ssh_url(new_name), env=environment).stdout
    assert "refs/heads/main" in listed


def test_remote_ports_are_not_forwarded(site: Site) -> None:
    port = free_port()
    status, said = run(
        site, "", "-T", "-o", "ExitOnForwardFailure=yes", "-R", f"127.0.0.1:{port}:127.0.0.1:22"
    )
    assert status == 255 and "remote port forwarding failed" in said
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)


def test_the_server_connects_nowhere_for_a_client(site: Site) -> None:
    target = f"127.0.0.1:{site.daemon.metrics_port}"
    client = subprocess.run(
        [
            *talkative(ssh_command(site.alice.key)), "-p", str(site.daemon.ssh_port),
            "-W", target, "git@127.0.0.1",
        ],
        input=b"GET /metrics HTTP/1.0\r\n\r\n", capture_output=True, timeout=20,
    )  # fmt: skip
    assert client.returncode != 0
    assert b"wit_" not in client.stdout
    assert b"forwards nothing" in client.stderr


def test_no_file_is_transferred(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    ssh_options = ssh_command(site.alice.key)[1:]
    address = f"git@127.0.0.1:{tmp_path / 'target'}"
    port = ("-P", str(site.daemon.ssh_port))
    for program in (["scp"], ["scp", "-O"], ["sftp", "-b", "/dev/null"]):
        target = [address] if program[0] == "sftp" else [str(tmp_path / "file"), address]
        done = subprocess.run(
            [*program, *ssh_options, *port, *target], capture_output=True, timeout=20
        )
        assert done.returncode != 0, program
    assert not (tmp_path / "target").exists()


def test_requests_by_hand(site: Site) -> None:
    async def attack() -> None:
        client = await signed_in(site.daemon.ssh_port, site.alice.key)
        kinds = [
            b"direct-tcpip", b"direct-streamlocal@openssh.com", b"forwarded-tcpip", b"x11",
            b"auth-agent@openssh.com", b"tun@openssh.com", b"session\0", b"", b"attack",
        ]  # fmt: skip
        for kind in kinds:
            number, _ = await client.open(kind, extra=NS(b"127.0.0.1") + b"\0\0\0\x16")
            assert number == OPEN_FAILURE, kind
        for name in (b"tcpip-forward", b"streamlocal-forward@openssh.com", b"attack", b""):
            client.say(80, NS(name) + b"\x01" + NS(b"127.0.0.1") + b"\0\0\0\x16")
            assert (await client.until(REQUEST_FAILURE, 81))[0] == REQUEST_FAILURE
        await client.open()
        for kind in (b"x11-req", b"auth-agent-req@openssh.com", b"window-change", b"signal", b"a"):
            client.request(kind, NS(b"x") * 4)
            assert (await client.until(SUCCESS, FAILURE))[0] == FAILURE, kind
        client.request(b"subsystem", NS(b"sftp"))
        assert (await client.until(SUCCESS, FAILURE))[0] == FAILURE
        client.close()

    site.run(attack())


def test_one_command_in_each_session(site: Site, new_name: str) -> None:
    push_history(site.daemon, site.alice, new_name)

    async def attack() -> None:
        client = await signed_in(site.daemon.ssh_port, site.alice.key)
        await client.open()
        line = NS(f"git-upload-pack '{new_name}'".encode())
        client.request(b"exec", line)
        assert (await client.until(SUCCESS, FAILURE))[0] == SUCCESS
        for kind in (b"exec", b"shell", b"pty-req", b"env", b"subsystem"):
            client.request(kind, line)
            assert (await client.until(SUCCESS, FAILURE))[0] == FAILURE, kind
        client.close()

    site.run(attack())


def test_a_banner_of_the_client_is_not_waited_for(site: Site) -> None:
    """A web browser that comes to the SSH port is told so and sent away."""
    with socket.create_connection(("127.0.0.1", site.daemon.ssh_port), 10) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        said = b""
        try:
            while data := client.recv(4096):
                said += data
        except ConnectionResetError:
            pass
    assert b"SSH-2.0-wit" in said


def test_keepalives_are_answered(site: Site) -> None:
    """``ServerAliveInterval`` is a global request that must have an answer."""

    async def ask() -> None:
        client = await signed_in(site.daemon.ssh_port, site.alice.key)
        client.say(80, NS(b"keepalive@openssh.com") + b"\x01")
        assert (await client.until(81, REQUEST_FAILURE))[0] == REQUEST_FAILURE
        client.close()

    site.run(ask())
    wait_until(lambda: site.daemon.metric("wit_open_connections", door="ssh") == 0)
