"""Accounts and sign-in."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    true,
)

from wit.db.tables.base import created, metadata, updated, user
from wit.db.types import Id, Json, Timestamp

users = Table(
    "user",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False, unique=True),
    Column("email_verified", Boolean, nullable=False, server_default=false()),
    Column("image", Text),
    created(),
    updated(),
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
    created(),
    updated(),
    Column("ip_address", Text),
    Column("user_agent", Text),
    Column("remember", Boolean, nullable=False, server_default=true()),
    user(),
)
"""``token_hash`` (wit's own): SHA-256 hex of the bearer secret, which is never stored.
``remember`` (wit's own): whether the cookie outlives the browser."""

account_credentials = Table(
    "account",
    metadata,
    Column("id", Id, primary_key=True),
    Column("account_id", Text, nullable=False),
    Column("provider_id", Text, nullable=False),
    user(),
    Column("access_token", Text),
    Column("refresh_token", Text),
    Column("id_token", Text),
    Column("access_token_expires_at", Timestamp),
    Column("refresh_token_expires_at", Timestamp),
    Column("scope", Text),
    Column("password", Text),
    created(),
    updated(),
    UniqueConstraint("provider_id", "account_id"),
)
"""``provider_id`` is ``credential`` (then ``password`` holds the hash) or a social provider."""

two_factor = Table(
    "two_factor",
    metadata,
    Column("user_id", Id, ForeignKey("user.id", ondelete="CASCADE"), primary_key=True),
    Column("encrypted_secret", Text, nullable=False),
    Column("recovery_hashes", Json, nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=false()),
    Column("last_step", BigInteger, nullable=False, server_default="0"),
    created(),
    updated(),
)
"""wit's own: time-based one-time passwords (RFC 6238). ``last_step`` is the time step of the last
code that was accepted, so that none is accepted twice; ``recovery_hashes`` a JSON array of what is
left of the recovery codes, SHA-256 hex."""

verifications = Table(
    "verification",
    metadata,
    Column("id", Id, primary_key=True),
    Column("identifier", Text, nullable=False, index=True),
    Column("value", Text, nullable=False),
    Column("expires_at", Timestamp, nullable=False),
    created(),
    updated(),
)

tokens = Table(
    "personal_access_tokens",
    metadata,
    Column("id", Id, primary_key=True),
    user(),
    Column("name", String(100), nullable=False),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("token_prefix", String(8), nullable=False),
    Column("scopes", Json, nullable=False),
    Column("last_used_at", Timestamp),
    Column("expires_at", Timestamp),
    created(),
)
"""``token_hash`` is SHA-256 hex of the whole token; ``scopes`` a JSON array of text."""

ssh_keys = Table(
    "ssh_keys",
    metadata,
    Column("id", Id, primary_key=True),
    user(),
    Column("title", String(100), nullable=False),
    Column("public_key", Text, nullable=False),
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("key_type", String(64), nullable=False),
    Column("last_used_at", Timestamp),
    created(),
)
"""``fingerprint`` is ``SHA256:`` and unpadded base64 (RFC 4648, section 4)."""

login_attempts = Table(
    "login_attempts",
    metadata,
    Column("id", Id, primary_key=True),
    Column("email", Text, nullable=False, index=True),
    user(nullable=True),
    Column("success", Boolean, nullable=False),
    Column("ip_address", Text, index=True),
    Column("user_agent", Text),
    Column("failure_reason", Text),
    Column("created_at", Timestamp, nullable=False, index=True),
)
