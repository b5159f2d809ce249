"""From which address a request really came (attack list, line 50)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network

from twisted.internet.interfaces import IAddress

from wit.errors import ConfigError

UNIX = "unix"
"""The address of a peer on a unix socket, and how to name it among the trusted proxies."""


class Peers:
    """Believes X-Forwarded-For from the given networks (CIDR) only.

    Raises ConfigError for what is no network.
    """

    def __init__(self, trusted_proxies: Iterable[str]) -> None:
        names = list(trusted_proxies)
        self._unix = UNIX in names
        try:
            self._networks = [ip_network(name, strict=False) for name in names if name != UNIX]
        except ValueError as error:
            raise ConfigError(f"server.trusted_proxies: {error}") from None

    def address(self, peer: IAddress, forwarded_for: Sequence[bytes] | None) -> str:
        """The nearest address that is no trusted proxy.

        Each proxy appends the address it was called from, so the list is read from its end: what
        stands before the first address that we do not trust is the client's own invention.
        """
        current = str(getattr(peer, "host", UNIX))
        if not forwarded_for or not self.trusted(current):
            return current
        hops = b",".join(forwarded_for).decode("latin-1").split(",")
        for hop in reversed(hops):
            try:
                current = str(ip_address(hop.strip()))
            except ValueError:
                return current
            if not self.trusted(current):
                return current
        return current

    def trusted(self, host: str) -> bool:
        if host == UNIX:
            return self._unix
        if not self._networks:
            return False
        try:
            address = ip_address(host)
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)
