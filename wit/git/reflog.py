"""What the reflog says about one push: which of its updates came true.

git writes the entry of an update before it renames the ref into place (files backend), so an
entry alone proves nothing: the ref itself, or the next entry, whose writer had verified the ref,
has to confirm it. Deleting a ref deletes its log first.
"""

from __future__ import annotations

import os
import re

import attrs

from wit.git.push import RefUpdate, reflog_identity
from wit.git.refname import is_refname, is_zero

TAIL = 64 * 1024
"""Bytes at the end of a log that are read first; about 300 entries."""

MAX_TAIL = 4 * 1024 * 1024
"""Bytes that are read if the push is not found there."""

_ENTRY = re.compile(
    rb"([0-9a-f]{40,64}) ([0-9a-f]{40,64}) [^\n]*?<([^>\n]*)> ([0-9]+) [+-][0-9]{4}(?:\t|$)"
)


@attrs.frozen
class Entry:
    """One line of a reflog."""

    old: str
    new: str
    email: bytes
    time: int
    """Seconds since 1970."""


@attrs.frozen
class LogView:
    """The parts of a log that matter for one push."""

    first: bytes = b""
    """The first line."""
    tail: bytes = b""


def read_log(repo_path: str, ref: bytes, push_id: str) -> LogView:
    """Blocks. An empty view if the ref has no log."""
    if not is_refname(ref):
        return LogView()
    try:
        with open(os.path.join(os.fsencode(repo_path), b"logs", ref), "rb") as file:
            first = file.readline(TAIL)
            size = file.seek(0, os.SEEK_END)
            tail = b""
            for wanted in (TAIL, MAX_TAIL):
                file.seek(max(0, size - wanted))
                tail = file.read(wanted)
                if size <= wanted or reflog_identity(push_id).encode() in tail:
                    break
            return LogView(first, tail)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return LogView()


def parse_reflog(text: bytes) -> list[Entry]:
    """The entries, oldest first; lines that are cut off or damaged are left out."""
    found = (_ENTRY.match(line) for line in text.split(b"\n"))
    return [
        Entry(match[1].decode(), match[2].decode(), match[3], int(match[4]))
        for match in found
        if match is not None
    ]


def came_true(
    update: RefUpdate, push_id: str, since: float, log: LogView, value: str | None
) -> bool:
    """Whether ``update`` of the push was made, once no process of the push lives any more.

    ``since`` is when the push was decided (seconds since 1970). ``log`` and ``value`` (None: no
    such ref) belong together: the log was the same before and after the ref was read.
    """
    if is_zero(update.new):
        # Gone; or made anew by somebody later, with a log that begins with the making.
        first = parse_reflog(log.first)
        return value is None or (bool(first) and is_zero(first[0].old) and first[0].time > since)
    entries = parse_reflog(log.tail)
    wanted = (reflog_identity(push_id).encode(), update.old, update.new)
    for at, entry in enumerate(entries):
        if (entry.email, entry.old, entry.new) == wanted:
            confirmed_by = entries[at + 1].old if at + 1 < len(entries) else value
            return confirmed_by == update.new
    return False
