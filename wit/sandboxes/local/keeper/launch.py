"""Becoming a command inside the walls, and signalling what runs there."""

from __future__ import annotations

import fcntl
import os
import resource
import select
import signal
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TypedDict

from wit.sandboxes.local.keeper import kernel, walls
from wit.sandboxes.local.keeper.walls import Who

ARGS_FD, SECCOMP_FD, STATUS_FD = 3, 4, 5

OOM_SCORE = "800"
"""When the machine itself runs out of memory, sandboxes go first (proc(5), oom_score_adj)."""


class Launch(TypedDict):
    who: Who
    groups: list[str]
    """Control groups (folders) to join."""
    bwrap: str
    options: list[str]
    """bwrap's own, handed over out of sight of the process list."""
    argv: list[str]
    seccomp: str
    """The filter's program, hexadecimal."""
    rlimits: list[tuple[str, int]]
    """As ``("RLIMIT_CORE", 0)``; soft and hard."""
    terminal: tuple[int, int] | None
    """Columns and rows."""


Tell = Callable[[list[int]], None]


def launch(
    request: Launch, status: int, streams: list[int], fds: list[int], tell: Tell
) -> NoReturn:
    """Become bwrap, on ``streams``: standard input, output and error, or none for a terminal.

    Before that, ``tell`` gets a pidfd, and the terminal's other end. Raises OSError.
    """
    _join(request["groups"])
    with suppress(OSError):
        kernel.write_text("/proc/self/oom_score_adj", OOM_SCORE)
    walls.enter(fds)
    os.setsid()
    for name, value in request["rlimits"]:
        _limit(getattr(resource, name), value)
    walls.become(request["who"])
    given = [os.pidfd_open(os.getpid())]
    if request["terminal"]:
        master, slave = _open_terminal(*request["terminal"])
        given.append(master)
        streams = [slave] * 3
    tell(given)
    options = b"".join(
        option.encode("utf-8", "surrogateescape") + b"\0" for option in request["options"]
    )
    passed = [*streams, _memory(options), _memory(bytes.fromhex(request["seccomp"])), status]
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 64) for fd in passed]
    for number, fd in enumerate(moved):
        os.dup2(fd, number, inheritable=True)
    os.umask(0o022)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT):
        signal.signal(ignored, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    argv = [os.fsencode(word) for word in ("bwrap", "--args", str(ARGS_FD), "--", *request["argv"])]
    os.execve(request["bwrap"], argv, {"PATH": "/usr/bin:/bin"})  # noqa: S606


def warm_up(groups: list[str]) -> None:
    """Join control groups once, beside what we do, so that the next to join need not wait.

    The first process that moves after a while waits for a grace period of the kernel's (RCU), ten
    milliseconds and more, and those that soon follow do not.
    """
    if os.fork() == 0:
        with suppress(OSError):
            _join(groups)
        os._exit(0)


def signal_all(who: Who, outer: int, child: int, number: int, fds: list[int]) -> bool:
    """Send a signal to everything in a command's pid namespace but its init.

    ``outer`` is the pid of the bwrap outside, ``child`` that of the namespace's init, as bwrap
    told it. False if they are gone. Raises OSError.
    """
    try:
        pidfd = os.pidfd_open(child)
        if _parent(child) != outer or select.select([pidfd], [], [], 0)[0]:
            return False  # it has ended, and the number may be another's by now
    except (ProcessLookupError, FileNotFoundError):
        return False
    walls.enter(fds, "user")
    kernel.setns(pidfd, kernel.CLONE_NEWPID)
    sender = os.fork()
    if sender == 0:
        with suppress(OSError):
            # In the sandbox's own user: whatever happens, nobody else's processes are hit.
            walls.become(who)
            os.kill(-1, number)
        os._exit(0)
    os.waitpid(sender, 0)
    return True


def _join(groups: list[str]) -> None:
    for group in groups:
        kernel.write_text(f"{group}/cgroup.procs", "0")


def _open_terminal(columns: int, rows: int) -> tuple[int, int]:
    """Both ends of a new terminal, ours to control."""
    master, slave = os.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    return master, slave


def _parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as stat:
        return int(stat.read().rpartition(b")")[2].split()[1])


def _memory(data: bytes) -> int:
    """A file in memory that holds ``data``, to be read from its start."""
    fd = os.memfd_create("wit")
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _limit(kind: int, value: int) -> None:
    """Soft and hard limit; never above what we have ourselves."""
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))
