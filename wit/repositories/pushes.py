"""Pushes as the database knows them: may they, what did they want, what became of them.

Before git is told to go on, the intent of a push is written to the ``pushes`` table; when git has
ended, the intent is replaced by a ``push`` event in one transaction. Which updates came true is
read from the reflogs, so it does not matter who does it: the daemon that served the push, or any
other one that finds an intent whose push has no living process any more. No kill at any point
loses an event or doubles one (attack list, lines 24 and 26).

A reflog dies with its ref, and the events of a ref are journaled in the order of its changes. So of
two pushes that change the same ref, the later one waits until the earlier one's outcome is known.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Protocol

from sqlalchemy import bindparam, delete, insert, select, update

from wit.access.actor import Actor
from wit.access.ref_rules import show
from wit.config import Config
from wit.db.port import Connection, Database, Row
from wit.db.tables import pushes, repositories
from wit.errors import Invalid, NotFound, Unavailable
from wit.events.journal import Journal
from wit.git import push_directory
from wit.git.command import Git
from wit.git.push import Quarantine, RefUpdate, Verdict
from wit.git.reflog import LogView, came_true, read_log
from wit.git.refs import RefReader
from wit.git.repository import BareRepository
from wit.latch import Latch
from wit.repositories.folders import Folders
from wit.repositories.push_events import push_event
from wit.repositories.push_policy import PushPolicy, stale
from wit.repositories.rows import BY_ID
from wit.runtime import Runtime

CONFLICT_SECONDS = 10.0
"""How long a push waits for another one that has to be settled first."""

CONFLICT_POLL_SECONDS = 0.05

LOGS_AT_ONCE = 50
"""Reflogs that are held in memory while the outcome of a push is read."""

MAX_OPTIONS = 100
MAX_OPTION_CHARACTERS = 16 * 1024
"""Of one push, all together."""

_LOCK_REPOSITORY = (
    select(repositories.c.id).where(repositories.c.id == bindparam("repo")).with_for_update()
)
_INTENTS = select(pushes).where(pushes.c.repo_id == bindparam("repo"))
_INTENT = select(pushes).where(pushes.c.id == bindparam("push")).execution_options(quick=True)
_ALL_INTENTS = select(pushes).order_by(pushes.c.created_at)
_INTEND = insert(pushes)
_CHANGE_INTENT = (
    update(pushes).where(pushes.c.id == bindparam("push")).values(updates=bindparam("wanted"))
)
_DELETE_INTENT = delete(pushes).where(pushes.c.id == bindparam("push"))
_PUSHED = (
    update(repositories)
    .where(repositories.c.id == bindparam("repo"))
    .values(pushed_at=bindparam("now"), updated_at=bindparam("now"))
)


class RequestInfo(Protocol):
    """The request that a push came with."""

    @property
    def id(self) -> str: ...


class LivePush:
    """One push that this daemon serves (the policy side of :class:`wit.git.push.Push`)."""

    def __init__(self, pushes: Pushes, actor: Actor, repo_id: str, request_id: str, id: str):
        self._pushes = pushes
        self.id = id
        self.actor = actor
        self.repo_id = repo_id
        self.request_id = request_id
        self.actor_name = actor.username
        self.user_key = actor.user_id or actor.username
        self.max_bytes: int | None = pushes.max_bytes
        self.intended = False

    async def decide(
        self, quarantine: Quarantine, updates: list[RefUpdate], options: list[str]
    ) -> Verdict:
        return await self._pushes.decide(self, quarantine, updates, options)

    async def finished(self) -> None:
        await self._pushes.finished(self)


class Pushes:
    """Begins, decides and settles pushes; :meth:`reconcile` settles what earlier daemons left."""

    def __init__(
        self,
        *,
        db: Database,
        journal: Journal,
        git: Git,
        refs: RefReader,
        folders: Folders,
        runtime: Runtime,
        config: Config,
    ) -> None:
        self._db = db
        self._journal = journal
        self._refs = refs
        self._folders = folders
        self._runtime = runtime
        self.policy = PushPolicy(db, git, refs, runtime, config)
        self._repos_dir = config.repos_dir
        self.max_bytes = config.repositories.max_push_bytes
        self._live: set[str] = set()
        self._idle: Latch | None = None

    # A live push

    async def drain(self, seconds: float) -> bool:
        """Wait until no decided push is under way any more; False if some still are."""
        if not self._live:
            return True
        if self._idle is None:
            self._idle = Latch()
        return await self._idle.wait_at_most(seconds, self._runtime.reactor)

    def begin(self, actor: Actor, repo: Row, request: RequestInfo) -> LivePush:
        """A new push by ``actor``, who was found to have the right to write to ``repo``."""
        return LivePush(self, actor, repo["id"], request.id, self._runtime.new_id())

    async def decide(
        self,
        push: LivePush,
        quarantine: Quarantine,
        updates: Sequence[RefUpdate],
        options: list[str],
    ) -> Verdict:
        """Judge all updates and write down the intent to make those that may be made.

        Raises NotFound if the repository was deleted, Invalid for too many push options,
        Unavailable if another push is in the way for too long.
        """
        if len(options) > MAX_OPTIONS or sum(map(len, options)) > MAX_OPTION_CHARACTERS:
            raise Invalid(
                f"a push may have {MAX_OPTIONS} options with {MAX_OPTION_CHARACTERS} characters"
            )
        repo = await self._db.fetch_one(BY_ID, id=push.repo_id)
        if repo is None:
            raise NotFound("repository not found")
        refused = await self.policy.refusals(repo, push.actor.user_id, quarantine, updates)
        allowed = [update for update in updates if update.ref not in refused]
        if allowed:
            self._live.add(push.id)
            await self._intend(push, allowed, options)
            # A push that was waited for may have changed what this one is about.
            snapshot = await self._refs.snapshot(quarantine.repo)
            late = {u.ref: reason for u in allowed if (reason := stale(u, snapshot)) is not None}
            if late:
                refused |= late
                wanted = _to_json(update for update in allowed if update.ref not in late)
                await self._db.execute(_CHANGE_INTENT, push=push.id, wanted=wanted)
        return Verdict(refused)

    async def finished(self, push: LivePush) -> None:
        """Settle the push. Raises DatabaseError: then the next reconciliation does it."""
        try:
            if push.intended:
                intent = await self._db.fetch_one(_INTENT, push=push.id)
                if intent is not None:
                    await self._settle(intent)
        finally:
            self._live.discard(push.id)
            if not self._live and self._idle is not None:
                idle, self._idle = self._idle, None
                idle.open()

    async def _intend(
        self, push: LivePush, updates: Sequence[RefUpdate], options: list[str]
    ) -> None:
        """Write the intent as soon as no other one is in the way. Raises Unavailable."""
        deadline = self._runtime.reactor.seconds() + CONFLICT_SECONDS
        while (other := await self._try_to_intend(push, updates, options)) is not None:
            if not await self._is_alive(other["id"]):
                await self._settle(other)
            elif self._runtime.reactor.seconds() > deadline:
                ref = show(next(iter(_contended(updates, _from_json(other["updates"])))))
                raise Unavailable(f"{ref} is being changed by another push; try again")
            else:
                await self._runtime.sleep(CONFLICT_POLL_SECONDS)

    async def _try_to_intend(
        self, push: LivePush, updates: Sequence[RefUpdate], options: list[str]
    ) -> Row | None:
        """The intent that is in the way, if there is one; otherwise ours is written."""
        async with self._db.transaction() as tx:
            await tx.fetch_value(_LOCK_REPOSITORY, repo=push.repo_id)
            for other in await tx.fetch_all(_INTENTS, repo=push.repo_id):
                if _contended(updates, _from_json(other["updates"])):
                    return other
            push.intended = True
            await tx.execute(
                _INTEND,
                id=push.id,
                repo_id=push.repo_id,
                actor_id=push.actor.user_id,
                actor_name=push.actor.username,
                origin=push.actor.origin.value,
                request_id=push.request_id,
                updates=_to_json(updates),
                push_options=options,
                created_at=self._runtime.now(),
            )
        return None

    # Settling

    async def reconcile(self) -> int:
        """Settle every push that has no living process, and remove what it left on disk.

        Safe beside other daemons. Returns the number of intents that were settled.
        """
        settled = 0
        for intent in await self._db.fetch_all(_ALL_INTENTS):
            if not await self._is_alive(intent["id"]):
                await self._settle(intent)
                settled += 1
        for found in await self._runtime.in_thread(push_directory.find, self._repos_dir):
            if not found.alive:
                await self._clean_up(found)
        return settled

    async def _is_alive(self, push_id: str) -> bool:
        return await self._runtime.in_thread(push_directory.is_alive, self._repos_dir, push_id)

    async def _clean_up(self, found: push_directory.FoundPush) -> None:
        repo = await self._db.fetch_one(BY_ID, id=found.repo_key)
        in_thread = self._runtime.in_thread
        if repo is None or await in_thread(
            push_directory.clean_up_after, self._repos_dir, found.id, self._bare(repo)
        ):
            await in_thread(push_directory.remove_dead, self._repos_dir, found.id)

    async def _settle(self, intent: Row) -> None:
        """Replace the intent by its event. Of several who try, one does it."""
        repo = await self._db.fetch_one(BY_ID, id=intent["repo_id"])
        if repo is None:
            return  # and the intent went with it
        made = await self._made(self._bare(repo), intent)
        async with self._db.transaction() as tx:
            if await tx.execute(_DELETE_INTENT, push=intent["id"]) and made:
                await self._journal_push(tx, repo, intent, made)
        if made:
            await self._journal.announce()

    async def _journal_push(
        self, tx: Connection, repo: Row, intent: Row, made: Sequence[RefUpdate]
    ) -> None:
        await self._journal.append(tx, push_event(repo, intent, made))
        await tx.execute(_PUSHED, repo=repo["id"], now=self._runtime.now())

    async def _made(self, repo: BareRepository, intent: Row) -> list[RefUpdate]:
        """Which updates of a push that has ended came true."""
        updates = _from_json(intent["updates"])
        made: list[RefUpdate] = []
        for start in range(0, len(updates), LOGS_AT_ONCE):
            made += await self._made_of(repo, intent, updates[start : start + LOGS_AT_ONCE])
        return made

    async def _made_of(
        self, repo: BareRepository, intent: Row, updates: Sequence[RefUpdate]
    ) -> list[RefUpdate]:
        since = intent["created_at"].timestamp()
        before = await self._runtime.in_thread(_read_logs, repo, intent["id"], updates)
        while True:
            snapshot = await self._refs.snapshot(repo)
            logs = await self._runtime.in_thread(_read_logs, repo, intent["id"], updates)
            if logs == before:
                break
            before = logs  # somebody is pushing: a log and its ref must belong together
        made = []
        for wanted, log in zip(updates, logs, strict=True):
            ref = snapshot.by_name.get(wanted.ref)
            value = None if ref is None else ref.oid
            if came_true(wanted, intent["id"], since, log, value):
                made.append(wanted)
        return made

    def _bare(self, repo: Row) -> BareRepository:
        path = self._folders.path(repo["disk_path"])
        return BareRepository(repo["id"], str(path), repo["object_format"])


def _read_logs(repo: BareRepository, push_id: str, updates: Iterable[RefUpdate]) -> list[LogView]:
    return [read_log(repo.path, update.ref, push_id) for update in updates]


def _contended(ours: Iterable[RefUpdate], theirs: Iterable[RefUpdate]) -> set[bytes]:
    """The refs that both change."""
    return {update.ref for update in ours} & {update.ref for update in theirs}


def _to_json(updates: Iterable[RefUpdate]) -> list[list[str]]:
    return [[os.fsdecode(update.ref), update.old, update.new] for update in updates]


def _from_json(updates: Iterable[Sequence[str]]) -> list[RefUpdate]:
    return [RefUpdate(os.fsencode(ref), old, new) for ref, old, new in updates]
