"""Packs whose deltas stand one upon the other too often.

git itself never writes a chain of more than 4095 deltas (git-pack-objects(1), --depth). What is
deeper was made by somebody who wants readers to work: the time of a repack grows with the square
of the depth (attack list, line 17).
"""

from __future__ import annotations

import os
import struct

from wit.errors import Unavailable
from wit.git.process import run
from wit.git.programs import program
from wit.runtime import Runtime

SECONDS = 600.0
"""Time limit of one look. A pack of 150 000 objects takes half a second."""

_COUNT_AT = 8 + 255 * 4
"""Where the number of objects stands in an index (gitformat-pack(5))."""


async def has_deep_chain(
    runtime: Runtime, object_directory: str, object_format: str, limit: int
) -> bool:
    """Whether a pack in ``object_directory`` has a chain of more than ``limit`` deltas.

    Only packs with more objects than that are looked at, by a process of its own, which reads
    headers and inflates nothing. Raises Unavailable if a pack cannot be read, TimedOut.
    """
    hash_bytes = 32 if object_format == "sha256" else 20
    try:
        indexes = await runtime.in_thread(_large, os.path.join(object_directory, "pack"), limit)
    except OSError as error:
        raise Unavailable("the packs could not be looked at; try again") from error
    for index in indexes:
        look = program("delta_depth", str(limit), str(hash_bytes), index)
        done = await run(runtime, look, timeout=SECONDS)
        if done.code != 0:
            raise Unavailable("the deltas in a pack could not be looked at; try again")
        if int(done.stdout) > limit:
            return True
    return False


def too_deep(limit: int) -> str:
    """What is said to whoever brings such a pack."""
    return (
        f"the pack has a chain of more than {limit} deltas; pack the objects anew "
        "(git repack -adf) and try again"
    )


def _large(folder: str, limit: int) -> list[str]:
    """The indexes of packs with more than ``limit`` objects."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".idx"))
    except FileNotFoundError:
        return []
    found = []
    for name in names:
        path = os.path.join(folder, name)
        with open(path, "rb") as file:
            count = os.pread(file.fileno(), 4, _COUNT_AT)
        if len(count) == 4 and struct.unpack(">L", count)[0] > limit:
            found.append(path)
    return found
