"""TLS of ``ssl:`` endpoints: TLS 1.2 and newer, and a certificate that can be changed while
connections are open."""

from __future__ import annotations

import os
from pathlib import Path

from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import AcceptableCiphers, CertificateOptions, TLSVersion
from zope.interface import implementer

from wit.errors import ConfigError

CIPHERS = AcceptableCiphers.fromOpenSSLCipherString(
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:"
    "ECDHE+AESGCM:ECDHE+CHACHA20"
)
"""Forward secrecy and authenticated encryption only (RFC 9325, section 4.2)."""


@implementer(IOpenSSLContextFactory)
class ReloadableTls:
    """Makes the context of each new connection from the files as they were last read."""

    def __init__(self, private_key: str, certificate: str, chain: str = "") -> None:
        self._private_key = private_key
        self._certificate = certificate
        self._chain = chain
        self._options = self._read()

    def getContext(self) -> SSL.Context:
        return self._options.getContext()

    def reload(self) -> None:
        """Read the files again. Raises ConfigError, and then the old ones stay in use."""
        self._options = self._read()

    def _read(self) -> CertificateOptions:
        certificates = _certificates(self._certificate)
        if self._chain:
            certificates += _certificates(self._chain)
        key = _private_key(self._private_key)
        options = CertificateOptions(
            privateKey=key,
            certificate=certificates[0],
            extraCertChain=certificates[1:],
            raiseMinimumTo=TLSVersion.TLSv1_2,
            acceptableCiphers=CIPHERS,
        )
        try:
            options.getContext().check_privatekey()
        except SSL.Error as error:
            raise ConfigError(
                f"{self._private_key}: this is not the key of {self._certificate}"
            ) from error
        return options


_BEGIN = b"-----BEGIN CERTIFICATE-----"


def _certificates(path: str) -> list[crypto.X509]:
    """All certificates of a PEM file, the server's own first."""
    blocks = _read_file(path).split(_BEGIN)[1:]
    try:
        found = [crypto.load_certificate(crypto.FILETYPE_PEM, _BEGIN + block) for block in blocks]
    except crypto.Error as error:
        raise ConfigError(f"{path}: a certificate in it is malformed") from error
    if not found:
        raise ConfigError(f"{path}: expected a certificate in PEM format")
    return found


def _private_key(path: str) -> crypto.PKey:
    pem = _read_file(path)
    try:
        return crypto.load_privatekey(crypto.FILETYPE_PEM, pem, b"")
    except crypto.Error as error:
        raise ConfigError(f"{path}: expected a private key in PEM format, unencrypted") from error


def _read_file(path: str) -> bytes:
    try:
        return Path(os.path.expanduser(path)).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
