"""The server's host keys: made at the first start, loaded at each start and on SIGHUP.

Both functions read and write files and generate keys: run them in a thread.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

import attrs
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    load_pem_private_key,
    load_ssh_private_key,
)
from twisted.conch.ssh.keys import Key

from wit.config import Config
from wit.errors import ConfigError

TYPES = ("ed25519", "ecdsa", "rsa")
"""Keys that are made; the file of each is ``ssh_host_<type>_key``."""

ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
"""Host key algorithms that can be configured."""

RSA_BITS = 3072
"""Size of the RSA key that is made."""

MIN_RSA_BITS = 2048
"""Size of the smallest RSA key that is loaded."""

_PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@attrs.frozen
class HostKeys:
    """The private keys by the algorithms that are offered, the preferred first."""

    by_algorithm: Mapping[bytes, Key]

    @property
    def algorithms(self) -> tuple[bytes, ...]:
        return tuple(self.by_algorithm)


def key_folder(config: Config) -> Path:
    return config.data_dir / "ssh"


def make_host_keys(config: Config) -> list[Path]:
    """Make those of the default keys that are missing; gives the files that were made.

    Nothing is made if ``ssh.host_keys`` names files. Two daemons that start at once end up with
    the same keys. Raises ConfigError if the folder cannot be written.
    """
    if config.ssh.host_keys:
        return []
    folder = key_folder(config)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return [
            path
            for kind in TYPES
            if not (path := folder / f"ssh_host_{kind}_key").exists()
            and _create(path, _private_text(kind))
        ]
    except OSError as error:
        raise ConfigError(f"cannot make SSH host keys in {folder}: {error.strerror}") from None


def load_host_keys(config: Config) -> HostKeys:
    """The keys of the configuration, or the default ones.

    Raises ConfigError, saying which file or which setting is wrong and what was expected.
    """
    for name in config.ssh.host_key_algorithms:
        if name not in ALGORITHMS:
            raise ConfigError(
                f"ssh.host_key_algorithms: {name!r} is not one of {', '.join(ALGORITHMS)}"
            )
    paths = [Path(name) for name in config.ssh.host_keys] or [
        key_folder(config) / f"ssh_host_{kind}_key" for kind in TYPES
    ]
    keys: dict[bytes, Key] = {}
    for path in paths:
        key = _load(path)
        if key.sshType() in keys:
            raise ConfigError(
                f"ssh.host_keys: {path} is a second key of type {key.sshType().decode()}"
            )
        keys[key.sshType()] = key
    offered = {
        name.encode(): keys[_key_type(name)]
        for name in config.ssh.host_key_algorithms
        if _key_type(name) in keys
    }
    if not offered:
        raise ConfigError(
            "ssh.host_key_algorithms: none of them fits a host key; there are keys of type "
            + ", ".join(name.decode() for name in keys)
        )
    return HostKeys(offered)


def _key_type(algorithm: str) -> bytes:
    return b"ssh-rsa" if algorithm.startswith("rsa-") else algorithm.encode()


def _private_text(kind: str) -> bytes:
    key: _PrivateKey
    if kind == "ed25519":
        key = ed25519.Ed25519PrivateKey.generate()
    elif kind == "ecdsa":
        key = ec.generate_private_key(ec.SECP256R1())
    else:
        key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )


def _create(path: Path, text: bytes) -> bool:
    """Write a file that appears whole (mode 0600) or not at all; False if another was first."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    finally:
        os.unlink(temporary)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return True


def _load(path: Path) -> Key:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(64 * 1024)
    except OSError as error:
        raise ConfigError(f"cannot read the SSH host key {path}: {error.strerror}") from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"others may read the SSH host key {path} (mode {stat.S_IMODE(mode):04o}): "
            f"run chmod 600 {path}"
        )
    load = load_ssh_private_key if b"BEGIN OPENSSH" in text else load_pem_private_key
    try:
        # Checking that RSA's primes are prime would hold up the reactor for half a second.
        private = load(text, None, unsafe_skip_rsa_key_validation=True)
    except TypeError:
        raise ConfigError(
            f"the SSH host key {path} has a passphrase: remove it with ssh-keygen -p -f {path}"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{path} is not a private SSH key") from None
    if not isinstance(private, _PrivateKey):
        raise ConfigError(f"{path} is not a private key of type ed25519, ecdsa or rsa")
    key = Key(private)
    if key.type() == "RSA" and key.size() < MIN_RSA_BITS:
        raise ConfigError(
            f"the SSH host key {path} has {key.size()} bits: RSA needs {MIN_RSA_BITS} at least"
        )
    return key
