"""The contract suite once more, with a daemon that is an ordinary user with subordinate ids."""

from __future__ import annotations

import subprocess

import pytest

from tests.support.unprivileged import ROOT, new_user

SECONDS = 300


@pytest.mark.timeout(SECONDS)
def test_the_contract() -> None:
    with new_user() as user:
        done = subprocess.run(
            [
                *user.python,
                *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
                f"--basetemp={user.folder}/base",
                *("-k", "local and not docker and not podman and not e2b and not daytona"),
                *("--timeout", "60", "tests/sandboxes/contract"),
            ],
            cwd=ROOT,
            env=user.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
