from __future__ import annotations

import struct
import subprocess
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.accounts.public_keys import fingerprint, parse_public_key
from wit.errors import Invalid


def make_key(folder: Path, *options: str) -> tuple[str, str]:
    """The .pub line and the private key that ssh-keygen makes."""
    path = folder / "key"
    subprocess.run(
        ["ssh-keygen", "-q", "-N", "", "-C", "ada@laptop two", "-f", str(path), *options],
        check=True,
        capture_output=True,
    )
    return path.with_suffix(".pub").read_text(), path.read_text()


def ns(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">L", len(part)) + part for part in parts)


def line(kind: str, *parts: bytes) -> str:
    return f"{kind} {b64encode(ns(kind.encode(), *parts)).decode()} a comment"


ED_POINT = b64decode("AAAAC3NzaC1lZDI1NTE5AAAAIGv0hRdXpGeLhsZcCnAuZ8lA4tg4TG6VT7pd2CPV7Mpj")[-32:]
GOOD = line("ssh-ed25519", ED_POINT)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        (["-t", "ed25519"], "ssh-ed25519"),
        (["-t", "ecdsa", "-b", "256"], "ecdsa-sha2-nistp256"),
        (["-t", "ecdsa", "-b", "384"], "ecdsa-sha2-nistp384"),
        (["-t", "ecdsa", "-b", "521"], "ecdsa-sha2-nistp521"),
        (["-t", "rsa", "-b", "2048"], "ssh-rsa"),
        (["-t", "rsa", "-b", "3072"], "ssh-rsa"),
    ],
)
def test_keys_of_ssh_keygen(tmp_path: Path, options: list[str], kind: str) -> None:
    text, private = make_key(tmp_path, *options)
    key = parse_public_key(text)
    assert key.type == kind
    assert key.comment == "ada@laptop two"
    listed = subprocess.run(
        ["ssh-keygen", "-l", "-f", str(tmp_path / "key.pub")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert listed.split()[1] == key.fingerprint == fingerprint(key.blob)
    assert text.startswith(key.text)
    with pytest.raises(Invalid, match="private key"):
        parse_public_key(private)


def test_security_keys(tmp_path: Path) -> None:
    ec_text, _ = make_key(tmp_path, "-t", "ecdsa", "-b", "256")
    ec_point = parse_public_key(ec_text).blob[-65:]
    for text in (
        line("sk-ssh-ed25519@openssh.com", ED_POINT, b"ssh:"),
        line("sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", ec_point, b"ssh:"),
    ):
        assert parse_public_key(text).type == text.split()[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "one line"),
        (GOOD + "\n" + GOOD, "one line"),
        ('command="rm -rf /" ' + GOOD, "options"),
        ("restrict " + GOOD, "options"),
        ("no-pty,no-X11-forwarding " + GOOD, "options"),
        (line("ssh-dss", b"x"), "DSA"),
        (line("ssh-ed25519-cert-v01@openssh.com", ED_POINT), "certificates"),
        (line("ssh-ed448", ED_POINT), "not a key type"),
        ("ssh-ed25519", "damaged"),
        ("ssh-ed25519 ???", "not base64"),
        ("ssh-rsa " + GOOD.split()[1], "another type"),
        (GOOD.replace("ssh-ed25519 ", "ecdsa-sha2-nistp256 "), "another type"),
        (line("ssh-ed25519", ED_POINT[:31]), "damaged"),
        (line("ssh-ed25519", ED_POINT, b"more"), "damaged"),
        (line("sk-ssh-ed25519@openssh.com", ED_POINT), "damaged"),
        (line("ecdsa-sha2-nistp256", b"nistp256", b"\x04" + bytes(64)), "damaged"),
        (line("ecdsa-sha2-nistp256", b"nistp384", b"\x04" + bytes(96)), "damaged"),
        (line("ssh-rsa", b"\x01\x00\x01", b"\x00" + b"\xff" * 128), "1024 bits is too weak"),
        (line("ssh-rsa", b"\x01\x00\x01", b"\x00" + b"\xff" * 2049), "at most 16384"),
        (line("ssh-rsa", b"\x01\x00\x01", b"\xff" * 256), "damaged"),
        (line("ssh-rsa", b"\x00\x00\x03", b"\x00" + b"\xff" * 256), "damaged"),
        (line("ssh-rsa", b"\x7f" * 256, b"\x00" + b"\xff" * 256), "damaged"),
        (line("ssh-rsa"), "damaged"),
        (GOOD + "x" * 10_000, "at most 10000"),
        ("---- BEGIN SSH2 PUBLIC KEY ----\nComment: x\n", "ssh-keygen -i"),
        ("PuTTY-User-Key-File-3: ssh-ed25519\n", "private key"),
    ],
)
def test_what_is_refused_and_why(text: str, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        parse_public_key(text)


@given(st.binary(max_size=200))
def test_any_blob_is_accepted_whole_or_refused(data: bytes) -> None:
    for kind in ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"):
        blob = ns(kind.encode()) + data
        try:
            key = parse_public_key(f"{kind} {b64encode(blob).decode()}")
        except Invalid:
            continue
        assert key.blob == blob


def test_a_truncated_key_is_refused_at_every_length() -> None:
    blob = parse_public_key(GOOD).blob
    for length in range(len(blob)):
        with pytest.raises(Invalid):
            parse_public_key(f"ssh-ed25519 {b64encode(blob[:length]).decode()}")
