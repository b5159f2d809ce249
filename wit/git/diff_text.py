"""The changes of one commit as text: unified diffs (git-diff(1), "Generating patch text").

The contract's form differs from git's own in two lines of each file: the first reads
``diff --wit a/P b/P``, and there is no ``index`` line.
"""

from __future__ import annotations

import re

from wit.errors import Unavailable
from wit.git.command import MEMORY_CONFIG, Git, Option
from wit.git.governor import Governor
from wit.git.process import DEVNULL, spawn, within
from wit.git.repository import BareRepository
from wit.runtime import Runtime

MAX_DIFF = 2 * 1024 * 1024
"""Bytes; what is longer is cut at the end of a line."""

DIFF_SECONDS = 20.0
"""Time limit of making one."""

CONTEXT = 3
"""Lines around a change."""

CUT = f"\\ The diff is cut here: it is longer than {MAX_DIFF // 1024} KiB"
"""The last line of a diff that was cut. Like git's own remarks it begins with a backslash, which
no line of a file does."""

LATE = f"\\ The diff is cut here: it took longer than {DIFF_SECONDS:g} seconds to make"
"""The last line of a diff that was not made in time."""

_CONFIG = (*MEMORY_CONFIG, ("diff.noprefix", "false"), ("diff.mnemonicPrefix", "false"))
_HEADER = re.compile(rb"^diff --git |^index [0-9a-f]+\.\.[0-9a-f]+(?: [0-7]+)?\n", re.MULTILINE)
"""Lines of files begin with a space, ``+``, ``-`` or a backslash, so none looks like these."""


class Diffs:
    """Makes diffs by C git, with limits."""

    def __init__(self, git: Git, runtime: Runtime, governor: Governor) -> None:
        self._git = git
        self._runtime = runtime
        self._governor = governor

    async def text(
        self, repo: BareRepository, old: str | None, new: str, user_key: str | None
    ) -> str:
        """What changed from the commit ``old`` to ``new``; from nothing if ``old`` is None.

        Renames show as a file less and a file more, binary files in one line. A diff that is too
        long ends with CUT, one that takes too long with LATE. Raises Unavailable.
        """
        options: list[Option] = [
            "-p", "-r", "--no-commit-id", "--no-renames", "--no-ext-diff", "--no-textconv",
            ("--unified", CONTEXT),
        ]  # fmt: skip
        if old is None:
            options.append("--root")
        command = self._git.command(
            "diff-tree",
            *options,
            git_dir=repo.path,
            operands=[new] if old is None else [old, new],
            config=_CONFIG,
        )
        parts: list[bytes] = []
        end = ""
        async with (
            self._governor.slot(repo.key, user_key),
            spawn(self._runtime, command, stdin=DEVNULL) as child,
        ):

            async def collect() -> bool:
                """Whether that was all."""
                size = 0
                while data := await child.stdout.read():
                    parts.append(data)
                    size += len(data)
                    if size > MAX_DIFF:
                        return False
                if await child.wait() != 0:
                    raise Unavailable("the changes of this commit cannot be read")
                return True

            try:
                if not await within(self._runtime, DIFF_SECONDS, collect()):
                    end = CUT
            except TimeoutError:
                end = LATE
        return await self._runtime.in_thread(_public, b"".join(parts), end)


def _public(diff: bytes, end: str) -> str:
    if end:
        diff = diff[: diff.rfind(b"\n", 0, MAX_DIFF) + 1]
    diff = _HEADER.sub(lambda found: b"diff --wit " if found[0][:1] == b"d" else b"", diff)
    return (diff.decode("utf-8", "replace") + end).removesuffix("\n")
