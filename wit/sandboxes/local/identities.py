"""Which user each sandbox is on this host: one of its own, wherever that can be had.

An own user makes limits on processes count for one sandbox alone, and keeps a sandbox out of the
files of another, and of the daemon, even if it should leave its namespaces.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import zlib
from contextlib import suppress
from typing import Literal

import attrs

from wit.sandboxes.local.keeper.walls import Who

COUNT = 65536

_RANGES_FROM, _RANGES = 1879048192, 4096
"""Ids above all that systemd (its UIDS-GIDS) and distributions give away, in ranges of COUNT."""

Mode = Literal["root", "mapped", "same"]


@attrs.frozen
class Identities:
    mode: Mode
    first_uid: int
    first_gid: int
    count: int
    missing: str = ""
    """What it would take to have users of their own for sandboxes, when they have none."""

    def who(self, slot: int) -> Who:
        """The user of the sandbox in a slot, 0 up to ``count`` - 1."""
        if self.mode == "same":
            return Who(mode="same", uid=os.getuid(), gid=os.getgid(), root_gid=os.getgid())
        own = slot if self.mode == "root" else slot + 1
        uid, gid = self.first_uid + own, self.first_gid + own
        return Who(mode=self.mode, uid=uid, gid=gid, root_gid=self.first_gid)

    def sweep(self) -> None:
        """End what is left of the sandboxes of a daemon that was killed. Blocks.

        The first process of a sandbox ends with the keeper, unless a program in the sandbox has
        tampered with it; then it has lost its parent, by which we know it.
        """
        if self.mode == "same":
            return
        ours = range(self.first_uid, self.first_uid + self.count + 1)
        found = {
            int(name): _parent_and_owner(int(name))
            for name in os.listdir("/proc")
            if name.isdigit()
        }
        for pid, (parent, owner) in found.items():
            is_inside = found.get(parent, (0, -1))[1] in ours
            if owner in ours and not is_inside and not _is_keeper(parent):
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)


def _parent_and_owner(pid: int) -> tuple[int, int]:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            parent = int(stat.read().rpartition(b")")[2].split()[1])
            return parent, os.fstat(stat.fileno()).st_uid
    except OSError:
        return 0, -1


def _is_keeper(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as line:
            return b"/local/keeper/" in line.read()
    except OSError:
        return False


def find(instance: str, first_id: int | None) -> Identities:
    """What this process may give to sandboxes."""
    if os.geteuid() == 0:
        first = first_id or _RANGES_FROM + zlib.crc32(instance.encode()) % _RANGES * COUNT
        first = _mapped_here(first)
        return Identities("root", first, first, COUNT)
    names = _names(os.getuid())
    uids, gids = _subordinate("/etc/subuid", names), _subordinate("/etc/subgid", names)
    programs = shutil.which("newuidmap") and shutil.which("newgidmap")
    if uids and gids and programs:
        count = min(uids[1], gids[1], COUNT) - 1
        return Identities("mapped", uids[0], gids[0], count)
    missing = "install the package uidmap"
    if programs:
        ids = "--add-subuids 524288-589823 --add-subgids 524288-589823"
        missing = f"give {names[0]} subordinate ids: usermod {ids} {names[0]}"
    return Identities("same", os.getuid(), os.getgid(), COUNT, missing)


def _names(number: int) -> tuple[str, str]:
    """Name and number of a user, as the tables of subordinate ids may have it."""
    try:
        return pwd.getpwuid(number).pw_name, str(number)
    except KeyError:
        return str(number), str(number)


def _subordinate(path: str, names: tuple[str, str]) -> tuple[int, int] | None:
    """First and count of the largest range of a table (subuid(5))."""
    found: list[tuple[int, int]] = []
    try:
        with open(path) as table:
            for line in table:
                fields = line.strip().split(":")
                if len(fields) == 3 and fields[0] in names and int(fields[2]) > 1:
                    found.append((int(fields[1]), int(fields[2])))
    except (OSError, ValueError):
        return None
    return max(found, key=lambda one: one[1], default=None)


def _mapped_here(first: int) -> int:
    """``first``, or the end of what exists if we are root of a user namespace only."""
    with open("/proc/self/uid_map") as table:
        ranges = [tuple(map(int, line.split())) for line in table]
    if any(start <= first and first + COUNT <= start + count for start, _, count in ranges):
        return first
    start, _, count = max(ranges, key=lambda one: one[2])
    return start + max(count - COUNT, count // 2)
