"""Telling systemd how the daemon is doing: the protocol of sd_notify(3).

Without ``NOTIFY_SOCKET`` in the environment everything here does nothing and returns False.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

MAX_STATUS = 200
"""Characters of a status line that are sent."""


def notify(environ: Mapping[str, str], *assignments: str) -> bool:
    """Send ``NAME=VALUE`` lines in one datagram; False if nobody listens or it did not go out."""
    path = environ.get("NOTIFY_SOCKET", "")
    if path[:1] not in ("/", "@"):
        return False
    address = "\0" + path[1:] if path[0] == "@" else path  # @: Linux' abstract sockets, unix(7)
    kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    with socket.socket(socket.AF_UNIX, kind) as channel:
        try:
            channel.sendto("\n".join(assignments).encode(), os.fsencode(address))
        except OSError:
            return False
    return True


def ready(environ: Mapping[str, str], status_text: str) -> bool:
    """The daemon listens; also ends a reload."""
    return notify(environ, "READY=1", f"MAINPID={os.getpid()}", _status(status_text))


def reloading(environ: Mapping[str, str]) -> bool:
    """SIGHUP came; systemd wants to know since when (Type=notify-reload)."""
    microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return notify(environ, "RELOADING=1", f"MONOTONIC_USEC={microseconds}")


def stopping(environ: Mapping[str, str], status_text: str) -> bool:
    return notify(environ, "STOPPING=1", _status(status_text))


def status(environ: Mapping[str, str], text: str) -> bool:
    """One line that ``systemctl status`` shows."""
    return notify(environ, _status(text))


def watchdog(environ: Mapping[str, str]) -> bool:
    """The daemon is alive; to be sent every :func:`watchdog_seconds`."""
    return notify(environ, "WATCHDOG=1")


def watchdog_seconds(environ: Mapping[str, str]) -> float | None:
    """How often systemd wants to hear: half of its limit, or None if it does not ask."""
    limit = environ.get("WATCHDOG_USEC", "")
    for_us = environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
    return int(limit) / 2e6 if limit.isdigit() and int(limit) > 0 and for_us else None


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())[:MAX_STATUS]
