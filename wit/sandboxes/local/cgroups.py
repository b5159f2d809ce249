"""Control groups: the limits of a sandbox as a whole (cgroups(7)).

Version 2 where it is mounted and ours to use: as root, or delegated (``Delegate=yes`` of systemd).
Version 1 as root. Or none, and then memory is limited for each process alone.

All functions here block for as long as the kernel takes.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import attrs

from wit.sandboxes.local.claims import claim, remove_dead
from wit.sandboxes.provider import Limits

CONTROLLERS = ("memory", "pids", "cpu")
V1_CONTROLLERS = (*CONTROLLERS, "cpuacct")
PERIOD = 100_000
"""Microseconds over which CPU time is measured out."""
MORE_PROCESSES = 8
"""Beyond the limit: bubblewrap's own two of each command."""
KILL_SECONDS = 10.0

OURS = "wit-sandboxes-"
DAEMON = "wit-daemon"

MOUNTS, OWN, UNIFIED = "/proc/self/mountinfo", "/proc/self/cgroup", "/sys/fs/cgroup"


@attrs.frozen
class Cgroups:
    """Where groups of sandboxes are made. ``version`` 0: nowhere, for the reason ``missing``."""

    version: int
    roots: Mapping[str, Path] = attrs.field(factory=dict)
    """Our own folder, by controller; of version 2 the one under ``""``. In version 1, the folder
    under ``""`` is in the hybrid tree of version 2, which can kill and freeze."""
    missing: str = ""
    claims: tuple[int, ...] = ()
    """Descriptors that hold the locks on our folders (:mod:`.claims`)."""

    @property
    def can_freeze(self) -> bool:
        return "" in self.roots

    def make(self, name: str, limits: Limits) -> Group:
        """A group with limits. Raises OSError."""
        folders = {kind: root / name for kind, root in self.roots.items()}
        group = Group(folders)
        try:
            for folder in folders.values():
                folder.mkdir(exist_ok=True)
            if self.version == 2:
                _limit_v2(folders[""], limits)
            elif self.version == 1:
                _limit_v1(folders, limits)
        except OSError:
            group.remove()
            raise
        return group

    def sweep(self) -> None:
        """End and remove what a daemon of this installation left behind before us."""
        names = {
            entry.name for root in self.roots.values() for entry in root.iterdir() if entry.is_dir()
        }
        for name in names:
            Group({kind: root / name for kind, root in self.roots.items()}).remove()

    def remove(self) -> None:
        """Take our own folders away, if they are empty, and let go of them."""
        for root in self.roots.values():
            with suppress(OSError):
                root.rmdir()
        for fd in self.claims:
            os.close(fd)


@attrs.frozen
class Group:
    """The control group of one sandbox."""

    folders: Mapping[str, Path] = attrs.field(factory=dict)

    @property
    def joined(self) -> list[str]:
        """Folders that a process of the sandbox has to join."""
        return [str(folder) for folder in self.folders.values()]

    def kill(self) -> None:
        """End every process, and wait until they are gone; OSError if they do not go."""
        deadline = time.monotonic() + KILL_SECONDS
        self.freeze(False)
        while self._kill_once():
            if time.monotonic() > deadline:
                raise OSError("processes of a sandbox do not end")
            time.sleep(0.002)

    def _kill_once(self) -> bool:
        """Whether there was anything to kill."""
        main = self.folders.get("") or self.folders.get("pids")
        pids = _pids(main) if main else []
        if not pids:
            return False
        try:
            _write(self.folders[""] / "cgroup.kill", "1")
        except (KeyError, OSError):  # before Linux 5.14
            for pid in pids:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        return True

    def freeze(self, frozen: bool) -> None:
        """Stop all processes where they are, or let them go on."""
        if "" in self.folders:
            with suppress(FileNotFoundError):
                _write(self.folders[""] / "cgroup.freeze", str(int(frozen)))

    def remove(self) -> None:
        """Kill what is in it and take it away. Raises OSError."""
        self.kill()
        for folder in self.folders.values():
            deadline = time.monotonic() + KILL_SECONDS
            while True:
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.002)
                else:
                    break

    def out_of_memory(self) -> int:
        """How often something was killed for using too much."""
        memory = self.folders.get("memory") or self.folders.get("")
        for name in ("memory.events", "memory.oom_control"):
            if memory and (counts := _counts(memory / name)):
                return counts.get("oom_kill", 0)
        return 0

    def memory_bytes(self) -> int | None:
        v2, v1 = self.folders.get(""), self.folders.get("memory")
        return _number(v1, "memory.usage_in_bytes") if v1 else _number(v2, "memory.current")

    def cpu_seconds(self) -> float | None:
        v2, v1 = self.folders.get(""), self.folders.get("cpuacct")
        if v1:
            used = _number(v1, "cpuacct.usage")
            return None if used is None else used / 1e9
        microseconds = _counts(v2 / "cpu.stat").get("usage_usec") if v2 else None
        return None if microseconds is None else microseconds / 1e6

    def processes(self) -> int | None:
        return _number(self.folders.get("pids") or self.folders.get(""), "pids.current")


def find(instance: str) -> Cgroups:
    """What we may use here, with folders of our own made and claimed."""
    name = OURS + re.sub(r"[^A-Za-z0-9-]", "-", instance)
    mounts = _mounts()
    try:
        if UNIFIED in mounts.get("cgroup2", {}):
            return _claimed(2, {"": _delegated(Path(UNIFIED), name)})
        if os.geteuid() == 0 and mounts.get("cgroup"):
            return _claimed(1, _version_1(mounts, name))
    except OSError as error:
        return Cgroups(0, missing=_advice(error))
    return Cgroups(0, missing=_advice(None))


def _claimed(version: int, roots: Mapping[str, Path]) -> Cgroups:
    """With folders of our own, and without those of daemons that are dead."""
    ours = Cgroups(version)
    try:
        for kind, root in roots.items():
            remove_dead(root.parent, OURS)
            lock = claim(root)
            ours = Cgroups(version, {**ours.roots, kind: root}, claims=(*ours.claims, lock))
        if version == 2:
            _hand_on(roots[""])
    except OSError:
        ours.remove()
        raise
    return ours


def _advice(error: OSError | None) -> str:
    why = f" ({error.strerror}: {error.filename})" if error and error.filename else ""
    return (
        f"no control groups are ours to use{why}; run wit by systemd with Delegate=yes, or as root"
    )


def _delegated(mount: Path, name: str) -> Path:
    """Our folder in the tree of version 2, with the controllers that limits need."""
    own = mount / _own_group("").lstrip("/")
    if own.name == DAEMON:
        own = own.parent
    candidates = [own, mount] if os.geteuid() == 0 else [own]
    for parent in candidates:
        try:
            return _open_tree(parent, name)
        except OSError as error:
            refused = error
    raise refused


def _open_tree(parent: Path, name: str) -> Path:
    offered = (parent / "cgroup.controllers").read_text().split()
    if not set(CONTROLLERS) <= set(offered):
        lacking = ", ".join(sorted(set(CONTROLLERS) - set(offered)))
        raise FileNotFoundError(2, f"no controller {lacking}", str(parent))
    try:
        _hand_on(parent)
    except OSError:
        # A group with processes of its own may not hand controllers on: go one down ourselves.
        (parent / DAEMON).mkdir(exist_ok=True)
        for pid in _pids(parent):
            with suppress(ProcessLookupError):
                _write(parent / DAEMON / "cgroup.procs", str(pid))
        _hand_on(parent)
    return parent / name


def _hand_on(folder: Path) -> None:
    """Let the groups in it use the controllers that limits need."""
    wanted = " ".join(f"+{controller}" for controller in CONTROLLERS)
    _write(folder / "cgroup.subtree_control", wanted)


def _version_1(mounts: Mapping[str, Mapping[str, str]], name: str) -> dict[str, Path]:
    roots: dict[str, Path] = {}
    for controller in V1_CONTROLLERS:
        found = [
            Path(place)
            for place, options in mounts["cgroup"].items()
            if controller in options.split(",")
        ]
        if not found and controller in CONTROLLERS:
            raise FileNotFoundError(2, f"no controller {controller}", UNIFIED)
        for mount in found[:1]:
            roots[controller] = mount / _own_group(controller).lstrip("/") / name
    for place in list(mounts.get("cgroup2", {}))[:1]:
        roots[""] = Path(place) / _own_group("").lstrip("/") / name
    return roots


def _own_group(controller: str) -> str:
    """The path of our own group; ``""`` is that of version 2."""
    with open(OWN) as table:
        for line in table:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if controller in controllers.split(","):
                return path
    return "/"


def _mounts() -> dict[str, dict[str, str]]:
    """Places and options of mounted cgroup trees, by kind of file system."""
    found: dict[str, dict[str, str]] = {}
    with open(MOUNTS) as table:
        for line in table:
            before, _, after = line.partition(" - ")
            kind, _, options = after.split()[:3]
            if kind in ("cgroup", "cgroup2"):
                found.setdefault(kind, {})[before.split()[4]] = options
    return found


def _limit_v2(folder: Path, limits: Limits) -> None:
    _write(folder / "memory.max", str(limits.memory_bytes))
    with suppress(FileNotFoundError):  # a kernel without swap accounting
        _write(folder / "memory.swap.max", "0")
    _write(folder / "pids.max", str(limits.processes + MORE_PROCESSES))
    _write(folder / "cpu.max", f"{max(1000, int(limits.cpus * PERIOD))} {PERIOD}")


def _limit_v1(folders: Mapping[str, Path], limits: Limits) -> None:
    memory = folders["memory"]
    _write(memory / "memory.limit_in_bytes", str(limits.memory_bytes))
    with suppress(FileNotFoundError):
        _write(memory / "memory.memsw.limit_in_bytes", str(limits.memory_bytes))
    _write(folders["pids"] / "pids.max", str(limits.processes + MORE_PROCESSES))
    _write(folders["cpu"] / "cpu.cfs_period_us", str(PERIOD))
    _write(folders["cpu"] / "cpu.cfs_quota_us", str(max(1000, int(limits.cpus * PERIOD))))


def _pids(folder: Path) -> list[int]:
    try:
        return [int(line) for line in (folder / "cgroup.procs").read_text().split()]
    except FileNotFoundError:
        return []


def _number(folder: Path | None, name: str) -> int | None:
    try:
        return int((folder / name).read_text()) if folder else None
    except (OSError, ValueError):
        return None


def _counts(file: Path) -> dict[str, int]:
    """A file of lines ``name number``."""
    try:
        pairs = (line.split() for line in file.read_text().splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}
    except (OSError, ValueError):
        return {}


def _write(file: Path, text: str) -> None:
    """One write(2), as the kernel wants it. The file is never made."""
    fd = os.open(file, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
