"""OAuth apps, what users granted to them, and their tokens. Secrets are SHA-256 hex throughout."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    true,
)

from wit.db.tables.base import created, metadata, updated, user
from wit.db.types import Id, Json, Timestamp

oauth_apps = Table(
    "oauth_apps",
    metadata,
    Column("id", Id, primary_key=True),
    Column("owner_id", Id, nullable=False, index=True),
    Column("owner_type", String(16), nullable=False, server_default="user"),
    Column("name", String(100), nullable=False),
    Column("description", Text),
    Column("website_url", Text),
    Column("callback_url", Text, nullable=False),
    Column("additional_callback_urls", Json),
    Column("client_id", String(64), nullable=False, unique=True),
    Column("client_secret_hash", String(64), nullable=False),
    Column("client_secret_prefix", String(12), nullable=False),
    Column("is_confidential", Boolean, nullable=False, server_default=true()),
    Column("logo_url", Text),
    Column("privacy_policy_url", Text),
    Column("terms_of_service_url", Text),
    Column("is_published", Boolean, nullable=False, server_default=false()),
    Column("is_verified", Boolean, nullable=False, server_default=false()),
    Column("installations_count", Integer, nullable=False, server_default="0"),
    created(),
    updated(),
    CheckConstraint("owner_type in ('user', 'organization')", name="owner_type"),
)
"""wit's own: ``is_confidential``; other apps have no use for their secret and must use PKCE."""


def _app() -> Column[str]:
    return Column(
        "app_id", Id, ForeignKey("oauth_apps.id", ondelete="CASCADE"), nullable=False, index=True
    )


oauth_authorizations = Table(
    "oauth_authorizations",
    metadata,
    Column("id", Id, primary_key=True),
    _app(),
    user(),
    Column("scopes", Json, nullable=False),
    created(),
    updated(),
    UniqueConstraint("app_id", "user_id"),
)

oauth_authorization_codes = Table(
    "oauth_authorization_codes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("code_hash", String(64), nullable=False, unique=True),
    _app(),
    user(),
    Column("scopes", Json, nullable=False),
    Column("redirect_uri", Text, nullable=False),
    Column("code_challenge", String(128)),
    Column("code_challenge_method", String(8)),
    Column("nonce", Text),
    Column("openid", Boolean, nullable=False, server_default=false()),
    Column("signed_in_at", Timestamp),
    Column("grant_id", Id, nullable=False),
    Column("expires_at", Timestamp, nullable=False, index=True),
    Column("used", Boolean, nullable=False, server_default=false()),
    created(),
)
"""wit's own: ``nonce`` and ``signed_in_at`` (OpenID Connect), and ``grant_id``, under which all
tokens that descend from this code are revoked together."""

oauth_device_codes = Table(
    "oauth_device_codes",
    metadata,
    Column("id", Id, primary_key=True),
    Column("device_code_hash", String(64), nullable=False, unique=True),
    Column("user_code", String(16), nullable=False, unique=True),
    _app(),
    user(nullable=True),
    Column("scopes", Json, nullable=False),
    Column("openid", Boolean, nullable=False, server_default=false()),
    Column("state", String(16), nullable=False, server_default="pending"),
    Column("interval_seconds", Integer, nullable=False),
    Column("polled_at", Timestamp),
    Column("expires_at", Timestamp, nullable=False, index=True),
    created(),
    CheckConstraint("state in ('pending', 'approved', 'denied', 'used')", name="state"),
)
"""wit's own: device authorization (RFC 8628)."""

oauth_access_tokens = Table(
    "oauth_access_tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("token_prefix", String(20), nullable=False),
    _app(),
    user(),
    Column(
        "authorization_id",
        Id,
        ForeignKey("oauth_authorizations.id", ondelete="CASCADE"),
        index=True,
    ),
    Column("grant_id", Id, nullable=False, index=True),
    Column("scopes", Json, nullable=False),
    Column("openid", Boolean, nullable=False, server_default=false()),
    Column("expires_at", Timestamp, index=True),
    Column("last_used_at", Timestamp),
    Column("revoked", Boolean, nullable=False, server_default=false()),
    Column("revoked_at", Timestamp),
    created(),
)

oauth_refresh_tokens = Table(
    "oauth_refresh_tokens",
    metadata,
    Column("id", Id, primary_key=True),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column(
        "access_token_id",
        Id,
        ForeignKey("oauth_access_tokens.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("grant_id", Id, nullable=False, index=True),
    Column("scopes", Json, nullable=False),
    Column("openid", Boolean, nullable=False, server_default=false()),
    Column("expires_at", Timestamp, index=True),
    Column("used", Boolean, nullable=False, server_default=false()),
    Column("used_at", Timestamp),
    Column("retried", Boolean, nullable=False, server_default=false()),
    created(),
)
"""wit's own: ``scopes`` and ``openid``, all that was granted (an access token may be for less), and
``retried``: a client that lost the answer has come a second time."""

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("algorithm", String(16), nullable=False),
    Column("public_jwk", Json, nullable=False),
    Column("encrypted_private_key", Text, nullable=False),
    Column("not_after", Timestamp, nullable=False),
    created(),
)
"""wit's own: keys that sign ID tokens; ``id`` is the JWK's ``kid``. A key signs until
``not_after`` and is published a while longer."""
