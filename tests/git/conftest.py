"""What the tests of git's processes share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import psutil  # type: ignore[import-untyped]
import pytest

Children = Callable[[], list[psutil.Process]]


@pytest.fixture
def children() -> Children:
    """``children()``: the processes below this one, zombies too, that this test brought about.

    A database or daemon that runs for the whole session, and what is below it, is left out.
    """
    others = psutil.Process().children()

    def ours() -> list[psutil.Process]:
        found = []
        for child in psutil.Process().children():
            if child not in others:
                found.append(child)
                with suppress(psutil.NoSuchProcess):
                    found += child.children(recursive=True)
        return found

    return ours
