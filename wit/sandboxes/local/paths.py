"""Paths that clients name in a sandbox."""

from __future__ import annotations

import posixpath

from wit.errors import Invalid
from wit.sandboxes.provider import WORKSPACE

PATH_BYTES = 4096


def in_workspace(path: str) -> str:
    """The absolute, normal form of a path in the workspace. Raises Invalid."""
    normal = absolute(path)
    if normal != WORKSPACE and not normal.startswith(WORKSPACE + "/"):
        raise Invalid(f"the path {path[:200]!r} leads out of {WORKSPACE}")
    return normal


def absolute(path: str) -> str:
    """The normal form; relative to the workspace. Raises Invalid."""
    if not path or "\0" in path or len(path.encode("utf-8", "surrogateescape")) > PATH_BYTES:
        raise Invalid(f"{path[:200]!r} is not a path")
    return "/" + posixpath.normpath(posixpath.join(WORKSPACE, path)).lstrip("/")
