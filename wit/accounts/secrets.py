"""Sealing what wit has to be able to read back: API keys, one-time password seeds, webhook secrets.

AES-256-GCM (NIST SP 800-38D) with a key that is not in the database, so that a copy of the
database alone gives nothing away. A sealed text is ``1-<key id>:<iv>:<tag>:<ciphertext>``, all of
it hex: 1 is the version of this scheme, the key id tells which of several keys sealed it.

Passwords and tokens are not sealed but hashed: nobody has to read them back.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from wit.config import Config
from wit.errors import ConfigError, WitError
from wit.runtime import Runtime

KEY_FILE = "encryption.key"
"""In the data folder, when the configuration has no key."""

MIN_LENGTH = 32
"""Characters of one key."""

_IV_BYTES = 12
_TAG_BYTES = 16
_EXPECTED = (
    f"accounts.encryption_key: expected at least {MIN_LENGTH} random characters "
    '(as from "openssl rand -hex 32"); after a change, the old key behind the new one'
)


class CannotOpen(WitError):
    """A stored secret cannot be read: it is damaged, or its key is not configured."""

    code = "internal"


class Secrets:
    """Seals with the first key, opens with whichever of them has sealed."""

    def __init__(
        self, key_material: str, random_bytes: Callable[[int], bytes] = os.urandom
    ) -> None:
        """``key_material``: one or more keys with white space between them, newest first.

        They are random texts, not passwords, so that HKDF (RFC 5869) is enough to derive from
        them and no slow function is needed. Raises ConfigError.
        """
        self._random_bytes = random_bytes
        texts = key_material.split()
        if not texts or any(len(text) < MIN_LENGTH for text in texts):
            raise ConfigError(_EXPECTED)
        self._ciphers = {_key_id(text): AESGCM(_derive(text, b"key", 32)) for text in texts}
        self._newest = _key_id(texts[0])

    def seal(self, text: str) -> str:
        """Each time another one, also for the same text."""
        head = f"1-{self._newest}"
        iv = self._random_bytes(_IV_BYTES)
        sealed = self._ciphers[self._newest].encrypt(iv, text.encode(), head.encode())
        tag, ciphertext = sealed[-_TAG_BYTES:], sealed[:-_TAG_BYTES]
        return f"{head}:{iv.hex()}:{tag.hex()}:{ciphertext.hex()}"

    def open(self, sealed: str) -> str:
        """Raises CannotOpen."""
        head, *parts = sealed.split(":")
        version, _, key_id = head.partition("-")
        if version != "1" or len(parts) != 3:
            raise CannotOpen("this stored secret is not one that wit has sealed: set it again")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise CannotOpen(
                "this stored secret was sealed with another key: set it again, or have an "
                "administrator add the old key to accounts.encryption_key"
            )
        try:
            iv, tag, ciphertext = map(bytes.fromhex, parts)
            return cipher.decrypt(iv, ciphertext + tag, head.encode()).decode()
        except (ValueError, InvalidTag):
            raise CannotOpen("this stored secret is damaged: set it again") from None


def key_material(config: Config, runtime: Runtime) -> str:
    """The configured keys, or the one in the data folder, which is made if there is none.

    Raises ConfigError.
    """
    return config.accounts.encryption_key or key_in_file(config.data_dir / KEY_FILE, runtime)


def key_in_file(path: Path, runtime: Runtime) -> str:
    """64 random characters in a file that only its owner can read, made if there is none.

    Raises ConfigError.
    """
    try:
        if not path.exists():
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            _write_key(path, runtime.random_bytes(32).hex())
        return path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read or write the key {path}: {error}") from error


def _write_key(path: Path, text: str) -> None:
    """Whole or not at all, and never over one that another process has made meanwhile."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)


def _derive(text: str, purpose: bytes, length: int) -> bytes:
    kdf = HKDF(SHA256(), length=length, salt=None, info=b"wit secrets 1 " + purpose)
    return kdf.derive(text.encode())


def _key_id(text: str) -> str:
    return _derive(text, b"id", 4).hex()
