"""From endpoint strings to endpoints: ``ssl`` is ours, so that a certificate can be reloaded; all
others are :func:`wit.listening.listening_endpoint`'s.

    ssl:443:privateKey=key.pem:certKey=cert.pem[:extraCertChain=chain.pem][:interface=..][:backlog=..]
"""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.interfaces import IAddress, IStreamServerEndpoint

from wit.errors import ConfigError
from wit.listening import BACKLOG, listening_endpoint, nothing_left, parse
from wit.web.tls import ReloadableTls


def make_endpoint(
    reactor: Any, description: str
) -> tuple[IStreamServerEndpoint, ReloadableTls | None]:
    """The endpoint that ``description`` means, with its TLS material if it has some.

    Raises ConfigError.
    """
    kind, words, values = parse(description)
    try:
        if kind == "ssl":
            return _ssl(reactor, words, values)
        return listening_endpoint(reactor, description), None
    except (ValueError, TypeError, IndexError, KeyError, LookupError) as error:
        raise ConfigError(f"{description!r} is no endpoint: {error}") from error


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
    nothing_left(values)
    return endpoint, tls


def show_address(address: IAddress, scheme: str) -> str:
    """``http://127.0.0.1:3000`` or ``unix:/path``."""
    name = getattr(address, "name", None)
    if name is not None:
        return f"unix:{os.fsdecode(name)}"
    host = getattr(address, "host", "")
    port = getattr(address, "port", 0)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
