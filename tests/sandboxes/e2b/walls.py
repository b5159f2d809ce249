"""The walls around a daemon: a sandbox as bubblewrap makes it, with a root of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil

OWN = {"proc", "dev", "tmp", "run", "root", "workspace", "sys", "mnt", "media"}
"""Folders of this machine's root that the sandbox does not see."""

PROJECT = Path(__file__).parents[3]


def arguments(socket_folder: Path) -> list[str]:
    """bubblewrap's, up to the program."""
    argv = ["bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--die-with-parent"]
    for entry in sorted(Path("/").iterdir()):
        if entry.name in OWN:
            continue
        if entry.is_symlink():
            argv += ["--symlink", os.readlink(entry), str(entry)]
        elif entry.is_dir() and os.access(entry, os.R_OK):
            argv += ["--ro-bind", str(entry), str(entry)]
    argv += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/tmp"]
    argv += ["--tmpfs", "/var/tmp", "--tmpfs", "/home", "--dir", "/root"]
    for needed in {sys.prefix, sys.base_prefix, str(PROJECT)}:
        argv += ["--ro-bind", needed, needed]
    if os.getuid() == 0:
        argv += ["--cap-add", "ALL"]
    argv += ["--bind", str(socket_folder), "/run/envd", "--chdir", str(PROJECT)]
    return argv


class Walls:
    """One sandbox and the daemon in it; blocking: to be used in a thread."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "envd.sock"
        folder.mkdir()
        daemon = [sys.executable, "-m", "tests.sandboxes.e2b.envd", "/run/envd/envd.sock"]
        self._process = subprocess.Popen(
            [*arguments(folder), *daemon],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "ENVD_USERS": "many"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            self.remove()
            raise RuntimeError("the daemon of the fake did not start")

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in psutil.Process(self._process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

    def remove(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
