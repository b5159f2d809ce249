"""Finding one's way in the tree of a commit: a path, a directory, all files.

Paths come as text. Names that are not UTF-8 are shown with U+FFFD in the place of what is not, and
can be asked for as they are shown.
"""

from __future__ import annotations

import stat
from collections import OrderedDict
from collections.abc import Sequence

import attrs

from wit.errors import Invalid, TimedOut, TooLarge, Unavailable
from wit.git.command import MEMORY_CONFIG, Git, Option
from wit.git.governor import Governor
from wit.git.object_reader import Objects
from wit.git.objects import Entry, parse_tree, shown
from wit.git.process import run
from wit.git.repository import BareRepository
from wit.runtime import Runtime

MAX_TREE = 16 * 1024 * 1024
"""Bytes in one directory: about 300 000 entries."""

MAX_DEPTH = 256
"""Directories that a path may go through."""

MAX_LIST = 48 * 1024 * 1024
"""Bytes in the list of all files of a commit."""

LIST_SECONDS = 30.0
"""Time limit of making that list."""

REMEMBERED_LISTS = 64 * 1024 * 1024
"""Bytes of such lists that are remembered."""

_PARSED_ON_REACTOR = 16 * 1024
"""Bytes of a tree above which it is parsed in a thread."""

_SEARCHED_ON_REACTOR = 2_000
"""Entries of a directory above which a name is looked for in a thread."""

_REPLACED = "\ufffd"


@attrs.frozen
class Sized:
    """An entry and, for what has one, the size of its content in bytes."""

    entry: Entry
    size: int | None


@attrs.frozen
class File:
    """A line of the list of all files: no directories."""

    mode: int
    path: bytes
    size: int | None


class Trees:
    """Reads directories through :class:`Objects`, and lists of all files through git."""

    def __init__(self, git: Git, runtime: Runtime, governor: Governor) -> None:
        self._git = git
        self._runtime = runtime
        self._governor = governor
        self._lists: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._bytes = 0

    async def find(self, objects: Objects, tree: str, path: str) -> Entry | None:
        """What is at ``path`` below the tree ``tree``, with the whole path for a name; "" is that
        tree itself.

        Raises Invalid for a path that goes too deep, and what reading raises.
        """
        found = Entry(stat.S_IFDIR, b"", tree)
        parts = path.strip("/").split("/") if path.strip("/") else []
        if len(parts) > MAX_DEPTH:
            raise Invalid(f"a path has at most {MAX_DEPTH} parts")
        for part in parts:
            if not found.is_directory:
                return None
            entries = await self.entries(objects, found.oid)
            if len(entries) <= _SEARCHED_ON_REACTOR:
                entry = _named(entries, part)
            else:
                entry = await self._runtime.in_thread(_named, entries, part)
            if entry is None:
                return None
            found = Entry(entry.mode, _joined(found.name, entry.name), entry.oid)
        return found

    async def entries(self, objects: Objects, tree: str) -> list[Entry]:
        """What is in one directory, in the order of git. Raises TooLarge above MAX_TREE."""
        data = await objects.expect(tree, "tree", MAX_TREE)
        object_format = objects.repo.object_format
        if len(data) <= _PARSED_ON_REACTOR:
            return parse_tree(data, object_format)
        return await self._runtime.in_thread(parse_tree, data, object_format)

    async def sized(self, objects: Objects, entries: Sequence[Entry]) -> list[Sized]:
        """``entries`` with the sizes of those that are files or links."""
        blobs = [entry for entry in entries if not entry.is_directory and not entry.is_submodule]
        headers = await objects.headers([entry.oid for entry in blobs])
        sizes = {
            entry.oid: header.size
            for entry, header in zip(blobs, headers, strict=True)
            if header is not None
        }
        return [Sized(entry, sizes.get(entry.oid)) for entry in entries]

    async def paths(self, repo: BareRepository, commit: str, user_key: str | None) -> bytes:
        """The paths of all files of a commit, each followed by a NUL, in the order of git.

        Remembered for the next request: who looks for a file asks at every key. Raises TooLarge,
        TimedOut, Unavailable.
        """
        key = (repo.key, commit)
        known = self._lists.get(key)
        if known is not None:
            self._lists.move_to_end(key)
            return known
        listed = await self._list(repo, commit, user_key, "--name-only")
        if key not in self._lists:
            self._lists[key] = listed
            self._bytes += len(listed)
        while self._bytes > REMEMBERED_LISTS:
            self._bytes -= len(self._lists.popitem(last=False)[1])
        return listed

    async def files(self, repo: BareRepository, commit: str, user_key: str | None) -> list[File]:
        """All files of a commit with their sizes. Raises what :meth:`paths` does."""
        listed = await self._list(repo, commit, user_key, "-l")
        return await self._runtime.in_thread(_parse_list, listed)

    async def _list(
        self, repo: BareRepository, commit: str, user_key: str | None, what: Option
    ) -> bytes:
        command = self._git.command(
            "ls-tree", "-r", "-z", "--full-tree", what,
            git_dir=repo.path, operands=[commit], config=MEMORY_CONFIG,
        )  # fmt: skip
        async with self._governor.slot(repo.key, user_key):
            try:
                done = await run(self._runtime, command, limit=MAX_LIST, timeout=LIST_SECONDS)
            except TooLarge:
                raise TooLarge("this repository has too many files to be listed") from None
            except TimedOut:
                raise TimedOut("listing the files of this repository took too long") from None
        if done.code != 0:
            raise Unavailable("the files of this repository cannot be listed")
        return done.stdout


def _named(entries: Sequence[Entry], part: str) -> Entry | None:
    name = part.encode("utf-8", "replace")
    exact = next((entry for entry in entries if entry.name == name), None)
    if exact is None and _REPLACED in part:
        return next((entry for entry in entries if shown(entry.name) == part), None)
    return exact


def _joined(folder: bytes, name: bytes) -> bytes:
    return folder + b"/" + name if folder else name


def _parse_list(listed: bytes) -> list[File]:
    """Lines of ``git ls-tree -l -z``: mode, kind, id and size, a tab, the path."""
    files = []
    for line in listed.split(b"\0"):
        facts, tab, path = line.partition(b"\t")
        words = facts.split()
        if tab and len(words) == 4:
            size = int(words[3]) if words[3].isdigit() else None
            files.append(File(int(words[0], 8), path, size))
    return files
