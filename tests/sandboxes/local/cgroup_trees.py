"""A group of the kernel's control groups, version 2, that is a test's own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from wit.sandboxes.local import cgroups


@contextmanager
def new_tree() -> Iterator[Path]:
    """Goes with everything in it. Skips where the kernel gives us none."""
    places = list(cgroups._mounts().get("cgroup2", {}))
    if os.geteuid() != 0 or not places:
        pytest.skip("control groups of version 2 that root may make are needed")
    tree = Path(places[0]) / f"wit-test-{uuid.uuid4().hex}"
    tree.mkdir()
    try:
        yield tree
    finally:
        (tree / "cgroup.kill").write_text("1")
        for folder, _, _ in os.walk(tree, topdown=False):
            cgroups.Group({"": Path(folder)}).remove()
