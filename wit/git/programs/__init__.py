"""Programs of wit's own that run as processes: long work in Python, away from the reactor's GIL.

They import the standard library only, start in some milliseconds, and bound their memory.
"""

from __future__ import annotations

import os
import sys

from wit.git.command import Invocation


def program(name: str, *arguments: str) -> Invocation:
    """The command line of one of the modules here."""
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), f"{name}.py")
    return Invocation((sys.executable, "-I", "-S", path, *arguments), {"LC_ALL": "C.UTF-8"})
