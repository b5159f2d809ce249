"""The walls of a sandbox: its user, network and mount namespaces, and its disk.

No process lives in them: they exist while the daemon holds the descriptors, and vanish with what
is mounted in them when the last one is closed, also when the daemon is killed. In the sandbox's
mount namespace, and only there, ``/tmp`` is the sandbox's disk, so that its real place needs no
permissions for the sandbox's user, and that work on files can be locked into it by chroot(2).
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from typing import Any, Literal, TypedDict

from wit.sandboxes.local.keeper import kernel

ROOT = "/tmp"  # noqa: S108
"""Where the disk is mounted. Its root belongs to the daemon, the folders in it to the sandbox."""

FOLDERS = {"workspace": 0o755, "tmp": 0o1777, "home": 0o755}

MAP_SECONDS = 10.0

KINDS = (("user", kernel.CLONE_NEWUSER), ("mnt", kernel.CLONE_NEWNS), ("net", kernel.CLONE_NEWNET))


class Who(TypedDict):
    """Which user a sandbox is.

    ``root``: the daemon is root and ``uid`` a user of this host. ``mapped``: ``uid`` and ``gid``
    are of the daemon's subordinate ids, and so is ``root_gid``. ``same``: the daemon's own user.
    """

    mode: Literal["root", "mapped", "same"]
    uid: int
    gid: int
    root_gid: int


class Disk(TypedDict):
    """An ``image`` file (ext4), a ``folder``, or ``memory`` (tmpfs)."""

    kind: Literal["image", "folder", "memory"]
    path: str
    bytes: int
    inodes: int
    etc: dict[str, str]
    """Files for /etc, by name."""


def inner(who: Who) -> tuple[int, int]:
    """User and group of the sandbox, as its walls number them."""
    return {"root": (who["uid"], who["gid"]), "mapped": (1, 1), "same": (1000, 1000)}[who["mode"]]


def make(who: Who, disk: Disk) -> list[int]:
    """Make the walls around this process; descriptors of them, in the order of KINDS.

    Without ``user`` when the daemon is root. Raises OSError, ChildProcessError.
    """
    if who["mode"] != "root":
        make_user_namespace(who)
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWNET)
    kernel.mount("none", "/", None, kernel.MS_SLAVE | kernel.MS_REC)
    _mount(disk)
    _furnish(who, disk)
    # Terminals of its own: they belong to the sandbox's user, and no number of the host's is seen.
    kernel.mount("devpts", "/dev/pts", "devpts", kernel.MS_NOSUID, "newinstance,ptmxmode=0666")
    kernel.loopback_up()
    kinds = [kind for kind, _ in KINDS if who["mode"] != "root" or kind != "user"]
    return [os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds]


def enter(fds: list[int], *kinds: str) -> None:
    """Go behind the walls that :func:`make` made; all of them, unless ``kinds`` are named."""
    for fd, (kind, flag) in zip(fds, KINDS[-len(fds) :], strict=True):
        if not kinds or kind in kinds:
            kernel.setns(fd, flag)


def lock_in() -> None:
    """See nothing but the sandbox's disk, with the workspace at /workspace, from now on."""
    os.chroot(ROOT)
    os.chdir("/workspace")


def become(who: Who) -> None:
    """Become the sandbox's user, without capabilities once something is executed."""
    uid, gid = inner(who)
    if who["mode"] != "same":
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)


def _mount(disk: Disk) -> None:
    flags = kernel.MS_NOSUID | kernel.MS_NODEV
    if disk["kind"] == "memory":
        sizes = f"size={disk['bytes']},nr_inodes={disk['inodes']},mode=0755"
        kernel.mount("sandbox", ROOT, "tmpfs", flags, sizes)
    elif disk["kind"] == "folder":
        kernel.mount(disk["path"], ROOT, None, kernel.MS_BIND)
    else:
        image = os.open(disk["path"], os.O_RDWR | os.O_CLOEXEC)
        device, loop = kernel.attach_loop(image)
        # fsync(2) and unmounting need not wait for the machine's own disk: what a sandbox wrote
        # last outlives the daemon, but perhaps no power failure. The image is checked after one.
        kernel.mount(device, ROOT, "ext4", flags | kernel.MS_NOATIME, "barrier=0")
        os.close(loop)
        os.close(image)


def _furnish(who: Who, disk: Disk) -> None:
    """Make what a new disk lacks."""
    os.umask(0o022)
    uid, gid = inner(who)
    for name, mode in FOLDERS.items():
        path = f"{ROOT}/{name}"
        with suppress(FileExistsError):
            os.mkdir(path)
            os.chmod(path, mode)
        if os.lstat(path).st_uid != uid:
            os.chown(path, uid, gid)
    os.makedirs(f"{ROOT}/etc", exist_ok=True)
    for name, text in disk["etc"].items():
        path = f"{ROOT}/etc/{name}"
        if not os.path.exists(path):
            with open(path, "w") as file:
                file.write(text)


def make_user_namespace(who: Who) -> None:
    """A user namespace in which this process may do everything, over what is its own."""
    if who["mode"] == "same":
        uid, gid = os.getuid(), os.getgid()
        kernel.unshare(kernel.CLONE_NEWUSER)
        kernel.write_text("/proc/self/setgroups", "deny")
        kernel.write_text("/proc/self/uid_map", f"1000 {uid} 1")
        kernel.write_text("/proc/self/gid_map", f"1000 {gid} 1")
        return
    go_read, go_write = os.pipe()
    target = os.getpid()
    own = os.getuid()
    mapper = os.fork()
    if mapper == 0:
        status = 1
        with suppress(OSError, subprocess.SubprocessError):
            os.close(go_write)
            os.read(go_read, 1)
            _map("newuidmap", target, (0, own, 1), (1, who["uid"], 1))
            _map("newgidmap", target, (0, who["root_gid"], 1), (1, who["gid"], 1))
            status = 0
        os._exit(status)
    kernel.unshare(kernel.CLONE_NEWUSER)
    os.close(go_read)
    os.write(go_write, b"x")
    os.close(go_write)
    _, status = os.waitpid(mapper, 0)
    if status:
        raise ChildProcessError(
            "newuidmap and newgidmap could not map subordinate ids; they want their rights "
            "(setuid, no NoNewPrivileges), and the daemon in the primary group of its user"
        )
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def _map(program: str, target: int, *ranges: tuple[int, int, int]) -> None:
    numbers = [str(number) for one in ranges for number in one]
    environment: dict[str, Any] = {"PATH": "/usr/bin:/bin"}
    subprocess.run(
        [program, str(target), *numbers],
        check=True,
        env=environment,
        stdin=subprocess.DEVNULL,
        timeout=MAP_SECONDS,
    )
