"""The tables of wit, as SQLAlchemy Core values.

Names and columns follow the contract (database.md) so that rows appear in outputs under the names
that clients know; what wit adds is marked. Ids of users are 32 characters of [A-Za-z0-9], all
other ids are UUIDs as text.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
)

from wit.db.types import Id, Json, Sequence, Timestamp

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _created() -> Column[Any]:
    return Column("created_at", Timestamp, nullable=False)


def _updated() -> Column[Any]:
    return Column("updated_at", Timestamp, nullable=False)


def _user(nullable: bool = False) -> Column[Any]:
    return Column(
        "user_id", Id, ForeignKey("user.id", ondelete="CASCADE"), nullable=nullable, index=True
    )


def _repo() -> Column[Any]:
    return Column(
        "repo_id", Id, ForeignKey("repositories.id", ondelete="CASCADE"), nullable=False, index=True
    )


# Accounts and sign-in

users = Table(
    "user",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False, unique=True),
    Column("email_verified", Boolean, nullable=False, server_default=false()),
    Column("image", Text),
    _created(),
    _updated(),
    Column("username", String(39), nullable=False, unique=True),
    Column("display_username", String(39)),
    Column("bio", Text),
    Column("location", Text),
    Column("website", Text),
    Column("avatar_url", Text),
    Column("role", String(16), nullable=False, server_default="user"),
    Column("suspended", Boolean, nullable=False, server_default=false()),
    Column("suspended_at", Timestamp),
    Column("suspended_reason", Text),
    CheckConstraint("role in ('user', 'admin', 'superadmin')", name="role"),
)
"""``username`` is lower-case, ``display_username`` keeps the typed form."""

sessions = Table(
    "session",
    metadata,
    Column("id", Id, primary_key=True),
    Column("expires_at", Timestamp, nullable=False),
    Column("token_hash", String(64), nullable=False, unique=True),
    _created(),
    _updated(),
    Column("ip_address", Text),
    Column("user_agent", Text),
    _user(),
)
"""``token_hash`` (wit's own): SHA-256 hex of the bearer secret, which is never stored."""

account_credentials = Table(
    "account",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("provider_id", Text, nullable=False),
    _user(),
    Column("access_token", Text),
    Column("refresh_token", Text),
    Column("id_token", Text),
    Column("access_token_expires_at", Timestamp),
    Column("refresh_token_expires_at", Timestamp),
    Column("scope", Text),
    Column("password", Text),
    _created(),
    _updated(),
    UniqueConstraint("provider_id", "account_id"),
)
"""``provider_id`` is ``credential`` (then ``password`` holds the hash) or a social provider."""

verifications = Table(
    "verification",
    metadata,
    Column("id", Id, primary_key=True),
    Column("identifier", Text, nullable=False, index=True),
    Column("value", Text, nullable=False),
    Column("expires_at", Timestamp, nullable=False),
    _created(),
    _updated(),
)

tokens = Table(
    "personal_access_tokens",
    metadata,
    Column("id", Id, primary_key=True),
    _user(),
    Column("name", String(100), nullable=False),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("token_prefix", String(8), nullable=False),
    Column("scopes", Json, nullable=False),
    Column("last_used_at", Timestamp),
    Column("expires_at", Timestamp),
    _created(),
)
"""``token_hash`` is SHA-256 hex of the whole token; ``scopes`` a JSON array of text."""

ssh_keys = Table(
    "ssh_keys",
    metadata,
    Column("id", Id, primary_key=True),
    _user(),
    Column("title", String(100), nullable=False),
    Column("public_key", Text, nullable=False),
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("key_type", String(64), nullable=False),
    Column("last_used_at", Timestamp),
    _created(),
)
"""``fingerprint`` is ``SHA256:`` and unpadded base64 (RFC 4648, section 4)."""

login_attempts = Table(
    "login_attempts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("email", Text, nullable=False, index=True),
    _user(nullable=True),
    Column("success", Boolean, nullable=False),
    Column("ip_address", Text, index=True),
    Column("user_agent", Text),
    Column("failure_reason", Text),
    Column("created_at", Timestamp, nullable=False, index=True),
)

# Owners: users and organizations share one space of names

namespaces = Table(
    "namespaces",
    metadata,
    Column("name_key", String(39), primary_key=True),
    Column("name", String(39), nullable=False),
    Column("owner_type", String(16), nullable=False),
    Column("owner_id", Id, nullable=False, unique=True),
    CheckConstraint("owner_type in ('user', 'organization')", name="owner_type"),
)
"""wit's own: ``name_key`` is the lower-case name, so that no two owners differ by case alone."""

organizations = Table(
    "organizations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(39), nullable=False, unique=True),
    Column("display_name", Text, nullable=False),
    Column("description", Text),
    Column("avatar_url", Text),
    Column("website", Text),
    Column("location", Text),
    _created(),
    _updated(),
)

org_members = Table(
    "org_members",
    metadata,
    Column("org_id", Id, ForeignKey("organizations.id", ondelete="CASCADE"), nullable=False),
    _user(),
    Column("role", String(16), nullable=False, server_default="member"),
    _created(),
    PrimaryKeyConstraint("org_id", "user_id"),
    CheckConstraint("role in ('member', 'admin', 'owner')", name="role"),
)

teams = Table(
    "teams",
    metadata,
    Column("id", Id, primary_key=True),
    Column("org_id", Id, ForeignKey("organizations.id", ondelete="CASCADE"), nullable=False),
    Column("name", String(100), nullable=False),
    Column("description", Text),
    _created(),
    UniqueConstraint("org_id", "name"),
)

team_members = Table(
    "team_members",
    metadata,
    Column("team_id", Id, ForeignKey("teams.id", ondelete="CASCADE"), nullable=False),
    _user(),
    _created(),
    PrimaryKeyConstraint("team_id", "user_id"),
)

# Repositories

repositories = Table(
    "repositories",
    metadata,
    Column("id", Id, primary_key=True),
    Column("owner_id", Id, nullable=False),
    Column("owner_type", String(16), nullable=False),
    Column("name", String(100), nullable=False),
    Column("name_key", String(100), nullable=False),
    Column("description", Text),
    Column("is_private", Boolean, nullable=False, server_default=false()),
    Column("is_fork", Boolean, nullable=False, server_default=false()),
    Column("forked_from_id", Id, ForeignKey("repositories.id", ondelete="SET NULL"), index=True),
    Column("default_branch", Text, nullable=False, server_default="main"),
    Column("object_format", String(8), nullable=False, server_default="sha1"),
    Column("read_only_reason", Text),
    Column("stars_count", Integer, nullable=False, server_default="0"),
    Column("forks_count", Integer, nullable=False, server_default="0"),
    Column("watchers_count", Integer, nullable=False, server_default="0"),
    Column("open_issues_count", Integer, nullable=False, server_default="0"),
    Column("open_prs_count", Integer, nullable=False, server_default="0"),
    Column("language_stats", Json),
    Column("language_stats_updated_at", Timestamp),
    Column("disk_path", Text, nullable=False),
    Column("storage_backend", String(16), nullable=False, server_default="local"),
    Column("storage_config", Json),
    Column("storage_size_bytes", BigInteger, server_default="0"),
    Column("storage_object_count", BigInteger, server_default="0"),
    Column("storage_last_sync_at", Timestamp),
    _created(),
    _updated(),
    Column("pushed_at", Timestamp),
    UniqueConstraint("owner_id", "name_key"),
    CheckConstraint("owner_type in ('user', 'organization')", name="owner_type"),
    CheckConstraint("object_format in ('sha1', 'sha256')", name="object_format"),
    Index(None, "is_private"),
    Index(None, "updated_at"),
    Index(None, "pushed_at"),
    Index(None, "stars_count"),
)
"""wit's own: ``name_key`` (lower-case name), ``object_format``, and ``read_only_reason``, which is
set when the repository was found damaged and refuses pushes until it is repaired.

``disk_path`` is ``/repos/<owner>/<name>.git``: drop ``/repos/``, join with the repository folder.
"""

collaborators = Table(
    "collaborators",
    metadata,
    _repo(),
    _user(),
    Column("permission", String(8), nullable=False, server_default="read"),
    _created(),
    PrimaryKeyConstraint("repo_id", "user_id"),
    CheckConstraint("permission in ('read', 'write', 'admin')", name="permission"),
)

branch_protection_rules = Table(
    "branch_protection_rules",
    metadata,
    Column("id", Id, primary_key=True),
    _repo(),
    Column("pattern", String(255), nullable=False),
    Column("require_pull_request", Boolean, nullable=False, server_default=true()),
    Column("required_reviewers", Integer, nullable=False, server_default="1"),
    Column("require_status_checks", Boolean, nullable=False, server_default=false()),
    Column("required_status_checks", Json),
    Column("allow_force_push", Boolean, nullable=False, server_default=false()),
    Column("allow_deletion", Boolean, nullable=False, server_default=false()),
    Column("allowed_pushers", Json),
    _created(),
    _updated(),
    UniqueConstraint("repo_id", "pattern"),
)
"""wit's own: ``allowed_pushers``, a JSON array of user ids; null means everybody with write."""

# Pushes, events, jobs

pushes = Table(
    "pushes",
    metadata,
    Column("id", Id, primary_key=True),
    _repo(),
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
    _created(),
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
    _created(),
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
