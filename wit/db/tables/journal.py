"""Pushes, events, jobs."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    text,
)

from wit.db.tables.base import created, metadata, repo
from wit.db.types import Id, Json, Sequence, Timestamp

pushes = Table(
    "pushes",
    metadata,
    Column("id", Id, primary_key=True),
    repo(),
    Column("actor_id", Id),
    Column("actor_name", Text, nullable=False),
    Column("origin", String(16), nullable=False),
    Column("request_id", Text, nullable=False),
    Column("updates", Json, nullable=False),
    Column("push_options", Json, nullable=False),
    Column("created_at", Timestamp, nullable=False, index=True),
)
"""wit's own: the intent of a push, written before git moves a ref and deleted in the transaction
that journals what became of it. ``updates`` is a JSON array of ``[ref, old, new]``."""

events = Table(
    "events",
    metadata,
    Column("seq", Sequence, primary_key=True, autoincrement=True),
    Column("id", Id, nullable=False, unique=True),
    Column("type", String(64), nullable=False),
    Column("actor_id", Text, nullable=False),
    Column("repo_id", Id, index=True),
    Column("payload", Json, nullable=False),
    created(),
    Column("processed_at", Timestamp),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("next_attempt_at", Timestamp),
    Index(
        "ix_events_unprocessed",
        "seq",
        sqlite_where=text("processed_at IS NULL"),
        postgresql_where=text("processed_at IS NULL"),
    ),
    sqlite_autoincrement=True,
)
"""wit's own: the journal. ``repo_id`` has no foreign key: history outlives the repository."""

event_deliveries = Table(
    "event_deliveries",
    metadata,
    Column("event_id", Id, ForeignKey("events.id", ondelete="CASCADE"), nullable=False),
    Column("handler", String(64), nullable=False),
    Column("delivered_at", Timestamp, nullable=False),
    PrimaryKeyConstraint("event_id", "handler"),
)
"""wit's own: written in the handler's own transaction, which makes its effects exactly-once."""

jobs = Table(
    "jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("key", Text),
    Column("payload", Json, nullable=False),
    Column("state", String(16), nullable=False, server_default="queued"),
    Column("run_at", Timestamp, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("max_attempts", Integer, nullable=False, server_default="5"),
    Column("locked_by", Text),
    Column("locked_until", Timestamp),
    Column("last_error", Text),
    created(),
    Column("finished_at", Timestamp),
    CheckConstraint("state in ('queued', 'running', 'done', 'failed')", name="state"),
    Index("ix_jobs_due", "state", "run_at"),
    Index(
        "uq_jobs_queued_key",
        "kind",
        "key",
        unique=True,
        sqlite_where=text("state = 'queued' AND key IS NOT NULL"),
        postgresql_where=text("state = 'queued' AND key IS NOT NULL"),
    ),
)
"""wit's own: the durable queue. At most one queued job per (kind, key)."""
