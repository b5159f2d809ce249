"""What this machine offers to sandboxes, and what it lacks, in words."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import zlib
from collections.abc import Mapping
from pathlib import Path

import attrs

from wit.errors import Unavailable
from wit.sandboxes.local import cgroups, disks, identities, seccomp
from wit.sandboxes.local.cgroups import Cgroups
from wit.sandboxes.local.disks import Disks
from wit.sandboxes.local.identities import Identities
from wit.sandboxes.local.profile import Layout
from wit.sandboxes.local.settings import Settings

LEAST_VERSION = (0, 8)
"""The first bubblewrap with --disable-userns."""

_HOW = {
    "root": "as users of their own, by root",
    "mapped": "as users of their own, by subordinate ids",
    "same": "as the user of wit",
}


@attrs.frozen
class Host:
    """How sandboxes are made here."""

    bwrap: str
    seccomp: bytes = attrs.field(repr=False)
    identities: Identities
    cgroups: Cgroups
    disks: Disks
    layout: Layout
    lock: int
    detail: Mapping[str, str]

    @property
    def limited(self) -> frozenset[str]:
        """Of Features: what is really limited."""
        found = {"processes"}
        if self.cgroups.version:
            found |= {"memory", "cpu"}
        if self.disks.kind != "folder":
            found.add("disk")
        return frozenset(found)

    def advice(self, said: str) -> str:
        """What to do about an attempt that failed with these words."""
        for sentence in _obstacles():
            return f"{sentence} ({said})"
        return f"this server cannot isolate programs: {said}"

    def close(self) -> None:
        """Blocks. Raises OSError if something in a sandbox does not end."""
        try:
            self.cgroups.sweep()
        finally:
            self.cgroups.remove()
            os.close(self.lock)


def look(folder: Path, instance: str, settings: Settings) -> Host:
    """Find out, and take ``folder`` for ourselves. Blocks.

    Raises Unavailable with what is missing and what to do.
    """
    bwrap = shutil.which(settings.bwrap)
    if bwrap is None:
        raise Unavailable("bubblewrap is not installed; install the package bubblewrap")
    version = _version(bwrap)
    if version < LEAST_VERSION:
        wanted = ".".join(map(str, LEAST_VERSION))
        raise Unavailable(f"{bwrap} is too old; bubblewrap {wanted} or newer is needed")
    program = seccomp.program()
    for sentence in _obstacles():
        raise Unavailable(sentence)
    lock = _take(folder)
    groups = Cgroups(0)
    try:
        who = identities.find(instance, settings.first_id)
        groups = cgroups.find(f"{instance}-{zlib.crc32(os.fsencode(folder.absolute())):08x}")
        if who.mode == "same" and not groups.version:
            raise Unavailable(
                f"sandboxes would be limited neither as users nor as groups: {who.missing}, "
                f"or: {groups.missing}"
            )
        groups.sweep()
        who.sweep()
        kind, why = _disk(settings, who)
    except BaseException:
        groups.remove()
        os.close(lock)
        raise
    detail = {
        "isolation": f"bubblewrap {'.'.join(map(str, version))}, {_HOW[who.mode]}",
        "limits": f"control groups, version {groups.version}" if groups.version else groups.missing,
        "disk": kind + why,
        "kernel": platform.release(),
    }
    if not groups.version:
        detail["memory"] = "limited for each process alone, not for a sandbox"
    if who.missing:
        detail["users"] = who.missing
    return Host(
        bwrap,
        program,
        who,
        groups,
        Disks(kind, folder / "templates"),
        Layout.of_this_host(),
        lock,
        detail,
    )


def _disk(settings: Settings, who: Identities) -> tuple[str, str]:
    """The kind of disk, and why not a better one."""
    if settings.disk in ("folder", "memory"):
        return settings.disk, ""
    missing = disks.missing_programs() if who.mode == "root" else "only root can mount images"
    if missing is None:
        return "image", ""
    if settings.disk == "image":
        raise Unavailable(f"sandboxes.local.disk is image, but: {missing}")
    return "folder", f", looked after every second ({missing})"


def _take(folder: Path) -> int:
    """A lock on the folder, which only one daemon may have."""
    (folder / "boxes").mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / "templates").mkdir(exist_ok=True, mode=0o700)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise Unavailable(f"another wit has its sandboxes in {folder}") from None
    return lock


def _version(bwrap: str) -> tuple[int, ...]:
    try:
        said = subprocess.run(
            [bwrap, "--version"], check=False, capture_output=True, text=True, timeout=10, env={}
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise Unavailable(f"{bwrap} does not run: {error}") from error
    found = re.search(r"[0-9]+(?:\.[0-9]+)+", said)
    return tuple(map(int, found[0].split("."))) if found else ()


def _obstacles() -> list[str]:
    """Switches of the kernel that stand against sandboxes."""
    found = []
    if _switch("user/max_user_namespaces") == "0":
        found.append(
            "user namespaces are switched off; sysctl user.max_user_namespaces must be above 0"
        )
    if os.geteuid() != 0:
        if _switch("kernel/unprivileged_userns_clone") == "0":
            found.append(
                "user namespaces are for root alone; set sysctl kernel.unprivileged_userns_clone=1"
            )
        if _switch("kernel/apparmor_restrict_unprivileged_userns") == "1":
            found.append(
                "AppArmor keeps user namespaces from programs without a profile; set sysctl "
                "kernel.apparmor_restrict_unprivileged_userns=0, or give bwrap and wit a profile"
            )
    return found


def _switch(name: str) -> str | None:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return None
