"""The rows of sandboxes. Every change of state is one conditional UPDATE, so that of two who race
(a user, the reaper, another daemon) exactly one wins and the other is told.

    warm ──claim──> creating ──> running <──> paused
                        └───────────┴───────────┴──> ended | lost

``ended`` was somebody's wish or the end of a lease; ``lost`` was not, and its reason is kept. A row
that is over and still has its ``ref`` has something left in the engine that is to be removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import attrs
from sqlalchemy import bindparam, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from wit.db.port import Connection, Database, Row
from wit.db.tables import sandbox_tokens, sandboxes, system_settings
from wit.errors import Conflict, Unavailable
from wit.runtime import Runtime
from wit.sandboxes.provider import Limits, Network

_LOCK_KEY = "wit.sandboxes"


class Stage(StrEnum):
    """Where a sandbox is in its life."""

    WARM = "warm"
    """Made ahead, nobody's yet."""
    CREATING = "creating"
    RUNNING = "running"
    PAUSED = "paused"
    LOST = "lost"
    ENDED = "ended"


ALIVE = (Stage.CREATING, Stage.RUNNING, Stage.PAUSED)
"""Somebody's, and not over."""
HELD = (Stage.WARM, *ALIVE)
"""Something of it is, or may be, in an engine."""
OVER = (Stage.LOST, Stage.ENDED)


@attrs.frozen
class Sandbox:
    """A sandbox as users see it. Times are aware, UTC."""

    id: str
    repo_id: str | None
    user_id: str
    provider: str
    state: str
    reason: str | None
    """Why it is over, a sentence."""
    branch: str | None
    commit: str | None
    network: Network
    limits: Limits
    image: str | None
    created_at: datetime
    used_at: datetime
    expires_at: datetime
    """End of its lease, which whatever runs in it moves on."""
    ended_at: datetime | None
    idle_seconds: int
    life_seconds: int
    """Length of its lease, also after it was resumed."""


class SandboxOver(Conflict):
    """The sandbox is lost or has ended, and the sentence says why."""


@attrs.frozen
class Room:
    """How many sandboxes there may be."""

    per_user: int
    total: int


_ADD = insert(sandboxes)
_BY_ID = select(sandboxes).where(sandboxes.c.id == bindparam("id")).execution_options(quick=True)
_CHANGE = update(sandboxes).where(
    sandboxes.c.id == bindparam("which"),
    sandboxes.c.state.in_(bindparam("was", expanding=True)),
)
_REST = update(sandboxes).where(
    sandboxes.c.id == bindparam("which"),
    sandboxes.c.state == Stage.RUNNING.value,
    or_(
        sandboxes.c.expires_at <= bindparam("expired"),
        sandboxes.c.used_at <= bindparam("unused"),
    ),
)
_FORGET = update(sandboxes).where(
    sandboxes.c.id == bindparam("which"), sandboxes.c.state == Stage.PAUSED.value,
    sandboxes.c.used_at <= bindparam("unused"),
)  # fmt: skip
_PROLONG = (
    update(sandbox_tokens)
    .where(sandbox_tokens.c.sandbox_id == bindparam("which"))
    .values(expires_at=bindparam("until"))
)
_REVOKE = delete(sandbox_tokens).where(sandbox_tokens.c.sandbox_id == bindparam("which"))
_OF_USER = (
    select(func.count())
    .select_from(sandboxes)
    .where(
        sandboxes.c.user_id == bindparam("user"),
        sandboxes.c.state.in_(bindparam("states", expanding=True)),
    )
)
_IN_STATES = (
    select(func.count())
    .select_from(sandboxes)
    .where(sandboxes.c.state.in_(bindparam("states", expanding=True)))
)
_HERE = (
    select(sandboxes)
    .where(
        sandboxes.c.state.in_(bindparam("states", expanding=True)),
        or_(sandboxes.c.host.is_(None), sandboxes.c.host == bindparam("here")),
    )
    .order_by(sandboxes.c.created_at, sandboxes.c.id)
)
_LEFT = (
    select(sandboxes)
    .where(
        sandboxes.c.state.in_([stage.value for stage in OVER]),
        sandboxes.c.ref.is_not(None),
        or_(sandboxes.c.host.is_(None), sandboxes.c.host == bindparam("here")),
    )
    .order_by(sandboxes.c.ended_at)
    .limit(bindparam("limit"))
)
_LATEST = (
    select(sandboxes)
    .where(sandboxes.c.user_id == bindparam("user"), sandboxes.c.repo_id == bindparam("repo"))
    .order_by(sandboxes.c.created_at.desc(), sandboxes.c.id)
    .limit(1)
)
_NEWEST_FIRST = (sandboxes.c.created_at.desc(), sandboxes.c.id)
_NOT_WARM = sandboxes.c.user_id.is_not(None)
_PAGES = {
    (by_user, by_repo): select(sandboxes)
    .where(
        _NOT_WARM,
        sandboxes.c.state.in_(bindparam("states", expanding=True)),
        *([sandboxes.c.user_id == bindparam("user")] if by_user else []),
        *([sandboxes.c.repo_id == bindparam("repo")] if by_repo else []),
    )
    .order_by(*_NEWEST_FIRST)
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
    for by_user in (False, True)
    for by_repo in (False, True)
}
_COUNTS = select(sandboxes.c.state, func.count().label("count")).group_by(sandboxes.c.state)
_KNOWN = select(sandboxes.c.id).where(
    sandboxes.c.id.in_(bindparam("ids", expanding=True)),
    sandboxes.c.state.in_([stage.value for stage in HELD]),
)
_PURGE = delete(sandboxes).where(
    sandboxes.c.state.in_([stage.value for stage in OVER]),
    sandboxes.c.ref.is_(None),
    sandboxes.c.ended_at < bindparam("before"),
)
_new_lock = upsert(system_settings)
_LOCK = _new_lock.on_conflict_do_update(
    index_elements=[system_settings.c.key], set_={"updated_at": _new_lock.excluded.updated_at}
)


class Records:
    """Finds and changes rows. ``here`` is the place whose sandboxes are this daemon's to look
    after, ``daemon`` names this process; both are known when the service has started."""

    def __init__(self, db: Database, runtime: Runtime) -> None:
        self.db = db
        self._runtime = runtime
        self.here = ""
        self.daemon = ""

    # Finding

    async def find(self, sandbox_id: str) -> Row | None:
        return await self.db.fetch_one(_BY_ID, id=sandbox_id)

    async def latest(self, user_id: str, repo_id: str) -> Row | None:
        """The newest that the user has made of the repository, over or not."""
        return await self.db.fetch_one(_LATEST, user=user_id, repo=repo_id)

    async def page(
        self,
        *,
        user_id: str | None,
        repo_id: str | None,
        active_only: bool,
        limit: int,
        offset: int,
    ) -> list[Row]:
        """Newest first."""
        states = ALIVE if active_only else (*ALIVE, *OVER)
        values: dict[str, Any] = {}
        if user_id is not None:
            values["user"] = user_id
        if repo_id is not None:
            values["repo"] = repo_id
        statement = _PAGES[user_id is not None, repo_id is not None]
        return await self.db.fetch_all(
            statement, states=list(states), limit=limit, offset=offset, **values
        )

    async def of_here(self, *states: Stage) -> list[Row]:
        """Those in these states that this daemon can look after, oldest first."""
        return await self.db.fetch_all(_HERE, states=list(states), here=self.here)

    async def left_behind(self, limit: int) -> list[Row]:
        """Those that are over and still have something in an engine."""
        return await self.db.fetch_all(_LEFT, here=self.here, limit=limit)

    async def held(self, ids: Sequence[str]) -> set[str]:
        """Those of ``ids`` that are not over, wherever they are."""
        found = await self.db.fetch_all(_KNOWN, ids=list(ids)) if ids else []
        return {row["id"] for row in found}

    async def counts(self) -> dict[str, int]:
        """How many there are in each state."""
        return {row["state"]: row["count"] for row in await self.db.fetch_all(_COUNTS)}

    # Changing

    async def add(self, row: dict[str, Any], room: Room) -> None:
        """A new one, if there is room. Raises Conflict, Unavailable."""
        async with self.db.transaction() as tx:
            await self._check_room(tx, row["user_id"], room)
            await tx.execute(_ADD, **row)

    async def claim(
        self, candidates: Sequence[str], room: Room, values: dict[str, Any]
    ) -> str | None:
        """Make one of the warm ``candidates`` somebody's: its id; None if all are taken.

        ``values`` are the columns to be set. Raises Conflict, Unavailable.
        """
        async with self.db.transaction() as tx:
            await self._check_room(tx, values["user_id"], room, claimed=True)
            for which in candidates:
                if await tx.execute(
                    _CHANGE, which=which, was=[Stage.WARM], state=Stage.CREATING, **values
                ):
                    return which
        return None

    async def change(self, sandbox_id: str, *was: Stage, **values: Any) -> bool:
        """Set columns if it is in one of the states ``was``; whether it was."""
        return bool(await self.db.execute(_CHANGE, which=sandbox_id, was=list(was), **values))

    async def lease(self, row: Row, until: datetime, *was: Stage, **values: Any) -> bool:
        """As :meth:`change`, with the end of the lease, which is its token's end, too."""
        async with self.db.transaction() as tx:
            changed = await tx.execute(
                _CHANGE, which=row["id"], was=list(was), expires_at=until, **values
            )
            if changed:
                await tx.execute(_PROLONG, which=row["id"], until=until)
        return bool(changed)

    async def rest(self, row: Row, now: datetime, **values: Any) -> bool:
        """Set columns of a running one whose lease is over, or that nobody has used; false if
        somebody uses it after all."""
        unused = now - timedelta(seconds=row["idle_seconds"])
        return bool(
            await self.db.execute(_REST, which=row["id"], expired=now, unused=unused, **values)
        )

    async def forget(self, row: Row, unused: datetime, **values: Any) -> bool:
        """Set columns of a paused one that nobody has used since ``unused``."""
        return bool(await self.db.execute(_FORGET, which=row["id"], unused=unused, **values))

    async def over(self, sandbox_id: str, stage: Stage, reason: str, *was: Stage) -> bool:
        """It has ended or is lost; its token is no longer good. Whether it was in ``was``."""
        async with self.db.transaction() as tx:
            changed = await tx.execute(
                _CHANGE,
                which=sandbox_id,
                was=list(was or HELD),
                state=stage,
                reason=reason,
                ended_at=self._runtime.now(),
            )
            await tx.execute(_REVOKE, which=sandbox_id)
        return bool(changed)

    async def removed(self, sandbox_id: str) -> None:
        """Nothing of it is left in the engine."""
        await self.change(sandbox_id, *OVER, ref=None, sealed_key=None)

    async def purge(self, before: datetime) -> None:
        """Forget what was over before then, with its commands."""
        await self.db.execute(_PURGE, before=before)

    async def _check_room(
        self, tx: Connection, user_id: str | None, room: Room, claimed: bool = False
    ) -> None:
        """Whoever makes one more holds this lock until its row is there."""
        await tx.execute(_LOCK, key=_LOCK_KEY, value=True, updated_at=self._runtime.now())
        if user_id is not None:
            mine = await tx.fetch_value(_OF_USER, user=user_id, states=list(ALIVE))
            if mine >= room.per_user:
                raise Conflict(
                    f"you have {mine} sandboxes, and {room.per_user} is the limit: destroy one "
                    "that you no longer need"
                )
        total = await tx.fetch_value(_IN_STATES, states=list(HELD)) - claimed
        if total >= room.total:
            raise Unavailable(
                f"all {room.total} sandboxes of this server are in use; try again later",
                retry_after=60,
            )


def shown(row: Row) -> Sandbox:
    """The row as users see it."""
    return Sandbox(
        id=row["id"],
        repo_id=row["repo_id"],
        user_id=row["user_id"],
        provider=row["provider"],
        state=str(row["state"]),
        reason=row["reason"],
        branch=row["branch"],
        commit=row["commit_oid"],
        network=Network(row["network"]),
        limits=limits_of(row),
        image=row["image"],
        created_at=row["created_at"],
        used_at=row["used_at"],
        expires_at=row["expires_at"],
        ended_at=row["ended_at"],
        idle_seconds=row["idle_seconds"],
        life_seconds=row["life_seconds"],
    )


def limits_of(row: Row) -> Limits:
    return Limits(row["memory_bytes"], row["cpus"], row["processes"], row["disk_bytes"])


def over(row: Row) -> SandboxOver:
    """What whoever wants to use a sandbox that is lost or has ended is told."""
    if row["state"] == Stage.ENDED:
        return SandboxOver(f"this sandbox has ended: {row['reason'] or 'it was destroyed'}")
    return SandboxOver(
        f"this sandbox was lost with its files: {row['reason'] or 'no reason is known'}. "
        "Make a new one"
    )
