"""System calls that Python 3.11 does not offer: namespaces, mounts, loop devices.

All of them raise OSError.
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import os
import socket
import struct

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_NOSUID, MS_NODEV, MS_NOATIME = 0x2, 0x4, 0x400
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A
_LO_FLAGS_AUTOCLEAR = 4
_LOOP_CONFIG_BYTES = 304
"""struct loop_config of linux/loop.h: fd, block size, struct loop_info64 (232 bytes), 8 words."""
_LOOP_FLAGS_AT = 8 + 52
_LOOP_TRIES = 50

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """unshare(2)."""
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """setns(2): enter the namespace of a descriptor of /proc/PID/ns, or of a pidfd."""
    _checked(_libc.setns(fd, kind), "setns")


def mount(source: str, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """mount(2)."""
    result = _libc.mount(
        source.encode(),
        target.encode(),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        data.encode() or None,
    )
    _checked(result, f"mount {kind or 'bind'} on {target}")


def die_with_parent(signal: int) -> None:
    """prctl(PR_SET_PDEATHSIG): end when the process that forked us does."""
    _checked(_libc.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0), "prctl")


def adopt_orphans() -> None:
    """prctl(PR_SET_CHILD_SUBREAPER): processes below us whose parent ends become our children."""
    _checked(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def children() -> set[int]:
    """Pids of our children, dead ones that nobody has waited for too (proc(5))."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return {int(pid) for pid in file.read().split()}


def loopback_up() -> None:
    """Bring ``lo`` of the current network namespace up (netdevice(7))."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        answer = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request)
        flags = struct.unpack("16sh14x", answer)[1] | _IFF_UP
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags))


def attach_loop(image: int) -> tuple[str, int]:
    """A loop device over an open file, and a descriptor to keep until it is mounted.

    It goes away by itself when nobody has it mounted or open any more (loop(4), autoclear).
    """
    config = bytearray(_LOOP_CONFIG_BYTES)
    struct.pack_into("II", config, 0, image, 0)
    struct.pack_into("I", config, _LOOP_FLAGS_AT, _LO_FLAGS_AUTOCLEAR)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(_LOOP_TRIES):
            path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            device = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, bytes(config))
                return path, device
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # somebody else was faster
                    raise
    finally:
        os.close(control)
    raise OSError(errno.EBUSY, "no free loop device")


def receive(channel: socket.socket, size: int, max_fds: int) -> tuple[bytes, list[int]]:
    """A message with its descriptors, none of which a child will inherit (cmsg(3)).

    socket.recv_fds of Python 3.11 forgets the flag that says so.
    """
    fds = array.array("i")
    space = socket.CMSG_SPACE(max_fds * fds.itemsize)
    data, ancillary, _, _ = channel.recvmsg(size, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
    return data, list(fds)


def write_text(path: str, text: str) -> None:
    """Write to a file of the kernel's, in one write(2), as they want it."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
