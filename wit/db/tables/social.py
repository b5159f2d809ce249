"""What people do around repositories: stars, watches, activity, invitations."""

from __future__ import annotations

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
)

from wit.db.tables.base import created, metadata, repo
from wit.db.types import Id, Json, Timestamp


def _by_user(name: str) -> Table:
    return Table(
        name,
        metadata,
        repo(),
        Column("user_id", Id, ForeignKey("user.id", ondelete="CASCADE"), nullable=False),
        created(),
        PrimaryKeyConstraint("repo_id", "user_id"),
        Index(None, "user_id", "created_at"),
    )


stars = _by_user("stars")
watches = _by_user("watches")

activities = Table(
    "activities",
    metadata,
    Column("id", Id, primary_key=True),
    Column("actor_id", Id, nullable=False),
    Column("repo_id", Id, ForeignKey("repositories.id", ondelete="CASCADE")),
    Column("type", String(64), nullable=False),
    Column("payload", Json),
    created(),
    Index(None, "actor_id", "created_at"),
    Index(None, "repo_id", "created_at"),
    Index(None, "created_at"),
)
"""``payload`` goes out as JSON text, as the contract has it."""

invitations = Table(
    "invitations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("repo_id", Id, ForeignKey("repositories.id", ondelete="CASCADE"), index=True),
    Column("org_id", Id, ForeignKey("organizations.id", ondelete="CASCADE"), index=True),
    Column("role", String(16)),
    Column("email", Text, nullable=False, index=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("invited_by", Id, ForeignKey("user.id", ondelete="CASCADE"), nullable=False),
    Column("expires_at", Timestamp, nullable=False),
    Column("accepted_at", Timestamp),
    created(),
    CheckConstraint("kind in ('site', 'repository', 'organization')", name="kind"),
)
"""wit's own: to the site, to a repository (``role`` is the permission) or an organization, by
mail. ``token_hash`` is SHA-256 hex of what the mail's link holds."""
