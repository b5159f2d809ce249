"""Which hosts wit may be sent to by a user (attack list, lines 41 and 42).

Whoever connects on a user's behalf resolves the name here and then connects to the addresses that
were checked, not to the name.
"""

from __future__ import annotations

import ipaddress
import re
import socket

from twisted.internet.defer import TimeoutError as DeferTimeout

from wit.errors import Invalid
from wit.runtime import Runtime

RESOLVE_SECONDS = 10.0

_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # shared address space of providers, RFC 6598
        "168.63.129.16/32",  # the metadata service of Azure
        "192.0.0.0/24",
        "192.88.99.0/24",  # 6to4 relays, RFC 7526
        "64:ff9b::/96",  # NAT64, RFC 6052: leads to any IPv4 address
        "64:ff9b:1::/48",
        "2001::/23",  # Teredo and other protocol assignments
        "2002::/16",  # 6to4, RFC 3056
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",  # site-local, RFC 3879
    )
)
_NUMBER = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)")
_HOST = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
                   r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*")  # fmt: skip


def is_public(address: str) -> bool:
    """Whether ``address`` (IPv4 or IPv6, no zone) is one of the open internet."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.scope_id is not None:
            return False
        if ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
    return (
        ip.is_global
        and not ip.is_multicast
        and not ip.is_reserved
        and not any(ip in network for network in _REFUSED)
    )


async def resolve_public(runtime: Runtime, host: str, port: int) -> list[str]:
    """The addresses of ``host``, every one of them public.

    Raises Invalid if one is not, or if the name does not resolve.
    """
    check_host(host)
    work = runtime.in_thread(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        found = await work.addTimeout(RESOLVE_SECONDS, runtime.reactor)
    except (OSError, UnicodeError, DeferTimeout) as error:
        raise Invalid(f"the host {host} cannot be found") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses or not all(map(is_public, addresses)):
        raise Invalid(f"the host {host} is not on the public internet")
    return addresses


def check_host(host: str) -> str:
    """``host`` itself if it is an IP address or a DNS name in plain ASCII. Raises Invalid.

    A numeric name that is no proper address (``127.1``, ``0177.0.0.1``, ``2130706433``) is refused:
    programs read it in different ways.
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        if not _HOST.fullmatch(host) or _NUMBER.fullmatch(host.rpartition(".")[2]):
            raise Invalid(f"{host[:80]!r} is not a host name") from None
    return host


def address_group(address: str) -> str:
    """What counts as one address: an IPv4 address, or an IPv6 /64 (one customer has as many)."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.IPv6Address(int(ip) >> 64 << 64))
    return str(ip)
