"""Paths as callers give them, and the ones in the sandbox that they mean. Pure."""

from __future__ import annotations

import posixpath

from wit.errors import Invalid
from wit.sandboxes.provider import WORKSPACE

MAX_PATH = 4096


def absolute(path: str) -> str:
    """The plain absolute path that is meant; relative ones are relative to the workspace.

    Raises Invalid.
    """
    if not path or "\0" in path or len(path) > MAX_PATH:
        raise Invalid(f"a path has 1 to {MAX_PATH} characters, and no zero bytes")
    try:
        path.encode()
    except UnicodeEncodeError:
        raise Invalid("a path is text in UTF-8") from None
    return "/" + posixpath.normpath(posixpath.join(WORKSPACE, path)).lstrip("/")


def inside(path: str) -> str:
    """The same for a path that must be the workspace or in it. Raises Invalid."""
    found = absolute(path)
    if found != WORKSPACE and not found.startswith(WORKSPACE + "/"):
        raise Invalid(f"{path} is not in {WORKSPACE}")
    return found


def entry(path: str) -> tuple[str, str]:
    """Folder and name of something that is in the workspace. Raises Invalid."""
    found = inside(path)
    if found == WORKSPACE:
        raise Invalid(f"{WORKSPACE} itself cannot be that; name something in it")
    folder, _, name = found.rpartition("/")
    return folder, name
