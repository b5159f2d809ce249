"""Owners: users and organizations share one space of names."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from wit.db.tables.base import created, metadata, repo, updated, user
from wit.db.types import Id

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
    created(),
    updated(),
)

org_members = Table(
    "org_members",
    metadata,
    Column("org_id", Id, ForeignKey("organizations.id", ondelete="CASCADE"), nullable=False),
    user(),
    Column("role", String(16), nullable=False, server_default="member"),
    created(),
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
    created(),
    UniqueConstraint("org_id", "name"),
)

team_members = Table(
    "team_members",
    metadata,
    Column("team_id", Id, ForeignKey("teams.id", ondelete="CASCADE"), nullable=False),
    user(),
    created(),
    PrimaryKeyConstraint("team_id", "user_id"),
)

team_repositories = Table(
    "team_repositories",
    metadata,
    Column("team_id", Id, ForeignKey("teams.id", ondelete="CASCADE"), nullable=False),
    repo(),
    Column("permission", String(8), nullable=False, server_default="read"),
    created(),
    PrimaryKeyConstraint("team_id", "repo_id"),
    CheckConstraint("permission in ('read', 'write', 'admin')", name="permission"),
)
"""wit's own: what the members of a team may do with a repository of the organization."""
