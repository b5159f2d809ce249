"""From endpoint strings to endpoints. Twisted's own parser serves ``tcp`` and ``systemd``; ``ssl``
and ``unix`` are ours, so that a certificate can be reloaded and a stale socket is cleared away.

    ssl:443:privateKey=key.pem:certKey=cert.pem[:extraCertChain=chain.pem][:interface=..][:backlog=..]
    unix:/run/wit/http.sock[:mode=660][:backlog=..]
"""

from __future__ import annotations

import os
import re
import socket
import stat
from typing import Any

from twisted.internet.endpoints import (
    SSL4ServerEndpoint,
    UNIXServerEndpoint,
    serverFromString,
)
from twisted.internet.interfaces import IAddress, IStreamServerEndpoint

from wit.errors import ConfigError
from wit.web.tls import ReloadableTls

BACKLOG = 511
"""Connections that the kernel completes before we accept them."""

_PART = re.compile(r"((?:[^:\\]|\\.)*)(?::|$)")


def make_endpoint(
    reactor: Any, description: str
) -> tuple[IStreamServerEndpoint, ReloadableTls | None]:
    """The endpoint that ``description`` means, with its TLS material if it has some.

    Raises ConfigError.
    """
    kind, words, values = _parse(description)
    try:
        if kind == "ssl":
            return _ssl(reactor, words, values)
        if kind == "unix":
            return _unix(reactor, words, values), None
        if kind in ("tcp", "tcp6") and "backlog" not in values:
            description += f":backlog={BACKLOG}"  # Twisted's 50 are fewer than one burst
        return serverFromString(reactor, description), None
    except (ValueError, TypeError, IndexError, KeyError, LookupError) as error:
        raise ConfigError(f"{description!r} is no endpoint: {error}") from error


def _parse(description: str) -> tuple[str, list[str], dict[str, str]]:
    """Kind, positional and named parts; a backslash takes the colon behind it as it is."""
    parts = [part for part in _split(description) if part]
    words = [part for part in parts[1:] if "=" not in part]
    values = dict(part.split("=", 1) for part in parts[1:] if "=" in part)
    return parts[0] if parts else "", words, values


def _split(description: str) -> list[str]:
    return [re.sub(r"\\(.)", r"\1", match[1]) for match in _PART.finditer(description)]


def _ssl(
    reactor: Any, words: list[str], values: dict[str, str]
) -> tuple[IStreamServerEndpoint, ReloadableTls]:
    port = int(words[0] if words else values.pop("port"))
    key = values.pop("privateKey")
    tls = ReloadableTls(key, values.pop("certKey", key), values.pop("extraCertChain", ""))
    endpoint = SSL4ServerEndpoint(
        reactor,
        port,
        tls,
        backlog=int(values.pop("backlog", BACKLOG)),
        interface=values.pop("interface", ""),
    )
    _nothing_left(values)
    return endpoint, tls


def _unix(reactor: Any, words: list[str], values: dict[str, str]) -> IStreamServerEndpoint:
    path = words[0] if words else values.pop("address")
    endpoint = UNIXServerEndpoint(
        reactor,
        path,
        backlog=int(values.pop("backlog", BACKLOG)),
        mode=int(values.pop("mode", "660"), 8),
        wantPID=0,
    )
    _nothing_left(values)
    clear_stale_socket(path)
    return endpoint


def _nothing_left(values: dict[str, str]) -> None:
    if values:
        raise ValueError(f"unknown part {next(iter(values))}=")


def clear_stale_socket(path: str) -> None:
    """Remove the socket that a killed daemon left behind. One that somebody listens on stays,
    and so does whatever is no socket: listening there will fail with the system's reason."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError:
            return


def show_address(address: IAddress, scheme: str) -> str:
    """``http://127.0.0.1:3000`` or ``unix:/path``."""
    name = getattr(address, "name", None)
    if name is not None:
        return f"unix:{os.fsdecode(name)}"
    host = getattr(address, "host", "")
    port = getattr(address, "port", 0)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
