"""The jobs table as a queue that several daemons share: each step is one conditional statement.

A job is claimed by writing a token of one's own and a time until which the claim holds (the
lease). Every later step asks for the token, so that a daemon which was taken for dead and comes
back changes nothing. Leases compare the wall clocks of the daemons, which therefore must agree to
within a fraction of the lease.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs
from sqlalchemy import and_, bindparam, case, delete, exists, or_, select, text, update
from sqlalchemy.dialects.postgresql import insert

from wit.db.port import Connection, Row, UniqueViolation
from wit.db.tables import jobs

MAX_ERROR = 2000
"""Characters of an error that are kept."""


@attrs.frozen
class Job:
    """A claimed job. ``token`` proves the claim; ``attempt`` counts from 1."""

    id: str
    kind: str
    payload: Any
    attempt: int
    max_attempts: int
    token: str


_NEW = insert(jobs)
_ENQUEUE = _NEW.on_conflict_do_update(
    index_elements=[jobs.c.kind, jobs.c.key],
    index_where=text("state = 'queued' AND key IS NOT NULL"),
    # Writing to the row that is there makes a claim of it wait for this transaction, so that
    # whoever runs the job sees what the transaction wrote.
    set_={
        "payload": _NEW.excluded.payload,
        "run_at": case(
            (jobs.c.run_at <= _NEW.excluded.run_at, jobs.c.run_at), else_=_NEW.excluded.run_at
        ),
    },
).returning(jobs.c.id)


def _due(table: Any) -> Any:
    queued = and_(table.c.state == "queued", table.c.run_at <= bindparam("now"))
    lost = and_(
        table.c.state == "running",
        table.c.locked_until < bindparam("now"),
        table.c.attempts < table.c.max_attempts,
    )
    return or_(queued, lost)


_candidate = jobs.alias("candidate")
_same_key = jobs.alias("same_key")
_CLAIM = (
    update(jobs)
    .where(
        jobs.c.id
        == select(_candidate.c.id)
        .where(
            _candidate.c.kind.in_(bindparam("kinds", expanding=True)),
            _due(_candidate),
            ~exists().where(
                _same_key.c.kind == _candidate.c.kind,
                _same_key.c.key == _candidate.c.key,
                _same_key.c.state == "running",
                _same_key.c.id != _candidate.c.id,
            ),
        )
        .order_by(_candidate.c.run_at, _candidate.c.created_at)
        .limit(1)
        .with_for_update(of=_candidate, skip_locked=True)
        .scalar_subquery(),
        # Once more, for PostgreSQL: the row may have changed while we waited for it.
        _due(jobs),
    )
    .values(
        state="running",
        locked_by=bindparam("token"),
        locked_until=bindparam("until"),
        attempts=jobs.c.attempts + 1,
    )
    .returning(jobs.c.id, jobs.c.kind, jobs.c.payload, jobs.c.attempts, jobs.c.max_attempts)
)

_mine = update(jobs).where(
    jobs.c.id == bindparam("id"),
    jobs.c.locked_by == bindparam("token"),
    jobs.c.state == "running",
)
_RENEW = _mine.values(locked_until=bindparam("until"))
_END = _mine.values(
    state=bindparam("state"),
    last_error=bindparam("error"),
    finished_at=bindparam("now"),
    locked_by=None,
    locked_until=None,
)
_RETRY = _mine.values(
    state="queued",
    run_at=bindparam("run_at"),
    last_error=bindparam("error"),
    locked_by=None,
    locked_until=None,
)
_GIVE_BACK = _mine.values(
    state="queued",
    attempts=jobs.c.attempts - 1,
    locked_by=None,
    locked_until=None,
)
_FAIL_LOST = (
    update(jobs)
    .where(
        jobs.c.state == "running",
        jobs.c.locked_until < bindparam("now"),
        jobs.c.attempts >= jobs.c.max_attempts,
    )
    .values(
        state="failed",
        last_error="the daemon died while it ran this job",
        finished_at=bindparam("now"),
        locked_by=None,
        locked_until=None,
    )
)
_CANCEL = (
    update(jobs)
    .where(jobs.c.id == bindparam("id"), jobs.c.state.in_(["queued", "running"]))
    .values(
        state="failed",
        last_error="cancelled",
        finished_at=bindparam("now"),
        locked_by=None,
        locked_until=None,
    )
)
_PRUNE = delete(jobs).where(
    jobs.c.state == bindparam("state"), jobs.c.finished_at < bindparam("before")
)
_SHOWN = (
    select(*(column for column in jobs.c if column is not jobs.c.payload))
    .order_by(jobs.c.created_at.desc(), jobs.c.id)
    .limit(bindparam("limit"))
    .offset(bindparam("offset"))
)
_SHOWN_IN_STATE = _SHOWN.where(jobs.c.state == bindparam("state"))


async def enqueue(
    db: Connection,
    *,
    id: str,
    kind: str,
    key: str | None,
    payload: Any,
    run_at: datetime,
    now: datetime,
    max_attempts: int,
) -> str:
    """Returns the id of the queued job, which is another's if (kind, key) was queued already."""
    queued = await db.fetch_value(
        _ENQUEUE,
        id=id,
        kind=kind,
        key=key,
        payload=payload,
        run_at=run_at,
        created_at=now,
        max_attempts=max_attempts,
    )
    return str(queued)


async def claim(
    db: Connection, kinds: Sequence[str], token: str, now: datetime, lease: timedelta
) -> Job | None:
    """The most overdue job of one of ``kinds``, unless one with the same key is running."""
    row = await db.fetch_one(_CLAIM, kinds=list(kinds), token=token, now=now, until=now + lease)
    if row is None:
        return None
    return Job(row["id"], row["kind"], row["payload"], row["attempts"], row["max_attempts"], token)


async def renew(db: Connection, job: Job, until: datetime) -> bool:
    """Whether the job is still ours."""
    return await db.execute(_RENEW, id=job.id, token=job.token, until=until) == 1


async def end(db: Connection, job: Job, state: str, error: str | None, now: datetime) -> bool:
    error = error[:MAX_ERROR] if error else None
    values = {"state": state, "error": error, "now": now}
    return await db.execute(_END, id=job.id, token=job.token, **values) == 1


async def retry(db: Connection, job: Job, error: str, run_at: datetime, now: datetime) -> bool:
    """Queue the job again; false if a newer one with its key is queued, which then stands in."""
    try:
        await db.execute(_RETRY, id=job.id, token=job.token, error=error[:MAX_ERROR], run_at=run_at)
    except UniqueViolation:
        await end(db, job, "failed", f"{error} (a newer job took its place)", now)
        return False
    return True


async def give_back(db: Connection, job: Job, now: datetime) -> None:
    """Queue the job again as if it had not been tried."""
    try:
        await db.execute(_GIVE_BACK, id=job.id, token=job.token)
    except UniqueViolation:
        await end(db, job, "failed", "stopped; a newer job took its place", now)


async def fail_lost(db: Connection, now: datetime) -> int:
    """End the jobs whose last attempt died with its daemon."""
    return await db.execute(_FAIL_LOST, now=now)


async def cancel(db: Connection, id: str, now: datetime) -> bool:
    return await db.execute(_CANCEL, id=id, now=now) == 1


async def prune(db: Connection, state: str, before: datetime) -> int:
    return await db.execute(_PRUNE, state=state, before=before)


async def page(db: Connection, state: str | None, limit: int, offset: int) -> list[Row]:
    """Newest first, without payloads: those may hold secrets."""
    if state is None:
        return await db.fetch_all(_SHOWN, limit=limit, offset=offset)
    return await db.fetch_all(_SHOWN_IN_STATE, state=state, limit=limit, offset=offset)
