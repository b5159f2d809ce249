"""What ``[sandboxes.local]`` may say."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from wit.errors import ConfigError

DISKS = ("auto", "image", "folder", "memory")

_HOST = re.compile(r"(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)*(?::[0-9]{1,5})?")


@attrs.frozen
class Settings:
    bwrap: str = "bwrap"
    """The bubblewrap program."""
    disk: str = "auto"
    """What sandboxes have their files on. ``image``: an ext4 image each, with an exact limit (root
    only). ``folder``: a folder, looked after every second. ``memory``: in memory, with an exact
    limit, lost when wit stops. ``auto``: image if it can be had, else folder."""
    allow: tuple[str, ...] = ()
    """Hosts that sandboxes with the network ``restricted`` reach: ``pypi.org``, ``*.npmjs.org``,
    ``example.org:8443``; without a port, 80 and 443."""
    first_id: int | None = None
    """The first of 65536 user and group ids that a root daemon gives to sandboxes; by default
    one derived from the installation's name."""

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Settings:
        """Raises ConfigError."""
        disk = values.get("disk", "auto")
        if disk not in DISKS:
            raise ConfigError(f"sandboxes.local.disk is {disk!r}; it must be {', '.join(DISKS)}")
        allow = tuple(values.get("allow", "").replace(",", " ").lower().split())
        for host in allow:
            if not _HOST.fullmatch(host):
                raise ConfigError(f"sandboxes.local.allow: {host!r} is not a host or *.domain")
        first = values.get("first_id") or "0"
        if first != "0" and not (first.isdecimal() and 1000 <= int(first) < 2**32 - 2**17):
            raise ConfigError(f"sandboxes.local.first_id is {first!r}; it must be a user id")
        return cls(values.get("bwrap", "bwrap"), disk, allow, int(first) or None)
