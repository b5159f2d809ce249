"""Public keys of people and their signatures, as they come over the wire.

Conch's ``Key.verify`` takes the hash from the signature's own name, so that an RSA key may sign
with SHA-1 after all; and for security keys it does not ask for the user's presence. Here the
algorithm is what the client announced, the signature must bear the same name, nothing may be left
over, and a key in a certificate is not a key. Anything unexpected is simply not verified.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from hashlib import sha256

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from twisted.conch.ssh.common import NS

from wit.ssh.fields import Fields

_SK_ECDSA = b"sk-ecdsa-sha2-nistp256@openssh.com"
_SK_ED25519 = b"sk-ssh-ed25519@openssh.com"

ALGORITHMS: tuple[bytes, ...] = (
    b"ssh-ed25519",
    _SK_ED25519,
    b"ecdsa-sha2-nistp256",
    b"ecdsa-sha2-nistp384",
    b"ecdsa-sha2-nistp521",
    _SK_ECDSA,
    b"rsa-sha2-512",
    b"rsa-sha2-256",
)
"""Signature algorithms with which people may sign in."""

MAX_BLOB = 4096
"""Bytes of the largest public key that is looked at."""

_RSA_BITS = range(2048, 16384 + 1)
_RSA_EXPONENT_BITS = 64
_USER_PRESENT = 0x01
_RSA_HASHES: dict[bytes, hashes.HashAlgorithm] = {
    b"rsa-sha2-256": hashes.SHA256(),
    b"rsa-sha2-512": hashes.SHA512(),
}
_CURVES: dict[bytes, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    b"nistp256": (ec.SECP256R1(), hashes.SHA256()),
    b"nistp384": (ec.SECP384R1(), hashes.SHA384()),
    b"nistp521": (ec.SECP521R1(), hashes.SHA512()),
}


def key_type(algorithm: bytes) -> bytes:
    """The type of the keys that sign with ``algorithm``."""
    return b"ssh-rsa" if algorithm in _RSA_HASHES else algorithm


def is_usable(algorithm: bytes, blob: bytes) -> bool:
    """Whether ``blob`` is a well-formed public key that may sign with ``algorithm``."""
    try:
        _parse_key(algorithm, blob)
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


def verify(algorithm: bytes, blob: bytes, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` is one of ``message`` by the key ``blob``, made with ``algorithm``."""
    try:
        check = _parse_key(algorithm, blob)
        fields = Fields(signature)
        if fields.string() != algorithm:
            return False
        check(fields, message)
    except (ValueError, UnsupportedAlgorithm, InvalidSignature):
        return False
    return True


_Check = Callable[[Fields, bytes], None]


def _parse_key(algorithm: bytes, blob: bytes) -> _Check:
    """How to check a signature by this key. Raises ValueError for a key that is none."""
    if algorithm not in ALGORITHMS or len(blob) > MAX_BLOB:
        raise ValueError("unknown algorithm or oversized key")
    fields = Fields(blob)
    if fields.string() != key_type(algorithm):
        raise ValueError("the key is of another type")
    check: _Check
    if algorithm in _RSA_HASHES:
        check = _rsa(fields, _RSA_HASHES[algorithm])
    elif algorithm == b"ssh-ed25519":
        check = _ed25519(fields.string())
    elif algorithm == _SK_ED25519:
        check = _security_key(_ed25519(fields.string()), fields.string())
    elif algorithm == _SK_ECDSA:
        check = _security_key(_ecdsa(fields, b"nistp256"), fields.string())
    else:
        check = _ecdsa(fields, algorithm.removeprefix(b"ecdsa-sha2-"))
    fields.end()
    return check


def _rsa(key: Fields, algorithm: hashes.HashAlgorithm) -> _Check:
    """RFC 8332."""
    exponent, modulus = key.mpint(), key.mpint()
    if modulus.bit_length() not in _RSA_BITS or exponent.bit_length() > _RSA_EXPONENT_BITS:
        raise ValueError("RSA key of an unsupported size")
    public = rsa.RSAPublicNumbers(exponent, modulus).public_key()

    def check(signature: Fields, message: bytes) -> None:
        # some clients drop the leading zeros of the number
        number = signature.string().rjust((modulus.bit_length() + 7) // 8, b"\0")
        signature.end()
        public.verify(number, message, padding.PKCS1v15(), algorithm)

    return check


def _ed25519(raw: bytes) -> _Check:
    """RFC 8709."""
    public = ed25519.Ed25519PublicKey.from_public_bytes(raw)

    def check(signature: Fields, message: bytes) -> None:
        value = signature.string()
        signature.end()
        public.verify(value, message)

    return check


def _ecdsa(key: Fields, curve_name: bytes) -> _Check:
    """RFC 5656."""
    if key.string() != curve_name:
        raise ValueError("the key is on another curve")
    curve, algorithm = _CURVES[curve_name]
    public = ec.EllipticCurvePublicKey.from_encoded_point(curve, key.string())

    def check(signature: Fields, message: bytes) -> None:
        numbers = Fields(signature.string())
        signature.end()
        r, s = numbers.mpint(), numbers.mpint()
        numbers.end()
        public.verify(encode_dss_signature(r, s), message, ec.ECDSA(algorithm))

    return check


def _security_key(inner: _Check, application: bytes) -> _Check:
    """OpenSSH PROTOCOL.u2f, "SSH U2F Signatures": the token signs hashes, flags and a counter."""

    def check(signature: Fields, message: bytes) -> None:
        value = signature.string()
        flags, counter = signature.take(1), signature.take(4)
        signature.end()
        if not flags[0] & _USER_PRESENT:
            raise ValueError("nobody touched the security key")
        signed = sha256(application).digest() + flags + counter + sha256(message).digest()
        inner(Fields(NS(value)), signed)

    return check


def signed_request(
    session_id: bytes, user: bytes, service: bytes, algorithm: bytes, blob: bytes
) -> bytes:
    """What a client signs to sign in (RFC 4252, section 7)."""
    return (
        NS(session_id)
        + struct.pack(">B", 50)
        + NS(user)
        + NS(service)
        + NS(b"publickey")
        + b"\x01"
        + NS(algorithm)
        + NS(blob)
    )
