"""SSH public keys as people paste them: parsing, checking, fingerprints. Pure.

The line is ``type base64 [comment]`` (sshd(8), AUTHORIZED_KEYS FILE FORMAT, without options);
the base64 part is the blob of RFC 4253, section 6.6, RFC 5656, section 3.1, RFC 8709, section 4,
and PROTOCOL.u2f of OpenSSH.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from base64 import b64decode, b64encode

import attrs
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from wit.errors import Invalid

MAX_TEXT = 10_000
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 16384

_CURVES: dict[str, tuple[bytes, type[ec.EllipticCurve]]] = {
    "ecdsa-sha2-nistp256": (b"nistp256", ec.SECP256R1),
    "ecdsa-sha2-nistp384": (b"nistp384", ec.SECP384R1),
    "ecdsa-sha2-nistp521": (b"nistp521", ec.SECP521R1),
    "sk-ecdsa-sha2-nistp256@openssh.com": (b"nistp256", ec.SECP256R1),
}
KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)
_PRIVATE = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----|PuTTY-User-Key-File-\d")


@attrs.frozen
class PublicKey:
    """One accepted public key."""

    type: str
    blob: bytes
    comment: str

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.blob)

    @property
    def text(self) -> str:
        """The line without the comment, in its one canonical form."""
        return f"{self.type} {b64encode(self.blob).decode()}"


def fingerprint(blob: bytes) -> str:
    """``SHA256:`` and unpadded base64 (RFC 4648, section 4), as ssh-keygen prints it."""
    digest = hashlib.sha256(blob).digest()
    return "SHA256:" + b64encode(digest).rstrip(b"=").decode()


def parse_public_key(text: str) -> PublicKey:
    """The key that ``text`` holds. Raises Invalid with a sentence about what is wrong."""
    if _PRIVATE.search(text):
        raise Invalid(
            "this is a private key: never give it away, and make a new pair if it left your "
            "machine; paste the content of the file that ends in .pub"
        )
    text = text.strip()
    if len(text) > MAX_TEXT:
        raise Invalid(f"an SSH public key has at most {MAX_TEXT} characters")
    if text.startswith("---- BEGIN SSH2 PUBLIC KEY"):
        raise Invalid("convert the key first: ssh-keygen -i -f FILE")
    if not text or not text.isprintable():
        raise Invalid("an SSH public key is one line: type, base64 data and a comment")
    kind, _, rest = text.partition(" ")
    data, _, comment = rest.strip().partition(" ")
    _check_type(kind)
    try:
        blob = b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(
            "the data of the SSH public key is not base64: paste the whole line"
        ) from None
    _check_blob(kind, blob)
    return PublicKey(kind, blob, comment.strip())


def _check_type(kind: str) -> None:
    if kind in KEY_TYPES:
        return
    if "-cert-v0" in kind:
        raise Invalid("SSH certificates are not accepted: add the plain public key")
    if kind == "ssh-dss":
        raise Invalid("DSA keys are too weak: make one with ssh-keygen -t ed25519")
    if "=" in kind or "," in kind or kind in ("restrict", "cert-authority", "no-pty"):
        raise Invalid("options before the key are not accepted: the line begins with its type")
    raise Invalid(f"{kind[:40]!r} is not a key type that is accepted: {', '.join(KEY_TYPES)}")


def _check_blob(kind: str, blob: bytes) -> None:
    try:
        fields = _fields(blob)
        if fields[0] != kind.encode():
            raise Invalid("the key's data is of another type than its line says")
        key, extra = fields[1:], 1 if kind.startswith("sk-") else 0
        if kind.endswith("ssh-ed25519") or kind == "sk-ssh-ed25519@openssh.com":
            (point,) = key[: len(key) - extra]
            ed25519.Ed25519PublicKey.from_public_bytes(point)
        elif kind in _CURVES:
            name, curve = _CURVES[kind]
            curve_name, point = key[: len(key) - extra]
            if curve_name != name:
                raise ValueError("wrong curve")
            ec.EllipticCurvePublicKey.from_encoded_point(curve(), point)
        else:
            exponent, modulus = (_mpint(field) for field in key)
            _check_rsa(modulus, exponent)
    except (ValueError, IndexError):
        raise Invalid("the data of the SSH public key is damaged: paste the whole line") from None


def _check_rsa(modulus: int, exponent: int) -> None:
    bits = modulus.bit_length()
    if bits < MIN_RSA_BITS:
        raise Invalid(
            f"an RSA key of {bits} bits is too weak: use at least {MIN_RSA_BITS} (better 3072), "
            "or ssh-keygen -t ed25519"
        )
    if bits > MAX_RSA_BITS:
        raise Invalid(f"an RSA key has at most {MAX_RSA_BITS} bits")
    if exponent.bit_length() > 64:
        raise ValueError("the exponent is out of proportion")
    rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _fields(blob: bytes) -> list[bytes]:
    """The length-prefixed strings (RFC 4251, section 5) that make up the whole of ``blob``."""
    fields = []
    position = 0
    while position < len(blob):
        start = position + 4
        position = start + int.from_bytes(blob[position:start], "big")
        if position > len(blob):
            raise ValueError("truncated")
        fields.append(blob[start:position])
    return fields


def _mpint(data: bytes) -> int:
    """A positive mpint in its one shortest form (RFC 4251, section 5)."""
    number = int.from_bytes(data, "big", signed=True)
    if number <= 0 or len(data) != number.bit_length() // 8 + 1:
        raise ValueError("not a shortest positive number")
    return number
