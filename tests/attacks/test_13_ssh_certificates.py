"""Certificates: wit trusts no authority, so that none of them opens the door."""

from __future__ import annotations

import subprocess
from base64 import b64decode
from pathlib import Path

import pytest
from twisted.conch.ssh.keys import Key

from tests.ssh.raw_client import connect
from tests.support.site import Site

pytestmark = pytest.mark.attack(13)

CERTIFICATES = {
    "valid": [],
    "forever": ["-V", "always:forever"],
    "expired": ["-V", "20200101:20200102"],
    "not yet valid": ["-V", "20990101:20990102"],
    "wrong principal": ["-n", "root"],
    "source address": ["-O", "source-address=192.0.2.0/24"],
    "unknown critical option": ["-O", "critical:attack@example.org=1"],
    "force command": ["-O", "force-command=true"],
}


def certify(key: Path, authority: Path, *options: str) -> bytes:
    """The certificate's blob, for ``key.pub`` and signed by ``authority``."""
    named = [] if "-n" in options else ["-n", "git,alice,bob"]
    subprocess.run(
        ["ssh-keygen", "-q", "-s", str(authority), "-I", "alice", *named, *options, f"{key}.pub"],
        check=True, capture_output=True,
    )  # fmt: skip
    return b64decode(Path(f"{key}-cert.pub").read_text().split()[1])


def copied(key: Path, folder: Path) -> Path:
    target = folder / "key"
    target.write_bytes(key.read_bytes())
    target.chmod(0o600)
    Path(f"{target}.pub").write_text(Path(f"{key}.pub").read_text())
    return target


@pytest.mark.parametrize("kind", list(CERTIFICATES))
def test_no_certificate_signs_in(site: Site, tmp_path: Path, kind: str) -> None:
    """Neither one for a stranger's key, with alice's registered key as the authority, nor one
    around alice's own key: what is registered are keys, and a certificate is none."""
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", stranger], check=True)
    own = copied(site.alice.key, tmp_path)
    options = CERTIFICATES[kind]
    attempts = [
        (Key.fromFile(str(stranger)), certify(stranger, site.alice.key, *options)),
        (Key.fromFile(str(own)), certify(own, site.alice.key, *options)),
    ]

    async def attack() -> None:
        for key, certificate in attempts:
            for algorithm in (b"ssh-ed25519-cert-v01@openssh.com", b"ssh-ed25519"):
                client = await connect(site.daemon.ssh_port)
                await client.start_user_auth()
                client.request_auth(certificate, algorithm)
                assert (await client.until(51, 60))[0] == 51
                signature = client.sign(key, certificate, algorithm, signature_type=b"ssh-ed25519")
                client.request_auth(certificate, algorithm, signature=signature)
                assert (await client.until(51, 52))[0] == 51
                client.close()

    site.run(attack())
