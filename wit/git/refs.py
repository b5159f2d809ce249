"""The refs of a repository, from memory while the files did not change.

Every poll of every client asks for them, so the usual answer costs a handful of ``lstat`` calls
and no process. What is on disk stays the only truth: git, other daemons and people with a shell
may change it at any time. gitrepository-layout(5) describes the files.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from wit.git.damage import Suspect, nobody
from wit.git.peel import Peeler
from wit.git.refs_files import Reading, Stamp, read_refs, stamp
from wit.runtime import Runtime

if TYPE_CHECKING:
    from wit.git.repository import BareRepository

MAX_STATS_ON_REACTOR = 64
"""Files and folders to stat, above which even looking for changes is done in a thread."""

log = Logger()


@attrs.frozen
class Ref:
    """One visible ref."""

    name: bytes
    oid: str
    peeled: str | None = None
    """What the annotated tag leads to in the end; None for anything else."""
    symref: bytes | None = None
    """The ref that this one is another name of."""


class AnswerCache:
    """Encoded answers to what clients ask about refs, the least recently used forgotten first.

    ``max_bytes`` bounds them all together, ENTRY_BYTES for each key included.
    """

    ENTRY_BYTES = 1024

    def __init__(self, max_bytes: int = 16 * 1024 * 1024) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._answers: OrderedDict[object, bytes] = OrderedDict()

    def get(self, key: object) -> bytes | None:
        answer = self._answers.get(key)
        if answer is not None:
            self._answers.move_to_end(key)
        return answer

    def put(self, key: object, answer: bytes) -> None:
        """Remember ``answer``, unless it alone would take more than a quarter of the room."""
        if len(answer) > self._max_bytes // 4 or key in self._answers:
            return
        self._answers[key] = answer
        self._bytes += len(answer) + self.ENTRY_BYTES
        while self._bytes > self._max_bytes:
            self._bytes -= len(self._answers.popitem(last=False)[1]) + self.ENTRY_BYTES


@attrs.frozen(eq=False)
class RefSnapshot:
    """All visible refs at one moment."""

    head: bytes | None
    """The branch that HEAD stands for, whether it exists or not; None if HEAD is detached."""
    head_oid: str | None
    """None while that branch is unborn."""
    refs: tuple[Ref, ...]
    """Sorted by name; HEAD is not among them."""
    version: str
    """Two snapshots with the same version have the same content, HEAD included."""
    tips: frozenset[str]
    """Every id that refs point to, and what tags peel to."""
    by_name: Mapping[bytes, Ref]
    answers: AnswerCache = attrs.field(factory=AnswerCache, repr=False)
    """Where encoded answers are remembered; shared by the snapshots of one reader."""


@attrs.frozen(eq=False)
class _Entry:
    snapshot: RefSnapshot
    stamps: tuple[tuple[bytes, Stamp | None], ...]
    settled: bool

    def current(self) -> bool:
        """Whether a change since the reading would have been noticed, and there was none."""
        return self.settled and all(stamp(path) == known for path, known in self.stamps)


class RefReader:
    """Snapshots of repositories, remembered while their files stay as they were.

    ``hidden`` are ref names whose whole namespaces are left out (``refs/wit``). ``max_refs``
    bounds the refs remembered, of all repositories together (about 0.5 KiB each); the repository
    asked for last is remembered in any case. ``suspect`` is told of repositories that look damaged.
    """

    def __init__(
        self,
        runtime: Runtime,
        hidden: tuple[str, ...],
        *,
        max_repositories: int = 1024,
        max_refs: int = 100_000,
        suspect: Suspect = nobody,
    ) -> None:
        self._runtime = runtime
        self._hidden = tuple(name.rstrip("/").encode() for name in hidden)
        self._max_repositories = max_repositories
        self._max_refs = max_refs
        self._suspect = suspect
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._refs_remembered = 0
        self._waiting: dict[str, list[Deferred[RefSnapshot]]] = {}
        self._peeler = Peeler()
        self._answers = AnswerCache()

    async def snapshot(self, repo: BareRepository) -> RefSnapshot:
        """What the refs are now: no change that ended before the call is missing.

        Raises Unavailable if the repository is damaged or gone.
        """
        entry = self._entries.get(repo.path)
        if entry is not None and len(entry.stamps) <= MAX_STATS_ON_REACTOR and entry.current():
            self._entries.move_to_end(repo.path)
            return entry.snapshot
        return await self._read(repo)

    def invalidate(self, repo: BareRepository) -> None:
        """Forget the repository: it was deleted or moved."""
        self._forget(repo.path)

    def _read(self, repo: BareRepository) -> Deferred[RefSnapshot]:
        """Read the files, once for all who wait.

        A reading that is under way may have missed what happened just before this call, so who
        comes meanwhile waits for the next one. Whoever stops waiting stops nobody else.
        """
        waiter: Deferred[RefSnapshot] = Deferred()
        waiting = self._waiting.get(repo.path)
        if waiting is not None:
            waiting.append(waiter)
        else:
            self._start_reading(repo, [waiter])
        return waiter

    def _start_reading(self, repo: BareRepository, waiters: list[Deferred[RefSnapshot]]) -> None:
        self._waiting[repo.path] = []
        entry = self._entries.get(repo.path)
        work = self._runtime.in_thread(self._refresh, entry, repo.path, repo.object_format)
        work.addBoth(self._have_read, repo, waiters)

    def _have_read(
        self,
        result: tuple[_Entry, Reading | None] | Failure,
        repo: BareRepository,
        waiters: list[Deferred[RefSnapshot]],
    ) -> None:
        self._forget(repo.path)
        if isinstance(result, Failure):
            self._suspect(repo.key, "its refs cannot be read")
        else:
            entry, reading = result
            if reading is not None:
                for problem in reading.problems:
                    log.warn("{repo}: {problem}", repo=repo.key, problem=problem)
                if reading.damage is not None:
                    self._suspect(repo.key, reading.damage)
            self._remember(repo.path, entry)
        still_waiting = [waiter for waiter in self._waiting.pop(repo.path) if not waiter.called]
        if still_waiting:
            self._start_reading(repo, still_waiting)
        for waiter in waiters:
            if waiter.called:
                continue
            if isinstance(result, Failure):
                waiter.errback(result)
            else:
                waiter.callback(result[0].snapshot)

    def _refresh(
        self, entry: _Entry | None, path: str, object_format: str
    ) -> tuple[_Entry, Reading | None]:
        """In a thread: the same entry if it is still current, else a new one and its reading."""
        if entry is not None and entry.current():
            return entry, None
        reading = read_refs(path, object_format, self._hidden)
        made = _Entry(self._make_snapshot(reading, path), reading.stamps, reading.settled)
        return made, reading

    def _make_snapshot(self, reading: Reading, path: str) -> RefSnapshot:
        unknown = {ref.oid for ref in reading.refs if not ref.peel_known}
        peeled = self._peeler.peel(path, reading.object_format, unknown) if unknown else {}
        refs = tuple(
            Ref(ref.name, ref.oid, ref.peeled or peeled.get(ref.oid), ref.symref)
            for ref in reading.refs
        )
        tips = {ref.oid for ref in refs}
        tips.update(ref.peeled for ref in refs if ref.peeled is not None)
        if reading.head_oid is not None:
            tips.add(reading.head_oid)
        return RefSnapshot(
            head=reading.head,
            head_oid=reading.head_oid,
            refs=refs,
            version=_version(reading, refs),
            tips=frozenset(tips),
            by_name={ref.name: ref for ref in refs},
            answers=self._answers,
        )

    def _remember(self, path: str, entry: _Entry) -> None:
        self._entries[path] = entry
        self._refs_remembered += len(entry.snapshot.refs)
        while len(self._entries) > 1 and (
            len(self._entries) > self._max_repositories or self._refs_remembered > self._max_refs
        ):
            self._forget(next(iter(self._entries)))

    def _forget(self, path: str) -> None:
        entry = self._entries.pop(path, None)
        if entry is not None:
            self._refs_remembered -= len(entry.snapshot.refs)


def _version(reading: Reading, refs: tuple[Ref, ...]) -> str:
    digest = hashlib.blake2b(digest_size=20)
    head = (reading.object_format, reading.head, reading.head_oid)
    digest.update(repr(head).encode())
    for ref in refs:
        digest.update(b"\n%b %b " % (ref.oid.encode(), ref.name))
        digest.update(b"%b %b" % ((ref.peeled or "").encode(), ref.symref or b""))
    return digest.hexdigest()
