"""The contract suite once more, with a daemon that is an ordinary user with subordinate ids."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import wit

ROOT = Path(wit.__file__).parents[1]
USER = "wit-test-unprivileged"
SECONDS = 300


@pytest.fixture(scope="module")
def user() -> Iterator[str]:
    if os.geteuid() != 0:
        pytest.skip("only root can make the user; whoever runs this is an ordinary one already")
    subprocess.run(["useradd", "--no-create-home", "--no-user-group", USER], check=False)
    assert USER in Path("/etc/subuid").read_text(), "useradd gave no subordinate ids"
    yield USER
    subprocess.run(["userdel", USER], check=False)


def interpreter(user: str) -> list[str]:
    """Python as that user: our own, or the system's of the same version with our packages."""
    entry = pwd.getpwnam(user)
    # setpriv itself may still run what the user may not; env is the user already.
    drop = [
        "setpriv",
        f"--reuid={entry.pw_uid}",
        f"--regid={entry.pw_gid}",
        "--clear-groups",
        "env",
    ]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}"):
        tried = subprocess.run(
            [*drop, python, "-c", "import ssl"], capture_output=True, check=False
        )
        if tried.returncode == 0:
            return [*drop, python]
    pytest.skip(f"an ordinary user has no Python {version} on this machine")


@pytest.fixture
def folder(user: str) -> Iterator[Path]:
    """Where the user may write; the folders that pytest makes for root are root's alone."""
    path = Path(f"/var/tmp/{user}-{os.getpid()}")
    path.mkdir(mode=0o755)
    shutil.chown(path, user)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.timeout(SECONDS)
def test_the_contract(user: str, folder: Path) -> None:
    packages = next(path for path in sys.path if path.endswith("site-packages"))
    done = subprocess.run(
        [
            *interpreter(user),
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={folder}/base"),
            *("-k", "local and not docker and not podman and not e2b and not daytona"),
            *("--timeout", "60", "tests/sandboxes/contract"),
        ],
        cwd=ROOT,
        env={
            "HOME": str(folder),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": f"{ROOT}:{packages}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "LC_ALL": "C.UTF-8",
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
