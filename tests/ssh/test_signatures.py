"""Keys and signatures of people: what is accepted, and every way of not being accepted."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from twisted.conch.ssh.common import MP, NS
from twisted.conch.ssh.keys import Key

from tests.ssh.support import blob_of, make_key
from wit.ssh.signatures import ALGORITHMS, MAX_BLOB, is_usable, verify

MESSAGE = b"what is signed"
SK_ED25519 = b"sk-ssh-ed25519@openssh.com"
SK_ECDSA = b"sk-ecdsa-sha2-nistp256@openssh.com"

ED25519 = Key(ed25519.Ed25519PrivateKey.generate())
RSA = Key(rsa.generate_private_key(65537, 2048))
CURVES = {
    b"ecdsa-sha2-nistp256": ec.SECP256R1(),
    b"ecdsa-sha2-nistp384": ec.SECP384R1(),
    b"ecdsa-sha2-nistp521": ec.SECP521R1(),
}


def plain_keys() -> list[tuple[bytes, Key]]:
    keys = [(b"ssh-ed25519", ED25519), (b"rsa-sha2-256", RSA), (b"rsa-sha2-512", RSA)]
    return keys + [(name, Key(ec.generate_private_key(curve))) for name, curve in CURVES.items()]


@pytest.mark.parametrize(("algorithm", "key"), plain_keys(), ids=lambda value: str(value)[:30])
def test_a_right_signature(algorithm: bytes, key: Key) -> None:
    blob = key.public().blob()
    signature = key.sign(MESSAGE, algorithm)
    assert is_usable(algorithm, blob)
    assert verify(algorithm, blob, signature, MESSAGE)
    assert not verify(algorithm, blob, signature, MESSAGE + b"!")
    assert not verify(algorithm, blob, signature + b"\0", MESSAGE)
    assert not verify(algorithm, blob + b"\0", signature, MESSAGE)
    assert not verify(algorithm, blob, signature[:-1], MESSAGE)
    assert not verify(algorithm, blob, b"", MESSAGE)
    for other in ALGORITHMS:
        if other != algorithm:
            assert not verify(other, blob, signature, MESSAGE)


@pytest.mark.attack(12)
def test_sha1_is_refused_however_it_is_dressed_up() -> None:
    blob = RSA.public().blob()
    signature = RSA.sign(MESSAGE, b"ssh-rsa")
    assert not is_usable(b"ssh-rsa", blob)
    assert not verify(b"ssh-rsa", blob, signature, MESSAGE)
    assert not verify(b"rsa-sha2-512", blob, signature, MESSAGE)
    renamed = NS(b"rsa-sha2-256") + signature[4 + len(b"ssh-rsa") :]
    assert not verify(b"rsa-sha2-256", blob, renamed, MESSAGE)


def test_an_rsa_signature_without_its_leading_zeros() -> None:
    blob = RSA.public().blob()
    for number in range(3000):
        message = b"%d" % number
        raw = RSA._keyObject.sign(message, *_pkcs1())
        if raw[0] == 0:
            short = NS(b"rsa-sha2-256") + NS(raw.lstrip(b"\0"))
            assert verify(b"rsa-sha2-256", blob, short, message)
            return
    pytest.fail("no signature with a leading zero")


def _pkcs1() -> tuple[object, object]:
    from cryptography.hazmat.primitives.asymmetric import padding

    return padding.PKCS1v15(), hashes.SHA256()


@pytest.mark.parametrize(
    ("exponent", "modulus"),
    [
        (65537, (1 << 1023) + 1),
        (65537, (1 << 16384) + 1),
        ((1 << 70) + 1, (1 << 2047) + 1),
        (2, (1 << 2047) + 1),
    ],
    ids=("weak", "huge", "costly", "even"),
)
def test_rsa_keys_that_are_weak_or_costly(exponent: int, modulus: int) -> None:
    assert not is_usable(b"rsa-sha2-512", NS(b"ssh-rsa") + MP(exponent) + MP(modulus))


Sign = Callable[[bytes], bytes]


def security_key(kind: bytes) -> tuple[bytes, Sign]:
    """A security key made of software: its blob, and how it signs the hash structure."""
    if kind == SK_ED25519:
        edwards = ed25519.Ed25519PrivateKey.generate()
        blob = NS(kind) + NS(edwards.public_key().public_bytes_raw()) + NS(b"ssh:")
        return blob, edwards.sign
    curve = ec.generate_private_key(ec.SECP256R1())
    point = Key(curve.public_key()).blob()[4 + len(b"ecdsa-sha2-nistp256") :]
    blob = NS(kind) + point + NS(b"ssh:")

    def sign(data: bytes) -> bytes:
        r, s = decode_dss_signature(curve.sign(data, ec.ECDSA(hashes.SHA256())))
        return MP(r) + MP(s)

    return blob, sign


def touch(sign: Sign, kind: bytes, flags: int, application: bytes = b"ssh:") -> bytes:
    trailer = struct.pack(">BI", flags, 7)
    signed = sha256(application).digest() + trailer + sha256(MESSAGE).digest()
    return NS(kind) + NS(sign(signed)) + trailer


@pytest.mark.parametrize("kind", [SK_ED25519, SK_ECDSA])
def test_security_keys(kind: bytes) -> None:
    blob, sign = security_key(kind)
    signature = touch(sign, kind, flags=1)
    assert is_usable(kind, blob)
    assert verify(kind, blob, signature, MESSAGE)
    assert verify(kind, blob, touch(sign, kind, flags=5), MESSAGE)
    assert not verify(kind, blob, signature, MESSAGE + b"!")
    assert not verify(kind, blob, touch(sign, kind, flags=0), MESSAGE), "nobody was there"
    assert not verify(kind, blob, touch(sign, kind, 1, b"web:"), MESSAGE)
    forged = signature[:-5] + b"\x05" + signature[-4:]
    assert not verify(kind, blob, forged, MESSAGE), "the flags are signed"
    assert not verify(kind, blob, signature[:-1] + b"\x08", MESSAGE), "the counter is signed"
    assert not verify(kind, blob, signature[:-5], MESSAGE)
    assert not verify(kind, blob, signature + b"\0", MESSAGE)


@pytest.mark.attack(13)
def test_certificates_are_refused(tmp_path: Path) -> None:
    authority = make_key(tmp_path, "authority")
    make_key(tmp_path, "user")
    subprocess.run(
        ["ssh-keygen", "-q", "-s", authority, "-I", "id", "-n", "git", tmp_path / "user.pub"],
        check=True,
    )
    blob = blob_of(tmp_path / "user-cert.pub")
    for algorithm in (b"ssh-ed25519-cert-v01@openssh.com", *ALGORITHMS):
        assert not is_usable(algorithm, blob)
    assert is_usable(b"ssh-ed25519", blob_of(tmp_path / "user.pub"))


def test_a_point_that_is_not_on_the_curve() -> None:
    point = b"\x04" + bytes(31) + b"\x01" + bytes(31) + b"\x01"
    name = b"ecdsa-sha2-nistp256"
    assert not is_usable(name, NS(name) + NS(b"nistp256") + NS(point))
    key = Key(ec.generate_private_key(ec.SECP384R1())).public().blob()
    assert not is_usable(name, NS(name) + key[4 + len(name) :])


@given(st.sampled_from(ALGORITHMS), st.binary(max_size=200), st.binary(max_size=200))
def test_rubbish_is_no_key_and_no_signature(algorithm: bytes, blob: bytes, rest: bytes) -> None:
    assert not verify(algorithm, blob, NS(algorithm) + rest, MESSAGE)
    assert not verify(algorithm, NS(algorithm) + blob, NS(algorithm) + rest, MESSAGE)
    assert not verify(b"ssh-ed25519", ED25519.public().blob(), rest, MESSAGE)
    assert not is_usable(algorithm, blob + bytes(MAX_BLOB))
