"""Two factors, stars, watches, activity, invitations, teams' rights, AI keys, settings."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.String(36)
TIME = sa.DateTime(timezone=True)
JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "rate_limits",
        sa.Column("key", sa.String(200), nullable=False),
        sa.Column("window_start", TIME, nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("previous", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_rate_limits")),
    )
    op.create_index(
        op.f("ix_rate_limits_window_start"), "rate_limits", ["window_start"], unique=False
    )
    op.create_table(
        "activities",
        sa.Column("id", ID, nullable=False),
        sa.Column("actor_id", ID, nullable=False),
        sa.Column("repo_id", ID, nullable=True),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("payload", sa.JSON, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["repo_id"], ["repositories.id"], name=op.f("fk_activities_repo_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_activities")),
    )
    op.create_index(
        op.f("ix_activities_actor_id_created_at"),
        "activities",
        ["actor_id", "created_at"],
        unique=False,
    )
    op.create_index(op.f("ix_activities_created_at"), "activities", ["created_at"], unique=False)
    op.create_index(
        op.f("ix_activities_repo_id_created_at"),
        "activities",
        ["repo_id", "created_at"],
        unique=False,
    )
    op.create_table(
        "admin_audit_logs",
        sa.Column("id", ID, nullable=False),
        sa.Column("admin_id", ID, nullable=True),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("target_type", sa.String(64), nullable=False),
        sa.Column("target_id", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("metadata", sa.JSON, nullable=True),
        sa.Column("ip_address", sa.Text(), nullable=True),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["admin_id"],
            ["user.id"],
            name=op.f("fk_admin_audit_logs_admin_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_admin_audit_logs")),
    )
    op.create_index(
        op.f("ix_admin_audit_logs_action"), "admin_audit_logs", ["action"], unique=False
    )
    op.create_index(
        op.f("ix_admin_audit_logs_admin_id"), "admin_audit_logs", ["admin_id"], unique=False
    )
    op.create_index(
        op.f("ix_admin_audit_logs_created_at"), "admin_audit_logs", ["created_at"], unique=False
    )
    op.create_index(
        op.f("ix_admin_audit_logs_target_id"), "admin_audit_logs", ["target_id"], unique=False
    )
    op.create_index(
        op.f("ix_admin_audit_logs_target_type"), "admin_audit_logs", ["target_type"], unique=False
    )
    op.create_table(
        "feature_flags",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("rollout_percentage", sa.Integer(), server_default="0", nullable=True),
        sa.Column("allowed_users", sa.JSON, nullable=True),
        sa.Column("blocked_users", sa.JSON, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("created_by", ID, nullable=True),
        sa.ForeignKeyConstraint(
            ["created_by"],
            ["user.id"],
            name=op.f("fk_feature_flags_created_by"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_feature_flags")),
        sa.UniqueConstraint("name", name=op.f("uq_feature_flags_name")),
    )
    op.create_table(
        "invitations",
        sa.Column("id", ID, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("repo_id", ID, nullable=True),
        sa.Column("org_id", ID, nullable=True),
        sa.Column("role", sa.String(16), nullable=True),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("invited_by", ID, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("accepted_at", TIME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint(
            "kind in ('site', 'repository', 'organization')", name=op.f("ck_invitations_kind")
        ),
        sa.ForeignKeyConstraint(
            ["invited_by"], ["user.id"], name=op.f("fk_invitations_invited_by"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["org_id"], ["organizations.id"], name=op.f("fk_invitations_org_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["repo_id"],
            ["repositories.id"],
            name=op.f("fk_invitations_repo_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitations_token_hash")),
    )
    op.create_index(op.f("ix_invitations_email"), "invitations", ["email"], unique=False)
    op.create_index(op.f("ix_invitations_org_id"), "invitations", ["org_id"], unique=False)
    op.create_index(op.f("ix_invitations_repo_id"), "invitations", ["repo_id"], unique=False)
    op.create_table(
        "repo_ai_keys",
        sa.Column("id", ID, nullable=False),
        sa.Column("repo_id", ID, nullable=False),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("encrypted_key", sa.Text(), nullable=False),
        sa.Column("key_hint", sa.String(16), nullable=False),
        sa.Column("created_by_id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["repo_id"],
            ["repositories.id"],
            name=op.f("fk_repo_ai_keys_repo_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repo_ai_keys")),
        sa.UniqueConstraint("repo_id", "provider", name=op.f("uq_repo_ai_keys_repo_id_provider")),
    )
    op.create_index(op.f("ix_repo_ai_keys_repo_id"), "repo_ai_keys", ["repo_id"], unique=False)
    op.create_table(
        "stars",
        sa.Column("repo_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["repo_id"], ["repositories.id"], name=op.f("fk_stars_repo_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_stars_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("repo_id", "user_id", name=op.f("pk_stars")),
    )
    op.create_index(op.f("ix_stars_repo_id"), "stars", ["repo_id"], unique=False)
    op.create_index(
        op.f("ix_stars_user_id_created_at"), "stars", ["user_id", "created_at"], unique=False
    )
    op.create_table(
        "system_settings",
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("value", sa.JSON, nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("updated_at", TIME, nullable=False),
        sa.Column("updated_by", ID, nullable=True),
        sa.ForeignKeyConstraint(
            ["updated_by"],
            ["user.id"],
            name=op.f("fk_system_settings_updated_by"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_system_settings")),
    )
    op.create_table(
        "two_factor",
        sa.Column("user_id", ID, nullable=False),
        sa.Column("encrypted_secret", sa.Text(), nullable=False),
        sa.Column("recovery_hashes", sa.JSON, nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("last_step", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_two_factor_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_two_factor")),
    )
    op.create_table(
        "user_ai_keys",
        sa.Column("id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("provider", sa.String(16), nullable=False),
        sa.Column("encrypted_key", sa.Text(), nullable=False),
        sa.Column("key_hint", sa.String(16), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_user_ai_keys_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_user_ai_keys")),
        sa.UniqueConstraint("user_id", "provider", name=op.f("uq_user_ai_keys_user_id_provider")),
    )
    op.create_index(op.f("ix_user_ai_keys_user_id"), "user_ai_keys", ["user_id"], unique=False)
    op.create_table(
        "watches",
        sa.Column("repo_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["repo_id"], ["repositories.id"], name=op.f("fk_watches_repo_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_watches_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("repo_id", "user_id", name=op.f("pk_watches")),
    )
    op.create_index(op.f("ix_watches_repo_id"), "watches", ["repo_id"], unique=False)
    op.create_index(
        op.f("ix_watches_user_id_created_at"), "watches", ["user_id", "created_at"], unique=False
    )
    op.create_table(
        "team_repositories",
        sa.Column("team_id", ID, nullable=False),
        sa.Column("repo_id", ID, nullable=False),
        sa.Column("permission", sa.String(8), server_default="read", nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint(
            "permission in ('read', 'write', 'admin')", name=op.f("ck_team_repositories_permission")
        ),
        sa.ForeignKeyConstraint(
            ["repo_id"],
            ["repositories.id"],
            name=op.f("fk_team_repositories_repo_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["team_id"], ["teams.id"], name=op.f("fk_team_repositories_team_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("team_id", "repo_id", name=op.f("pk_team_repositories")),
    )
    op.create_index(
        op.f("ix_team_repositories_repo_id"), "team_repositories", ["repo_id"], unique=False
    )
    op.add_column("repositories", sa.Column("homepage", sa.Text(), nullable=True))
    op.add_column("repositories", sa.Column("language_stats_commit", sa.String(64), nullable=True))
    op.add_column(
        "repositories",
        sa.Column("is_archived", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column(
        "session", sa.Column("remember", sa.Boolean(), server_default=sa.true(), nullable=False)
    )
