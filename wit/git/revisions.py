"""From what a client calls a revision to a commit that it may see.

Names are looked up in the snapshot of the visible refs and nowhere else, so a hidden ref is as
unknown as a missing one, and no text of a client's is ever read as one of git's revision
expressions (attack list, line 3). An object id counts if a walk from the visible refs finds it: in
a repository there are more objects than these (deleted branches, hidden namespaces, whatever a
fork shares).
"""

from __future__ import annotations

import re

from wit.errors import NotFound
from wit.git.object_reader import Objects
from wit.git.objects import Commit, parse_commit, parse_tag
from wit.git.reachability import NotOurRef, Reachability
from wit.git.refs import RefReader, RefSnapshot
from wit.git.repository import BareRepository

HEAD = "HEAD"

FALLBACKS = ("main", "master", "develop")
"""Branches that stand for HEAD where neither it nor the default branch exists."""

MAX_COMMIT = 1024 * 1024
"""Bytes in a commit or tag that is shown."""

_MAX_NESTING = 16
"""Tags of tags that are followed."""

_OID = {"sha1": re.compile("[0-9a-f]{40}"), "sha256": re.compile("[0-9a-f]{64}")}


class Revisions:
    """Finds commits by the names that clients use."""

    def __init__(self, refs: RefReader, reachability: Reachability) -> None:
        self._refs = refs
        self._reachability = reachability

    async def find(
        self, repo: BareRepository, name: str, default_branch: str, user_key: str | None
    ) -> str | None:
        """The id that ``name`` leads to, a commit's as a rule; None if there is none.

        ``name`` is ``HEAD``, a full object id, a branch, a tag or a full ref name, tried in this
        order. May take a slot of the governor.
        """
        snapshot = await self._refs.snapshot(repo)
        if name == HEAD:
            return head(snapshot, default_branch)
        if await self.is_visible(repo, name, user_key):
            return name
        return _by_name(snapshot, name)

    async def is_visible(self, repo: BareRepository, oid: str, user_key: str | None) -> bool:
        """Whether ``oid`` is the full id of an object that visible refs lead to."""
        if not _OID[repo.object_format].fullmatch(oid):
            return False
        snapshot = await self._refs.snapshot(repo)
        try:
            await self._reachability.check_wants(repo, snapshot, [oid], user_key)
        except NotOurRef:
            return False
        return True


def head(snapshot: RefSnapshot, default_branch: str) -> str | None:
    """What HEAD means: the branch it names, else the default branch, else a usual one."""
    if snapshot.head_oid is not None:
        return snapshot.head_oid
    for name in (default_branch, *FALLBACKS):
        found = snapshot.by_name.get(b"refs/heads/" + name.encode())
        if found is not None:
            return found.oid
    return None


def unknown(name: str) -> NotFound:
    """The error for a name that :meth:`Revisions.find` did not find."""
    if name == HEAD:
        return NotFound("this repository has no commits yet")
    return NotFound(f"there is no branch, tag or commit {name[:80]!r}")


async def read_commit(objects: Objects, oid: str) -> Commit | None:
    """The commit ``oid``, or the one that the tag ``oid`` leads to; None for anything else.

    Raises TooLarge above MAX_COMMIT bytes.
    """
    for _ in range(_MAX_NESTING):
        header = await objects.header(oid)
        if header is None or header.kind not in ("commit", "tag"):
            return None
        found = await objects.read(oid, MAX_COMMIT)
        if found is None:
            return None
        if found.kind == "commit":
            return parse_commit(oid, found.data)
        oid = parse_tag(oid, found.data).target
    return None


def _by_name(snapshot: RefSnapshot, name: str) -> str | None:
    try:
        text = name.encode()
    except UnicodeEncodeError:  # half a surrogate pair; no ref has one
        return None
    for full in (b"refs/heads/" + text, b"refs/tags/" + text, text):
        found = snapshot.by_name.get(full)
        if found is not None:
            return found.peeled or found.oid
    return None
