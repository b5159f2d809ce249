"""Looking at the objects of a push while they wait in the quarantine."""

from __future__ import annotations

import os
import re
import zlib

import attrs

from wit.errors import Unavailable
from wit.git.command import Git
from wit.git.process import DEVNULL, run, spawn
from wit.git.push import Quarantine
from wit.runtime import Runtime

HEADER_BYTES = 128
"""Of a loose object's file; enough for ``blob 1234567890`` and its NUL, however compressed."""


@attrs.frozen
class Oversized:
    """An object above the limit."""

    oid: str
    size: int
    """Bytes, inflated."""


async def is_ancestor(
    git: Git, runtime: Runtime, quarantine: Quarantine, old: str, new: str
) -> bool:
    """Whether nothing is lost when a branch goes from ``old`` to ``new``.

    An ``old`` that is no commit, or is missing, is no ancestor.
    """
    command = git.command(
        "merge-base",
        "--is-ancestor",
        git_dir=quarantine.repo.path,
        operands=[old, new],
        environment=quarantine.environment,
    )
    return (await run(runtime, command)).code == 0


async def find_oversized(
    git: Git, runtime: Runtime, quarantine: Quarantine, limit: int
) -> Oversized | None:
    """A pushed object of more than ``limit`` bytes, if there is one.

    What the objects weigh on disk says nothing about that (a gigabyte of zeros packs into a
    megabyte), but sizes stand in headers, so nothing is inflated for the answer.
    """
    if not quarantine.object_directory:
        return None
    found, has_packs = await runtime.in_thread(_largest_loose, quarantine.object_directory, limit)
    if found is None and has_packs:
        found = await _oversized_in_packs(git, runtime, quarantine, limit)
    return found


def _largest_loose(directory: str, limit: int) -> tuple[Oversized | None, bool]:
    """Blocks. The second value tells whether there are packs as well."""
    largest: Oversized | None = None
    for name in os.listdir(directory):
        if not re.fullmatch("[0-9a-f]{2}", name):
            continue
        for rest in os.listdir(os.path.join(directory, name)):
            with open(os.path.join(directory, name, rest), "rb") as file:
                header = zlib.decompressobj().decompress(file.read(HEADER_BYTES), 32)
            size = int(header.partition(b"\0")[0].partition(b" ")[2])
            if size > limit and (largest is None or size > largest.size):
                largest = Oversized(name + rest, size)
    packs = os.path.join(directory, "pack")
    return largest, os.path.isdir(packs) and any(n.endswith(".pack") for n in os.listdir(packs))


async def _oversized_in_packs(
    git: Git, runtime: Runtime, quarantine: Quarantine, limit: int
) -> Oversized | None:
    """Asks git for the sizes of exactly the quarantine's objects; memory is one chunk of them."""
    command = git.command(
        "cat-file",
        "--batch-all-objects",
        "--unordered",
        ("--batch-check", "%(objectsize) %(objectname)"),
        git_dir=quarantine.repo.path,
        environment={"GIT_OBJECT_DIRECTORY": quarantine.object_directory},
    )
    candidate = re.compile(rb"^([0-9]{%d,}) ([0-9a-f]+)$" % len(str(limit)), re.MULTILINE)
    rest = b""
    async with spawn(runtime, command, stdin=DEVNULL) as child:
        while data := await child.stdout.read():
            lines, newline, rest = (rest + data).rpartition(b"\n")
            for match in candidate.finditer(lines + newline):
                if int(match[1]) > limit:
                    return Oversized(match[2].decode(), int(match[1]))
        if await child.wait() != 0:
            raise Unavailable("the sizes of the pushed files could not be found out; try again")
    return None
