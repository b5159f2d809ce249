"""An ordinary user of this machine with subordinate ids, and Python as that user."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import attrs
import pytest

import wit

ROOT = Path(wit.__file__).parents[1]


@attrs.frozen
class Unprivileged:
    name: str
    folder: Path
    """Where the user may write; the folders that pytest makes for root are root's alone."""
    python: tuple[str, ...]
    """Our own, or the system's of the same version with our packages."""

    @property
    def environment(self) -> dict[str, str]:
        packages = next(path for path in sys.path if path.endswith("site-packages"))
        return {
            "HOME": str(self.folder),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": f"{ROOT}:{packages}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LC_ALL": "C.UTF-8",
        }


_NUMBERS = count()


@contextmanager
def new_user() -> Iterator[Unprivileged]:
    """One that nobody else uses; skips if this is not root's process."""
    if os.geteuid() != 0:
        pytest.skip("only root can make the user; whoever runs this is an ordinary one already")
    name = f"wit-test-{os.getpid()}-{next(_NUMBERS)}"
    folder = Path(f"/var/tmp/{name}")
    subprocess.run(["useradd", "--no-create-home", "--no-user-group", name], check=True)
    try:
        assert name in Path("/etc/subuid").read_text(), "useradd gave no subordinate ids"
        folder.mkdir(mode=0o755)
        shutil.chown(folder, name)
        yield Unprivileged(name, folder, _python(name))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(["userdel", name], check=False)


def _python(name: str) -> tuple[str, ...]:
    user = pwd.getpwnam(name)
    ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    # setpriv itself may still run what the user may not; env is the user already.
    drop = ("setpriv", *ids, "env")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}"):
        tried = subprocess.run([*drop, python, "-c", "import ssl"], capture_output=True)
        if tried.returncode == 0:
            return (*drop, python)
    pytest.skip(f"an ordinary user has no Python {version} on this machine")
