"""What administrators keep: audit log, settings, feature flags; and encrypted keys of users."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from wit.db.tables.base import created, metadata, repo, updated, user
from wit.db.types import Id, Json, Timestamp

admin_audit_logs = Table(
    "admin_audit_logs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("admin_id", Id, ForeignKey("user.id", ondelete="SET NULL"), index=True),
    Column("action", String(64), nullable=False, index=True),
    Column("target_type", String(64), nullable=False, index=True),
    Column("target_id", Text, index=True),
    Column("description", Text, nullable=False),
    Column("metadata", Json),
    Column("ip_address", Text),
    Column("user_agent", Text),
    Column("created_at", Timestamp, nullable=False, index=True),
)

system_settings = Table(
    "system_settings",
    metadata,
    Column("key", String(255), primary_key=True),
    Column("value", Json, nullable=False),
    Column("description", Text),
    updated(),
    Column("updated_by", Id, ForeignKey("user.id", ondelete="SET NULL")),
)

feature_flags = Table(
    "feature_flags",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("description", Text),
    Column("enabled", Boolean, nullable=False, server_default=false()),
    Column("rollout_percentage", Integer, server_default="0"),
    Column("allowed_users", Json),
    Column("blocked_users", Json),
    created(),
    updated(),
    Column("created_by", Id, ForeignKey("user.id", ondelete="SET NULL")),
)

user_ai_keys = Table(
    "user_ai_keys",
    metadata,
    Column("id", Id, primary_key=True),
    user(),
    Column("provider", String(16), nullable=False),
    Column("encrypted_key", Text, nullable=False),
    Column("key_hint", String(16), nullable=False),
    created(),
    updated(),
    UniqueConstraint("user_id", "provider"),
)
"""``encrypted_key``: see wit/accounts/secrets.py; ``key_hint`` is ``...`` and 4 characters."""

repo_ai_keys = Table(
    "repo_ai_keys",
    metadata,
    Column("id", Id, primary_key=True),
    repo(),
    Column("provider", String(16), nullable=False),
    Column("encrypted_key", Text, nullable=False),
    Column("key_hint", String(16), nullable=False),
    Column("created_by_id", Id, nullable=False),
    created(),
    updated(),
    UniqueConstraint("repo_id", "provider"),
)

rate_limits = Table(
    "rate_limits",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("window_start", Timestamp, nullable=False, index=True),
    Column("count", Integer, nullable=False),
    Column("previous", Integer, nullable=False, server_default="0"),
)
"""wit's own: sliding windows that several daemons share."""
