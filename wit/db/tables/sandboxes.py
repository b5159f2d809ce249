"""Sandboxes: how repositories want them, which there are, what ran in them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from wit.db.tables.base import created, metadata, repo, updated, user
from wit.db.types import Id, Json, Timestamp

repo_sandbox_config = Table(
    "repo_sandbox_config",
    metadata,
    Column("id", Id, primary_key=True),
    Column(
        "repo_id",
        Id,
        ForeignKey("repositories.id", ondelete="CASCADE"),
        nullable=False,
        unique=True,
    ),
    Column("enabled", Boolean, nullable=False, server_default=false()),
    Column("provider", String(32), nullable=False),
    Column("network_mode", String(16), nullable=False, server_default="none"),
    Column("default_language", String(32), nullable=False, server_default="typescript"),
    Column("memory_mb", Integer, nullable=False, server_default="2048"),
    Column("cpu_cores", Integer, nullable=False, server_default="1"),
    Column("timeout_minutes", Integer, nullable=False, server_default="60"),
    Column("e2b_template_id", Text),
    Column("daytona_snapshot", Text),
    Column("daytona_auto_stop", Integer, nullable=False, server_default="15"),
    Column("docker_image", Text, nullable=False, server_default="wit-sandbox:latest"),
    Column("vercel_project_id", Text),
    Column("vercel_team_id", Text),
    Column("vercel_runtime", Text, server_default="node22"),
    Column("updated_by_id", Id, nullable=False),
    created(),
    updated(),
)
"""A repository without a row has the defaults of ``[sandboxes]`` in wit.toml."""

repo_sandbox_keys = Table(
    "repo_sandbox_keys",
    metadata,
    Column("id", Id, primary_key=True),
    repo(),
    Column("provider", String(32), nullable=False),
    Column("encrypted_key", Text, nullable=False),
    Column("key_hint", String(16), nullable=False),
    Column("created_by_id", Id, nullable=False),
    created(),
    updated(),
    UniqueConstraint("repo_id", "provider"),
)

repo_sandbox_variables = Table(
    "repo_sandbox_variables",
    metadata,
    Column("id", Id, primary_key=True),
    repo(),
    Column("name", String(128), nullable=False),
    Column("sealed_value", Text, nullable=False),
    Column("secret", Boolean, nullable=False, server_default=false()),
    Column("created_by_id", Id, nullable=False),
    created(),
    updated(),
    UniqueConstraint("repo_id", "name"),
)
"""wit's own: environment of a repository's sandboxes. A secret's value is never shown again."""

sandboxes = Table(
    "sandboxes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("repo_id", Id, ForeignKey("repositories.id", ondelete="SET NULL"), index=True),
    user(nullable=True),
    Column("provider", String(32), nullable=False),
    Column("host", String(128)),
    Column("daemon", String(160)),
    Column("ref", Text),
    Column("state", String(16), nullable=False, index=True),
    Column("reason", Text),
    Column("branch", Text),
    Column("commit_oid", String(64)),
    Column("image", Text),
    Column("network", String(16), nullable=False),
    Column("memory_bytes", BigInteger, nullable=False),
    Column("cpus", Float, nullable=False),
    Column("processes", Integer, nullable=False),
    Column("disk_bytes", BigInteger, nullable=False),
    Column("idle_seconds", Integer, nullable=False),
    Column("life_seconds", Integer, nullable=False),
    Column("sealed_key", Text),
    created(),
    Column("used_at", Timestamp, nullable=False),
    Column("expires_at", Timestamp, nullable=False),
    Column("ended_at", Timestamp),
    Index("ix_sandboxes_user_id_state", "user_id", "state"),
)
"""wit's own. ``state``: warm (nobody's yet), creating, running, paused, lost, ended. ``ref`` is the
provider's name of it, and ``sealed_key`` the provider's key that it was made with, if a repository
brought one. ``host`` is the place of an engine that is not everywhere, ``daemon`` the process that
makes it."""

sandbox_commands = Table(
    "sandbox_commands",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sandbox_id", Id, ForeignKey("sandboxes.id", ondelete="CASCADE"), nullable=False),
    Column("user_id", Id, nullable=False, index=True),
    Column("kind", String(16), nullable=False),
    Column("argv", Json),
    Column("daemon", String(160)),
    Column("state", String(16), nullable=False, server_default="running", index=True),
    Column("started_at", Timestamp, nullable=False),
    Column("ended_at", Timestamp),
    Column("exit_code", Integer),
    Column("reason", String(32)),
    Column("output_bytes", BigInteger, nullable=False, server_default="0"),
    Index("ix_sandbox_commands_sandbox_id_started_at", "sandbox_id", "started_at"),
)
"""wit's own: who ran what, when and how long. ``kind``: exec, terminal, ssh, upload, download,
checkout. ``daemon`` is the process that looks after it."""

sandbox_sessions = Table(
    "sandbox_sessions",
    metadata,
    Column("id", Id, primary_key=True),
    repo(),
    Column("user_id", Id, nullable=False, index=True),
    Column("provider", String(32), nullable=False),
    Column("provider_id", Text, nullable=False),
    Column("branch", Text),
    Column("state", String(16), nullable=False, server_default="running"),
    Column("metadata", Text),
    Column("started_at", Timestamp, nullable=False),
    Column("ended_at", Timestamp),
    Column("exit_code", Integer),
)
"""Terminal sessions in the contract's form; ``provider_id`` is the sandbox's id."""

sandbox_tokens = Table(
    "sandbox_tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("sandbox_id", Id, ForeignKey("sandboxes.id", ondelete="CASCADE"), nullable=False),
    user(),
    repo(),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("can_write", Boolean, nullable=False, server_default=false()),
    created(),
    Column("expires_at", Timestamp, nullable=False, index=True),
)
"""wit's own: what a sandbox's git pushes back with; good for one repository, and for git alone."""
