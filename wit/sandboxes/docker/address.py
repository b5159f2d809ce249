"""Where an engine listens: the forms of ``DOCKER_HOST``, and TLS as the docker client has it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)

from wit.errors import ConfigError

USUAL_SOCKETS = ("/var/run/docker.sock", "/run/podman/podman.sock")
"""Tried in this order when no address is given; a user's own Podman comes last."""

CONNECT_SECONDS = 10.0
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\s*", re.DOTALL)


@attrs.frozen
class Address:
    """``unix://PATH`` or ``tcp://HOST:PORT``; TCP with the three files of ``tls_dir``."""

    text: str
    """As people write it."""
    socket: str = ""
    host: str = ""
    port: int = 0
    tls_dir: Path | None = None
    """Has ca.pem, cert.pem and key.pem, named as the docker client names them."""

    @property
    def tls(self) -> bool:
        return self.tls_dir is not None

    def endpoint(self, reactor: Any) -> IStreamClientEndpoint:
        """Where to connect to.

        Raises ConfigError when the TLS files cannot be read.
        """
        if self.socket:
            return UNIXClientEndpoint(reactor, self.socket, timeout=CONNECT_SECONDS)
        plain = HostnameEndpoint(reactor, self.host.encode("idna"), self.port, CONNECT_SECONDS)
        if self.tls_dir is None:
            return plain
        return wrapClientTLS(_tls_options(self.host, self.tls_dir), plain)


def read_address(host: str, tls_dir: str = "", environ: Mapping[str, str] = os.environ) -> Address:
    """What ``host`` means: ``unix://PATH``, a path, ``tcp://HOST:PORT``, or nothing for the usual
    places. With a folder of certificates, TCP is encrypted and both sides show who they are.

    Raises ConfigError.
    """
    if not host:
        own = environ.get("XDG_RUNTIME_DIR")
        usual = (*USUAL_SOCKETS, *((f"{own}/podman/podman.sock",) if own else ()))
        path = next((path for path in usual if os.path.exists(path)), usual[0])
        return Address(f"unix://{path}", socket=path)
    if host.startswith("/"):
        host = f"unix://{host}"
    parts = urlsplit(host)
    if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/"):
        return Address(host, socket=parts.path)
    if parts.scheme in ("tcp", "http", "https") and parts.path in ("", "/"):
        return _tcp(host, parts.scheme, tls_dir)
    raise ConfigError(
        f"{host!r} is no address of a container engine: give unix:///path/to/docker.sock or "
        "tcp://host:port"
    )


def _tcp(text: str, scheme: str, tls_dir: str) -> Address:
    parts = urlsplit(text)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if not parts.hostname or port == 0:
        raise ConfigError(f"{text!r} names no host and port of a container engine")
    if scheme == "https" and not tls_dir:
        raise ConfigError(f"{text} needs tls_dir, with ca.pem, cert.pem and key.pem in it")
    folder = Path(tls_dir) if tls_dir and scheme != "http" else None
    return Address(
        text, host=parts.hostname, port=port or (2376 if folder else 2375), tls_dir=folder
    )


def _tls_options(host: str, folder: Path) -> Any:
    try:
        authorities = _PEM.findall((folder / "ca.pem").read_bytes())
        own = PrivateCertificate.loadPEM(
            (folder / "key.pem").read_bytes() + b"\n" + (folder / "cert.pem").read_bytes()
        )
        return optionsForClientTLS(
            host,
            trustRoot=trustRootFromCertificates([Certificate.loadPEM(pem) for pem in authorities]),
            clientCertificate=own,
        )
    except Exception as error:
        # pyOpenSSL raises what has no common base with OSError.
        raise ConfigError(f"the certificates in {folder} cannot be used: {error}") from error
