"""Weak algorithms are not offered, and a flood instead of a version is not collected."""

from __future__ import annotations

import json
import socket
import subprocess

import pytest

from tests.support.daemon import BIN, ssh_command, talkative
from tests.support.quarry import Quarry
from tests.support.site import Site

pytestmark = pytest.mark.attack(12)


KNOWN_WARNINGS = {
    "does not provide protection against post-quantum attacks",  # what older clients have
}
FOR_OLD_CLIENTS = {"hmac-sha2-256", "hmac-sha2-512"}
"""MACs that are the last choice, for clients such as Conch's that know no other (ssh.macs)."""


def test_ssh_audit_finds_no_failure(site: Site) -> None:
    done = subprocess.run(
        [
            str(BIN / "ssh-audit"), "--json", "--skip-rate-test", "-p",
            str(site.daemon.ssh_port), "127.0.0.1",
        ],
        capture_output=True, timeout=60,
    )  # fmt: skip
    found = json.loads(done.stdout)
    for part in ("kex", "key", "enc", "mac"):
        assert found[part], part
        for algorithm in found[part]:
            notes = algorithm.get("notes", {})
            assert not notes.get("fail"), algorithm
            if algorithm["algorithm"] not in FOR_OLD_CLIENTS:
                assert set(notes.get("warn", ())) <= KNOWN_WARNINGS, algorithm
    offered = [algorithm["algorithm"] for algorithm in found["mac"]]
    assert all(name.endswith("-etm@openssh.com") for name in offered[:2])
    assert set(offered[2:]) == FOR_OLD_CLIENTS
    assert found["kex"][0]["algorithm"] == "mlkem768x25519-sha256"
    assert not found["recommendations"] and not found["cves"]
    assert done.returncode in (0, 2)  # 2: warnings, 3: failures


@pytest.mark.parametrize(
    "option",
    [
        "Ciphers=3des-cbc,aes128-cbc,aes192-cbc,aes256-cbc",
        "MACs=hmac-md5,hmac-sha1,hmac-md5-96,hmac-sha1-96,umac-64@openssh.com",
        "KexAlgorithms=diffie-hellman-group1-sha1,diffie-hellman-group14-sha1,"
        "diffie-hellman-group-exchange-sha1",
        "HostKeyAlgorithms=ssh-rsa",
    ],
    ids=lambda option: option.partition("=")[0],
)
def test_nothing_weak_is_agreed_on(site: Site, option: str) -> None:
    """The algorithm in the option is the only one offered; MACs with a cipher that has one."""
    more = ["-o", "Ciphers=aes256-ctr"] if option.startswith("MACs") else []
    done = subprocess.run(
        [
            *talkative(ssh_command(site.alice.key)), "-o", option, *more,
            "-p", str(site.daemon.ssh_port), "-T", "git@127.0.0.1",
        ],
        capture_output=True, timeout=20,
    )  # fmt: skip
    assert done.returncode == 255
    assert b"no matching" in done.stderr, done.stderr


@pytest.mark.parametrize(
    "flood",
    [b"x" * 4096, b"SSH-2.0-" + b"x" * 4096, b"\n" * 4096, b"\0" * 4096, b"SSH-1.5-old\r\n"],
    ids=["text", "version", "lines", "zeros", "ssh1"],
)
def test_a_flood_instead_of_a_version_is_cut_off(site: Site, flood: bytes) -> None:
    quarry = Quarry(site.daemon)
    before = quarry.rss()
    with socket.create_connection(("127.0.0.1", site.daemon.ssh_port), 10) as client:
        sent = 0
        with pytest.raises(OSError):  # reset or broken pipe
            while sent < 64 * 1024 * 1024:
                client.sendall(flood * 16)
                sent += len(flood) * 16
    assert sent < 16 * 1024 * 1024
    assert quarry.rss() - before < 4 * 1024 * 1024


def test_a_packet_that_announces_gigabytes_is_refused(site: Site) -> None:
    quarry = Quarry(site.daemon)
    before = quarry.rss()
    for length in (0, 1, 4, 35001, 2**31, 2**32 - 1):
        with socket.create_connection(("127.0.0.1", site.daemon.ssh_port), 10) as client:
            client.sendall(b"SSH-2.0-attack\r\n" + length.to_bytes(4, "big") + b"\xff" * 64)
            while True:
                try:
                    if not client.recv(65536):
                        break
                except ConnectionResetError:
                    break
    assert quarry.rss() - before < 4 * 1024 * 1024
