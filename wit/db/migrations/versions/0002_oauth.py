"""OAuth apps, their codes and tokens, and the keys that sign."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.String(36)
TIME = sa.DateTime(timezone=True)
JSON = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "oauth_apps",
        sa.Column("id", ID, nullable=False),
        sa.Column("owner_id", ID, nullable=False),
        sa.Column("owner_type", sa.String(16), server_default="user", nullable=False),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("website_url", sa.Text(), nullable=True),
        sa.Column("callback_url", sa.Text(), nullable=False),
        sa.Column("additional_callback_urls", sa.JSON, nullable=True),
        sa.Column("client_id", sa.String(64), nullable=False),
        sa.Column("client_secret_hash", sa.String(64), nullable=False),
        sa.Column("client_secret_prefix", sa.String(12), nullable=False),
        sa.Column("is_confidential", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("logo_url", sa.Text(), nullable=True),
        sa.Column("privacy_policy_url", sa.Text(), nullable=True),
        sa.Column("terms_of_service_url", sa.Text(), nullable=True),
        sa.Column("is_published", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("is_verified", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("installations_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.CheckConstraint(
            "owner_type in ('user', 'organization')", name=op.f("ck_oauth_apps_owner_type")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oauth_apps")),
        sa.UniqueConstraint("client_id", name=op.f("uq_oauth_apps_client_id")),
    )
    op.create_index(op.f("ix_oauth_apps_owner_id"), "oauth_apps", ["owner_id"], unique=False)
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("algorithm", sa.String(16), nullable=False),
        sa.Column("public_jwk", sa.JSON, nullable=False),
        sa.Column("encrypted_private_key", sa.Text(), nullable=False),
        sa.Column("not_after", TIME, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "oauth_authorization_codes",
        sa.Column("id", ID, nullable=False),
        sa.Column("code_hash", sa.String(64), nullable=False),
        sa.Column("app_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("redirect_uri", sa.Text(), nullable=False),
        sa.Column("code_challenge", sa.String(128), nullable=True),
        sa.Column("code_challenge_method", sa.String(8), nullable=True),
        sa.Column("nonce", sa.Text(), nullable=True),
        sa.Column("openid", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("signed_in_at", TIME, nullable=True),
        sa.Column("grant_id", ID, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("used", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["app_id"],
            ["oauth_apps.id"],
            name=op.f("fk_oauth_authorization_codes_app_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["user.id"],
            name=op.f("fk_oauth_authorization_codes_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oauth_authorization_codes")),
        sa.UniqueConstraint("code_hash", name=op.f("uq_oauth_authorization_codes_code_hash")),
    )
    op.create_index(
        op.f("ix_oauth_authorization_codes_app_id"),
        "oauth_authorization_codes",
        ["app_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_oauth_authorization_codes_expires_at"),
        "oauth_authorization_codes",
        ["expires_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_oauth_authorization_codes_user_id"),
        "oauth_authorization_codes",
        ["user_id"],
        unique=False,
    )
    op.create_table(
        "oauth_authorizations",
        sa.Column("id", ID, nullable=False),
        sa.Column("app_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["app_id"],
            ["oauth_apps.id"],
            name=op.f("fk_oauth_authorizations_app_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["user.id"],
            name=op.f("fk_oauth_authorizations_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oauth_authorizations")),
        sa.UniqueConstraint(
            "app_id", "user_id", name=op.f("uq_oauth_authorizations_app_id_user_id")
        ),
    )
    op.create_index(
        op.f("ix_oauth_authorizations_app_id"), "oauth_authorizations", ["app_id"], unique=False
    )
    op.create_index(
        op.f("ix_oauth_authorizations_user_id"), "oauth_authorizations", ["user_id"], unique=False
    )
    op.create_table(
        "oauth_device_codes",
        sa.Column("id", ID, nullable=False),
        sa.Column("device_code_hash", sa.String(64), nullable=False),
        sa.Column("user_code", sa.String(16), nullable=False),
        sa.Column("app_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=True),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("openid", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("state", sa.String(16), server_default="pending", nullable=False),
        sa.Column("interval_seconds", sa.Integer(), nullable=False),
        sa.Column("polled_at", TIME, nullable=True),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint(
            "state in ('pending', 'approved', 'denied', 'used')",
            name=op.f("ck_oauth_device_codes_state"),
        ),
        sa.ForeignKeyConstraint(
            ["app_id"],
            ["oauth_apps.id"],
            name=op.f("fk_oauth_device_codes_app_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_oauth_device_codes_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oauth_device_codes")),
        sa.UniqueConstraint(
            "device_code_hash", name=op.f("uq_oauth_device_codes_device_code_hash")
        ),
        sa.UniqueConstraint("user_code", name=op.f("uq_oauth_device_codes_user_code")),
    )
    op.create_index(
        op.f("ix_oauth_device_codes_app_id"), "oauth_device_codes", ["app_id"], unique=False
    )
    op.create_index(
        op.f("ix_oauth_device_codes_expires_at"), "oauth_device_codes", ["expires_at"], unique=False
    )
    op.create_index(
        op.f("ix_oauth_device_codes_user_id"), "oauth_device_codes", ["user_id"], unique=False
    )
    op.create_table(
        "oauth_access_tokens",
        sa.Column("id", ID, nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("token_prefix", sa.String(20), nullable=False),
        sa.Column("app_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("authorization_id", ID, nullable=True),
        sa.Column("grant_id", ID, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("openid", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("expires_at", TIME, nullable=True),
        sa.Column("last_used_at", TIME, nullable=True),
        sa.Column("revoked", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["app_id"],
            ["oauth_apps.id"],
            name=op.f("fk_oauth_access_tokens_app_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["authorization_id"],
            ["oauth_authorizations.id"],
            name=op.f("fk_oauth_access_tokens_authorization_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["user.id"],
            name=op.f("fk_oauth_access_tokens_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oauth_access_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_oauth_access_tokens_token_hash")),
    )
    op.create_index(
        op.f("ix_oauth_access_tokens_app_id"), "oauth_access_tokens", ["app_id"], unique=False
    )
    op.create_index(
        op.f("ix_oauth_access_tokens_authorization_id"),
        "oauth_access_tokens",
        ["authorization_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_oauth_access_tokens_expires_at"),
        "oauth_access_tokens",
        ["expires_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_oauth_access_tokens_grant_id"), "oauth_access_tokens", ["grant_id"], unique=False
    )
    op.create_index(
        op.f("ix_oauth_access_tokens_user_id"), "oauth_access_tokens", ["user_id"], unique=False
    )
    op.create_table(
        "oauth_refresh_tokens",
        sa.Column("id", ID, nullable=False),
        sa.Column("token_hash", sa.String(64), nullable=False),
        sa.Column("access_token_id", ID, nullable=False),
        sa.Column("grant_id", ID, nullable=False),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("openid", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("expires_at", TIME, nullable=True),
        sa.Column("used", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("used_at", TIME, nullable=True),
        sa.Column("retried", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["access_token_id"],
            ["oauth_access_tokens.id"],
            name=op.f("fk_oauth_refresh_tokens_access_token_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_oauth_refresh_tokens")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_oauth_refresh_tokens_token_hash")),
    )
    op.create_index(
        op.f("ix_oauth_refresh_tokens_access_token_id"),
        "oauth_refresh_tokens",
        ["access_token_id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_oauth_refresh_tokens_expires_at"),
        "oauth_refresh_tokens",
        ["expires_at"],
        unique=False,
    )
    op.create_index(
        op.f("ix_oauth_refresh_tokens_grant_id"), "oauth_refresh_tokens", ["grant_id"], unique=False
    )
