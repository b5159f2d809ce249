"""What the doors have in common where they listen: the backlog, and unix sockets.

unix:/run/wit/http.sock[:mode=660][:backlog=..]
"""

from __future__ import annotations

import os
import re
import socket
import stat
from typing import Any

from twisted.internet.endpoints import UNIXServerEndpoint, serverFromString
from twisted.internet.interfaces import IStreamServerEndpoint

BACKLOG = 511
"""Connections that the kernel completes before we accept them."""

_PART = re.compile(r"((?:[^:\\]|\\.)*)(?::|$)")


def listening_endpoint(reactor: Any, description: str) -> IStreamServerEndpoint:
    """The endpoint that ``description`` means: Twisted's own, but for unix sockets, where the one
    that a killed daemon left behind is cleared away.

    Raises ValueError and its like, as Twisted's parser does.
    """
    kind, words, values = parse(description)
    if kind == "unix":
        return _unix(reactor, words, values)
    if kind in ("tcp", "tcp6") and "backlog" not in values:
        description += f":backlog={BACKLOG}"  # Twisted's 50 are fewer than one burst
    endpoint: IStreamServerEndpoint = serverFromString(reactor, description)
    return endpoint


def parse(description: str) -> tuple[str, list[str], dict[str, str]]:
    """Kind, positional and named parts; a backslash takes the colon behind it as it is."""
    parts = [part for part in _split(description) if part]
    words = [part for part in parts[1:] if "=" not in part]
    values = dict(part.split("=", 1) for part in parts[1:] if "=" in part)
    return parts[0] if parts else "", words, values


def _split(description: str) -> list[str]:
    return [re.sub(r"\\(.)", r"\1", match[1]) for match in _PART.finditer(description)]


def _unix(reactor: Any, words: list[str], values: dict[str, str]) -> IStreamServerEndpoint:
    path = words[0] if words else values.pop("address")
    endpoint = UNIXServerEndpoint(
        reactor,
        path,
        backlog=int(values.pop("backlog", BACKLOG)),
        mode=int(values.pop("mode", "660"), 8),
        wantPID=0,
    )
    nothing_left(values)
    clear_stale_socket(path)
    return endpoint


def nothing_left(values: dict[str, str]) -> None:
    """Raises ValueError for a named part that nobody has taken."""
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
