"""Repositories, and who works on them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    true,
)

from wit.db.tables.base import created, metadata, repo, updated, user
from wit.db.types import Id, Json, Timestamp

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
    Column("homepage", Text),
    Column("is_archived", Boolean, nullable=False, server_default=false()),
    Column("stars_count", Integer, nullable=False, server_default="0"),
    Column("forks_count", Integer, nullable=False, server_default="0"),
    Column("watchers_count", Integer, nullable=False, server_default="0"),
    Column("open_issues_count", Integer, nullable=False, server_default="0"),
    Column("open_prs_count", Integer, nullable=False, server_default="0"),
    Column("language_stats", Json),
    Column("language_stats_updated_at", Timestamp),
    Column("language_stats_commit", String(64)),
    Column("disk_path", Text, nullable=False),
    Column("storage_backend", String(16), nullable=False, server_default="local"),
    Column("storage_config", Json),
    Column("storage_size_bytes", BigInteger, server_default="0"),
    Column("storage_object_count", BigInteger, server_default="0"),
    Column("storage_last_sync_at", Timestamp),
    created(),
    updated(),
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
set when the repository was found damaged and refuses pushes until it is repaired; ``homepage``
and ``is_archived``, which the public REST API speaks of: an archived repository is only read;
``language_stats_commit``, the id of the commit that ``language_stats`` were counted of.

``disk_path`` is ``/repos/<owner>/<name>.git``: drop ``/repos/``, join with the repository folder.
"""

collaborators = Table(
    "collaborators",
    metadata,
    repo(),
    user(),
    Column("permission", String(8), nullable=False, server_default="read"),
    created(),
    PrimaryKeyConstraint("repo_id", "user_id"),
    CheckConstraint("permission in ('read', 'write', 'admin')", name="permission"),
)

branch_protection_rules = Table(
    "branch_protection_rules",
    metadata,
    Column("id", Id, primary_key=True),
    repo(),
    Column("pattern", String(255), nullable=False),
    Column("require_pull_request", Boolean, nullable=False, server_default=true()),
    Column("required_reviewers", Integer, nullable=False, server_default="1"),
    Column("require_status_checks", Boolean, nullable=False, server_default=false()),
    Column("required_status_checks", Json),
    Column("allow_force_push", Boolean, nullable=False, server_default=false()),
    Column("allow_deletion", Boolean, nullable=False, server_default=false()),
    Column("allowed_pushers", Json),
    created(),
    updated(),
    UniqueConstraint("repo_id", "pattern"),
)
"""wit's own: ``allowed_pushers``, a JSON array of user ids; null means everybody with write."""
