"""Which objects a client may have.

C git's upload-pack checks what a client wants against the advertised refs, but protocol v2 hands
out any object that exists, and v0 lets blobs and trees through unchecked once it looks beyond the
tips. In a repository there are more objects than its visible refs lead to: hidden namespaces,
branches that were deleted, whatever an alternate shares. So wit checks first, exactly:
an object may be had if and only if a walk from the visible refs finds it (attack list, line 15).
"""

from __future__ import annotations

import glob
import os
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextlib import nullcontext

from twisted.logger import Logger

from wit.errors import Unavailable
from wit.git.command import Git
from wit.git.damage import Suspect, nobody, sign
from wit.git.governor import Governor
from wit.git.pktline import ProtocolError
from wit.git.process import feed, run, spawn, within
from wit.git.refs import RefSnapshot
from wit.git.repository import BareRepository
from wit.runtime import Runtime
from wit.streams import BytesSource

WALK_SECONDS = 120.0
"""Time limit of one check. A full walk of a million objects takes about ten seconds."""

REMEMBERED = 50_000
"""Objects, of all repositories, that are remembered as reachable (about 100 bytes each)."""

log = Logger()


class NotOurRef(ProtocolError):
    """The client wants an object that it may not have, or that does not exist: in git's words."""

    def __init__(self, oid: str) -> None:
        super().__init__(f"upload-pack: not our ref {oid}")


class Reachability:
    """Checks wants, and remembers for each state of the refs what was found reachable."""

    def __init__(
        self, git: Git, runtime: Runtime, governor: Governor, suspect: Suspect = nobody
    ) -> None:
        self._git = git
        self._runtime = runtime
        self._governor = governor
        self._suspect = suspect
        self._remembered: OrderedDict[tuple[str, str], set[bytes]] = OrderedDict()
        self._count = 0

    async def check_wants(
        self,
        repo: BareRepository,
        snapshot: RefSnapshot,
        wants: Iterable[str],
        user_key: str | None,
        *,
        holds_slot: bool = False,
    ) -> None:
        """Returns if all of ``wants`` may be had.

        Free for what refs point to, a walk in git for anything else, under a slot of the
        governor's unless the caller holds one. Raises NotOurRef for the first that may not be
        had, Unavailable if no process is free or the walk takes too long.
        """
        known = self._remembered.get((repo.key, snapshot.version), set())
        unknown = [
            want
            for want in dict.fromkeys(wants)
            if want not in snapshot.tips and bytes.fromhex(want) not in known
        ]
        if not unknown:
            return
        slot = nullcontext() if holds_slot else self._governor.slot(repo.key, user_key)
        async with slot:
            try:
                await within(self._runtime, WALK_SECONDS, self._prove(repo, snapshot, unknown))
            except TimeoutError:
                raise Unavailable(
                    "checking the wanted objects took too long; fetch a branch or tag instead",
                    retry_after=60,
                ) from None
        self._remember((repo.key, snapshot.version), unknown)

    async def _prove(
        self, repo: BareRepository, snapshot: RefSnapshot, wants: Sequence[str]
    ) -> None:
        """Each kind of object by the cheapest walk that can prove it, then by the exact one."""
        kinds = await self._kinds(repo, wants)
        commits = {want for want in wants if kinds.get(want) == "commit"}
        others = {want for want in wants if want in kinds} - commits
        for want in wants:
            if want not in kinds:
                raise NotOurRef(want)
        if commits:
            # Exact, unless clocks were very wrong: then a reachable commit may look as if not.
            commits = await self._outside(repo, snapshot, commits, "--stdin")
        if commits:
            commits = await self._not_in_walk(repo, snapshot, commits, "--stdin")
        has_bitmap = bool(others) and await self._runtime.in_thread(_has_bitmap, repo.path)
        if has_bitmap:
            others = await self._outside(
                repo, snapshot, others, "--stdin", "--objects", "--use-bitmap-index"
            )
        if others:
            # Recent trees and blobs come first, so the usual lazy fetch ends the walk early.
            others = await self._not_in_walk(
                repo,
                snapshot,
                others,
                "--stdin",
                "--objects",
                "--no-object-names",
                "--in-commit-order",
            )
        for want in wants:
            if want in commits or want in others:
                raise NotOurRef(want)

    async def _kinds(self, repo: BareRepository, wants: Sequence[str]) -> dict[str, str]:
        """The type of each object that exists."""
        command = self._git.command(
            "cat-file",
            "--buffer",
            ("--batch-check", "%(objectname) %(objecttype)"),
            git_dir=repo.path,
        )
        answer = await run(
            self._runtime,
            command,
            "".join(f"{want}\n" for want in wants).encode(),
            limit=100 * len(wants) + 1000,
            timeout=WALK_SECONDS,
        )
        pairs = (line.split(" ") for line in answer.stdout.decode().splitlines())
        return {oid: kind for oid, kind in pairs if kind != "missing"}

    async def _outside(
        self, repo: BareRepository, snapshot: RefSnapshot, wants: set[str], *flags: str
    ) -> set[str]:
        """Those of ``wants`` that git lists when all that the refs lead to is left out."""
        lines = await self._runtime.in_thread(_lines, ("", wants), ("^", snapshot.tips))
        return await self._listed(repo, wants, flags, lines)

    async def _not_in_walk(
        self, repo: BareRepository, snapshot: RefSnapshot, wants: set[str], *flags: str
    ) -> set[str]:
        """Those of ``wants`` that a walk over everything the refs lead to does not meet."""
        lines = await self._runtime.in_thread(_lines, ("", snapshot.tips))
        return wants - await self._listed(repo, wants, flags, lines)

    async def _listed(
        self, repo: BareRepository, wants: set[str], flags: Iterable[str], revisions: bytes
    ) -> set[str]:
        """Those of ``wants`` that ``git rev-list`` names; it is ended when it has named them all.

        A walk that fails proves nothing either way, so it raises Unavailable.
        """
        command = self._git.command("rev-list", "--ignore-missing", *flags, git_dir=repo.path)
        missing = {want.encode() for want in wants}
        rest = b""
        async with spawn(self._runtime, command) as child:
            feeding = feed(child, BytesSource(revisions))
            try:
                while missing and (data := await child.stdout.read()):
                    lines = (rest + data).split(b"\n")
                    rest = lines.pop()
                    missing.difference_update(lines)
                if missing and (code := await child.wait()) != 0:
                    stderr = child.stderr_tail.decode("utf-8", "replace")
                    log.error(
                        "git rev-list ended with {code} in {repo}: {stderr}",
                        code=code,
                        repo=repo.key,
                        stderr=stderr,
                    )
                    if code > 0 and (found := sign(stderr)):
                        self._suspect(repo.key, found)
                    raise Unavailable(
                        "the wanted objects cannot be checked: the repository is damaged"
                    )
            finally:
                feeding.cancel()
        return wants - {oid.decode() for oid in missing}

    def _remember(self, key: tuple[str, str], oids: Iterable[str]) -> None:
        found = self._remembered.setdefault(key, set())
        self._remembered.move_to_end(key)
        self._count -= len(found)
        found.update(map(bytes.fromhex, oids))
        self._count += len(found)
        while self._count > REMEMBERED:
            _, dropped = self._remembered.popitem(last=False)
            self._count -= len(dropped)


def _has_bitmap(path: str) -> bool:
    pack = os.path.join(glob.escape(path), "objects", "pack")
    return any(glob.iglob(os.path.join(pack, "*.bitmap")))


def _lines(*groups: tuple[str, Iterable[str]]) -> bytes:
    """One line for each id, behind the prefix of its group."""
    return "".join(f"{prefix}{oid}\n" for prefix, oids in groups for oid in oids).encode()
