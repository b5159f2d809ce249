"""Shapes of the auth door's answers (contract, auth.md, "Endpoints in use")."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from wit.accounts.sessions import Session
from wit.db.port import Row


def time(value: datetime) -> str:
    """As JavaScript writes a Date in JSON."""
    text = value.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def user(row: Row) -> dict[str, Any]:
    """From a row of ``user`` with ``two_factor_enabled``."""
    return {
        "id": row["id"],
        "name": row["name"],
        "email": row["email"],
        "emailVerified": row["email_verified"],
        "image": row["image"],
        "createdAt": time(row["created_at"]),
        "updatedAt": time(row["updated_at"]),
        "username": row["username"],
        "displayUsername": row["display_username"],
        "bio": row["bio"],
        "location": row["location"],
        "website": row["website"],
        "avatarUrl": row["avatar_url"],
        "twoFactorEnabled": bool(row["two_factor_enabled"]),
    }


def session(found: Session) -> dict[str, Any]:
    """The caller's own, with its secret."""
    row = {
        "id": found.id,
        "user_id": found.user_id,
        "expires_at": found.expires_at,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "ip_address": found.ip_address,
        "user_agent": found.user_agent,
    }
    return listed_session(row, found.token)


def listed_session(row: Row, token: str) -> dict[str, Any]:
    """``token``: its secret if it is the caller's own, else its id, by which it can be revoked."""
    return {
        "id": row["id"],
        "token": token,
        "userId": row["user_id"],
        "expiresAt": time(row["expires_at"]),
        "createdAt": time(row["created_at"]),
        "updatedAt": time(row["updated_at"]),
        "ipAddress": row["ip_address"],
        "userAgent": row["user_agent"],
    }


def account(row: Row) -> dict[str, Any]:
    """A way to sign in."""
    return {
        "id": row["id"],
        "providerId": row["provider_id"],
        "accountId": row["account_id"],
        "userId": row["user_id"],
        "scopes": row["scope"].split(",") if row["scope"] else [],
        "createdAt": time(row["created_at"]),
        "updatedAt": time(row["updated_at"]),
    }


def signed_in(found: Session) -> dict[str, Any]:
    return {"token": found.token, "user": user(found.user)}
