"""The real git in a bare repository of a test."""

from __future__ import annotations

import subprocess

from wit.git.repository import BareRepository


def git(repo: BareRepository, *words: str, stdin: str = "") -> str:
    """Its output. Raises CalledProcessError."""
    return subprocess.run(
        ["git", "--git-dir", repo.path, *words],
        input=stdin,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
