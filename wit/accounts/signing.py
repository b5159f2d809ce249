"""Signatures under the site's secret: of cookies, and of links that need no row of their own."""

from __future__ import annotations

import hmac
from base64 import b64encode, urlsafe_b64encode

from wit.accounts.secrets import key_in_file
from wit.config import Config
from wit.runtime import Runtime

KEY_FILE = "session.key"
"""In the data folder, when the configuration has no secret."""


class Signer:
    """HMAC-SHA256 (RFC 2104) in the form that signed cookies have (contract, auth.md)."""

    def __init__(self, secret: str) -> None:
        self._key = secret.encode()

    def sign(self, value: str) -> str:
        """``value``, a dot, and the signature in base64 (RFC 4648, section 4)."""
        return f"{value}.{self._signature(value)}"

    def verify(self, signed: str) -> str | None:
        """The value if its signature is right, which is compared in constant time."""
        value, _, signature = signed.rpartition(".")
        right = self._signature(value).encode()
        if not value or not hmac.compare_digest(right, signature.encode("utf-8", "replace")):
            return None
        return value

    def seal(self, text: str) -> str:
        """The signature alone, in unpadded base64url (RFC 4648, section 5)."""
        return urlsafe_b64encode(self._digest(text)).rstrip(b"=").decode()

    def key(self, purpose: str) -> bytes:
        """Another key for each purpose, so that a signature for one is none for another."""
        return hmac.digest(self._key, f"wit {purpose}".encode(), "sha256")

    def _signature(self, value: str) -> str:
        return b64encode(self._digest(value)).decode()

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode("utf-8", "replace"), "sha256")


def make_signer(config: Config, runtime: Runtime) -> Signer:
    """With the configured secret, or the one in the data folder. Raises ConfigError."""
    return Signer(config.accounts.secret or key_in_file(config.data_dir / KEY_FILE, runtime))
