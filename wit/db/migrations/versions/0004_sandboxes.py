"""Sandboxes: settings, keys and variables of repositories, what there is, what ran in them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.String(36)
TIME = sa.DateTime(timezone=True)
JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "repo_sandbox_config",
        sa.Column("id", ID, nullable=False),
        sa.Column("repo_id", ID, nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("network_mode", sa.String(16), server_default="none", nullable=False),
        sa.Column("default_language", sa.String(32), server_default="typescript", nullable=False),
        sa.Column("memory_mb", sa.Integer(), server_default="2048", nullable=False),
        sa.Column("cpu_cores", sa.Integer(), server_default="1", nullable=False),
        sa.Column("timeout_minutes", sa.Integer(), server_default="60", nullable=False),
        sa.Column("e2b_template_id", sa.Text(), nullable=True),
        sa.Column("daytona_snapshot", sa.Text(), nullable=True),
        sa.Column("daytona_auto_stop", sa.Integer(), server_default="15", nullable=False),
        sa.Column("docker_image", sa.Text(), server_default="wit-sandbox:latest", nullable=False),
        sa.Column("vercel_project_id", sa.Text(), nullable=True),
        sa.Column("vercel_team_id", sa.Text(), nullable=True),
        sa.Column("vercel_runtime", sa.Text(), server_default="node22", nullable=True),
        sa.Column("updated_by_id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["repo_id"],
            ["repositories.id"],
            name=op.f("fk_repo_sandbox_config_repo_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repo_sandbox_config")),
        sa.UniqueConstraint("repo_id", name=op.f("uq_repo_sandbox_config_repo_id")),
    )
    op.create_table(
        "repo_sandbox_keys",
        sa.Column("id", ID, nullable=False),
        sa.Column("repo_id", ID, nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("encrypted_key", sa.Text(), nullable=False),
        sa.Column("key_hint", sa.String(16), nullable=False),
        sa.Column("created_by_id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["repo_id"],
            ["repositories.id"],
            name=op.f("fk_repo_sandbox_keys_repo_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repo_sandbox_keys")),
        sa.UniqueConstraint(
            "repo_id", "provider", name=op.f("uq_repo_sandbox_keys_repo_id_provider")
        ),
    )
    op.create_index(
        op.f("ix_repo_sandbox_keys_repo_id"), "repo_sandbox_keys", ["repo_id"], unique=False
    )
    op.create_table(
        "repo_sandbox_variables",
        sa.Column("id", ID, nullable=False),
        sa.Column("repo_id", ID, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("sealed_value", sa.Text(), nullable=False),
        sa.Column("secret", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_by_id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["repo_id"],
            ["repositories.id"],
            name=op.f("fk_repo_sandbox_variables_repo_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_repo_sandbox_variables")),
        sa.UniqueConstraint("repo_id", "name", name=op.f("uq_repo_sandbox_variables_repo_id_name")),
    )
    op.create_index(
        op.f("ix_repo_sandbox_variables_repo_id"),
        "repo_sandbox_variables",
        ["repo_id"],
        unique=False,
    )
    op.create_table(
        "sandbox_sessions",
        sa.Column("id", ID, nullable=False),
        sa.Column("repo_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("provider_id", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("state", sa.String(16), server_default="running", nullable=False),
        sa.Column("metadata", sa.Text(), nullable=True),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["repo_id"],
            ["repositories.id"],
            name=op.f("fk_sandbox_sessions_repo_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sandbox_sessions")),
    )
    op.create_index(
        op.f("ix_sandbox_sessions_repo_id"), "sandbox_sessions", ["repo_id"], unique=False
    )
    op.create_index(
        op.f("ix_sandbox_sessions_user_id"), "sandbox_sessions", ["user_id"], unique=False
    )
    op.create_table(
        "sandboxes",
        sa.Column("id", ID, nullable=False),
        sa.Column("repo_id", ID, nullable=True),
        sa.Column("user_id", ID, nullable=True),
        sa.Column("provider", sa.String(32), nullable=False),
        sa.Column("host", sa.String(128), nullable=True),
        sa.Column("daemon", sa.String(160), nullable=True),
        sa.Column("ref", sa.Text(), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("branch", sa.Text(), nullable=True),
        sa.Column("commit_oid", sa.String(64), nullable=True),
        sa.Column("image", sa.Text(), nullable=True),
        sa.Column("network", sa.String(16), nullable=False),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=False),
        sa.Column("cpus", sa.Float(), nullable=False),
        sa.Column("processes", sa.Integer(), nullable=False),
        sa.Column("disk_bytes", sa.BigInteger(), nullable=False),
        sa.Column("idle_seconds", sa.Integer(), nullable=False),
        sa.Column("life_seconds", sa.Integer(), nullable=False),
        sa.Column("sealed_key", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("used_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["repo_id"], ["repositories.id"], name=op.f("fk_sandboxes_repo_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_sandboxes_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sandboxes")),
    )
    op.create_index(op.f("ix_sandboxes_repo_id"), "sandboxes", ["repo_id"], unique=False)
    op.create_index(op.f("ix_sandboxes_state"), "sandboxes", ["state"], unique=False)
    op.create_index(op.f("ix_sandboxes_user_id"), "sandboxes", ["user_id"], unique=False)
    op.create_index("ix_sandboxes_user_id_state", "sandboxes", ["user_id", "state"], unique=False)
    op.create_table(
        "sandbox_commands",
        sa.Column("id", ID, nullable=False),
        sa.Column("sandbox_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("argv", JSON, nullable=True),
        sa.Column("daemon", sa.String(160), nullable=True),
        sa.Column("state", sa.String(16), server_default="running", nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("reason", sa.String(32), nullable=True),
        sa.Column("output_bytes", sa.BigInteger(), server_default="0", nullable=False),
        sa.ForeignKeyConstraint(
            ["sandbox_id"],
            ["sandboxes.id"],
            name=op.f("fk_sandbox_commands_sandbox_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sandbox_commands")),
    )
    op.create_index(
        "ix_sandbox_commands_sandbox_id_started_at",
        "sandbox_commands",
        ["sandbox_id", "started_at"],
        unique=False,
    )
    op.create_index(op.f("ix_sandbox_commands_state"), "sandbox_commands", ["state"], unique=False)
    op.create_index(
        op.f("ix_sandbox_commands_user_id"), "sandbox_commands", ["user_id"], unique=False
    )
    op.create_table(
        "sandbox_tokens",
        sa.Column("id", ID, nullable=False),
        sa.Column("sandbox_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("repo_id", ID, nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("can_write", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["repo_id"],
            ["repositories.id"],
            name=op.f("fk_sandbox_tokens_repo_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["sandbox_id"],
            ["sandboxes.id"],
            name=op.f("fk_sandbox_tokens_sandbox_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_sandbox_tokens_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sandbox_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_sandbox_tokens_token_hash")),
    )
    op.create_index(
        op.f("ix_sandbox_tokens_expires_at"), "sandbox_tokens", ["expires_at"], unique=False
    )
    op.create_index(op.f("ix_sandbox_tokens_repo_id"), "sandbox_tokens", ["repo_id"], unique=False)
    op.create_index(op.f("ix_sandbox_tokens_user_id"), "sandbox_tokens", ["user_id"], unique=False)
