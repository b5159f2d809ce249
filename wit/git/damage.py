"""Whether a repository is damaged on disk: a suspicion, out of what git says, and an examination.

A suspicion proves nothing. git says much the same when a client pushes a broken pack, when memory
or descriptors run out, and when a process is killed. So whatever sounds like damage only leads to
an examination of the repository itself, which knows three answers: sound, damaged, or that it
could not be found out now.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress

from wit.errors import NotFound, TimedOut, Unavailable
from wit.git.command import Git
from wit.git.maintenance import MARK, NICENESS, exclusively
from wit.git.process import DEVNULL, spawn, within
from wit.git.repository import BareRepository
from wit.runtime import Runtime

EXAMINATION_SECONDS = 3600.0
"""Time limit of each of the two looks. Reading a gigabyte of packs takes about a minute."""

MAX_OUTPUT = 64 * 1024
"""Bytes of fsck's findings that are kept: one is enough."""

MAX_FINDING = 300
"""Characters of a finding."""

Suspect = Callable[[str, str], object]
"""Called with a repository's key and a sentence, when something looks damaged. Returns at once."""


def nobody(repo_key: str, why: str) -> None:
    """Who suspects nothing."""


_SIGN = re.compile(
    r"""is[ ]corrupt | corrupted? | is[ ]empty$ | checksum[ ]mismatch | does[ ]not[ ]match[ ]index
    | repository[ ]corruption | [ ]bad[ ]object[ ] | not[ ]our[ ]ref | invalid[ ]sha1[ ]pointer
    | invalid[ ]HEAD | (?:unexpected|unterminated)[ ]line[ ]in | bad[ ](?:config|ref|tree|commit)
    | (?:unable[ ]to|cannot|could[ ]not|failed[ ]to)[ ](?:read|parse|unpack|access|mmap)\b
    | packfile[ ]\S+[ ](?:cannot|is) | ^missing[ ] | missing[ ](?:blob|tree|commit|necessary)
    | corrupt[ ]or[ ]missing | hash[ ]mismatch | not[ ](?:a|appear[ ]to[ ]be[ ]a)[ ]git[ ]repository
    | index[ ]file[ ] | inflate: | unpack[ ]should[ ]have[ ]generated""",
    re.VERBOSE | re.IGNORECASE,
)
_PASSING = re.compile(
    r"""no[ ]space[ ]left | too[ ]many[ ]open[ ]files | cannot[ ]allocate | out[ ]of[ ]memory
    | permission[ ]denied | input/output[ ]error | stale[ ]file[ ]handle | file[ ]too[ ]large
    | resource[ ]temporarily | quota[ ]exceeded
    | unable[ ]to[ ]create[ ]thread | not[ ]permitted""",
    re.VERBOSE | re.IGNORECASE,
)

_CONFIG = (
    # Both can be made anew; they are no part of what was entrusted to us.
    ("core.commitGraph", "false"),
    ("core.multiPackIndex", "false"),
)
_UNSOUND_OBJECT = 1
"""The bit in fsck's exit status for an object that is not well made, as old ones may be."""
_FINDINGS = 0x3F
"""All its bits; a greater status means that it did not come to its end."""
_FATAL = 128


def sign(text: str) -> str | None:
    """The first line of what git said that may mean damage; None if nothing sounds like it."""
    return next((line.strip() for line in text.splitlines() if _SIGN.search(line)), None)


async def examine(git: Git, runtime: Runtime, repo: BareRepository) -> str | None:
    """What is wrong with ``repo``, as git says it (with paths); None if it is sound.

    First what the refs lead to, which is quick, then every object. Nobody has to wait for that;
    what looked wrong while packs were being replaced is no finding. Raises NotFound if its folder
    is not there (a disk, perhaps, is not), Unavailable or TimedOut if there is no telling now.
    """
    if not await runtime.in_thread(os.path.isdir, repo.path):
        raise NotFound("the folder of the repository is not there")
    before = _last_repack(repo)
    for depth in ("--connectivity-only", "--full"):
        found = await _fsck(git, runtime, repo, depth)
        if found is not None:
            if before is None or _last_repack(repo) != before:
                raise Unavailable("housekeeping was at work on the repository")
            return found
    return None


def _last_repack(repo: BareRepository) -> float | None:
    """As time_t; 0 if there was none, None if one may be under way."""
    with exclusively(repo) as held:
        if held is None:
            return None
        try:
            return os.stat(os.path.join(repo.path, MARK)).st_mtime
        except FileNotFoundError:
            return 0.0


async def _fsck(git: Git, runtime: Runtime, repo: BareRepository, depth: str) -> str | None:
    command = git.command(
        "fsck", depth, "--no-dangling", "--no-progress", "--no-reflogs",
        git_dir=repo.path, config=_CONFIG,
    )  # fmt: skip
    output = b""
    async with spawn(runtime, command, stdin=DEVNULL) as child:
        with suppress(ProcessLookupError, PermissionError):
            os.setpriority(os.PRIO_PGRP, child.pid, NICENESS)

        async def to_the_end() -> int:
            nonlocal output
            while data := await child.stdout.read():
                output = (output + data)[:MAX_OUTPUT]
            return await child.wait()

        try:
            code = await within(runtime, EXAMINATION_SECONDS, to_the_end())
        except TimeoutError:
            raise TimedOut("examining the repository took too long") from None
        output += child.stderr_tail
    return verdict(code, output.decode("utf-8", "replace"))


def verdict(code: int, output: str) -> str | None:
    """What an fsck that ended with ``code`` has found; None: nothing.

    Raises Unavailable if it ended for a reason that says nothing about the repository.
    """
    if code == 0:
        return None
    found = sign(output)
    if _PASSING.search(output) or not (0 < code <= _FINDINGS or (code == _FATAL and found)):
        raise Unavailable(f"git fsck ended with status {code}: {output.strip()[-MAX_FINDING:]}")
    if found is None and code == _UNSOUND_OBJECT:
        return None
    return (found or f"git fsck ended with status {code}")[:MAX_FINDING]
