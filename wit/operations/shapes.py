"""Shapes of answers that several routers share, and how rows become them.

Rows have the columns of :mod:`wit.db.tables`; on the wire names are in camel case (contract,
trpc.json, ``types``).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from typing_extensions import TypedDict

from wit.db.port import Row


class Success(TypedDict):
    success: bool


class UserRef(TypedDict):
    """A person as others see it; ``email`` is empty unless the person itself asks."""

    id: str
    name: str
    email: str
    username: str | None
    image: str | None
    avatarUrl: str | None


class OrgRef(TypedDict):
    """An organization where a person could be as well, as the owner of a repository."""

    id: str
    name: str
    type: Literal["organization"]


class User(TypedDict):
    """The whole row of a user: for the person itself, and for administrators."""

    id: str
    name: str
    email: str
    emailVerified: bool
    image: str | None
    createdAt: datetime
    updatedAt: datetime
    username: str | None
    displayUsername: str | None
    bio: str | None
    location: str | None
    website: str | None
    avatarUrl: str | None
    role: Literal["user", "admin", "superadmin"]
    suspended: bool
    suspendedAt: datetime | None
    suspendedReason: str | None


class Repository(TypedDict):
    id: str
    name: str
    description: str | None
    ownerId: str
    ownerType: Literal["user", "organization"]
    isPrivate: bool
    isFork: bool
    forkedFromId: str | None
    defaultBranch: str
    starsCount: int
    forksCount: int
    watchersCount: int
    openIssuesCount: int
    openPrsCount: int
    languageStats: list[Any] | None
    languageStatsUpdatedAt: datetime | None
    diskPath: str
    storageBackend: str
    storageConfig: dict[str, Any] | None
    storageSizeBytes: int | None
    storageObjectCount: int | None
    storageLastSyncAt: datetime | None
    createdAt: datetime
    updatedAt: datetime
    pushedAt: datetime | None


def user_ref(row: Row, *, email: bool = False) -> UserRef:
    """From a row of ``user``. ``email``: the person's own answer has it."""
    return {
        "id": row["id"],
        "name": row["name"],
        "email": row["email"] if email else "",
        "username": row["username"],
        "image": row["image"],
        "avatarUrl": row["avatar_url"],
    }


def user(row: Row) -> User:
    """From a row of ``user``."""
    return {
        "id": row["id"],
        "name": row["name"],
        "email": row["email"],
        "emailVerified": row["email_verified"],
        "image": row["image"],
        "createdAt": row["created_at"],
        "updatedAt": row["updated_at"],
        "username": row["username"],
        "displayUsername": row["display_username"],
        "bio": row["bio"],
        "location": row["location"],
        "website": row["website"],
        "avatarUrl": row["avatar_url"],
        "role": row["role"],
        "suspended": row["suspended"],
        "suspendedAt": row["suspended_at"],
        "suspendedReason": row["suspended_reason"],
    }


def repository(row: Row) -> Repository:
    """From a row of ``repositories``."""
    return {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "ownerId": row["owner_id"],
        "ownerType": row["owner_type"],
        "isPrivate": row["is_private"],
        "isFork": row["is_fork"],
        "forkedFromId": row["forked_from_id"],
        "defaultBranch": row["default_branch"],
        "starsCount": row["stars_count"],
        "forksCount": row["forks_count"],
        "watchersCount": row["watchers_count"],
        "openIssuesCount": row["open_issues_count"],
        "openPrsCount": row["open_prs_count"],
        "languageStats": row["language_stats"],
        "languageStatsUpdatedAt": row["language_stats_updated_at"],
        "diskPath": row["disk_path"],
        "storageBackend": row["storage_backend"],
        "storageConfig": row["storage_config"],
        "storageSizeBytes": row["storage_size_bytes"],
        "storageObjectCount": row["storage_object_count"],
        "storageLastSyncAt": row["storage_last_sync_at"],
        "createdAt": row["created_at"],
        "updatedAt": row["updated_at"],
        "pushedAt": row["pushed_at"],
    }


class Person(TypedDict):
    """A person in a list of people."""

    id: str
    username: str | None
    name: str
    avatarUrl: str | None


class Organization(TypedDict):
    id: str
    name: str
    displayName: str
    description: str | None
    avatarUrl: str | None
    website: str | None
    location: str | None
    createdAt: datetime
    updatedAt: datetime


def person(row: Row) -> Person:
    """From any row with these columns of ``user``."""
    return {
        "id": row["id"],
        "username": row["username"],
        "name": row["name"],
        "avatarUrl": row["avatar_url"],
    }


def organization(row: Row) -> Organization:
    """From a row of ``organizations``."""
    return {
        "id": row["id"],
        "name": row["name"],
        "displayName": row["display_name"],
        "description": row["description"],
        "avatarUrl": row["avatar_url"],
        "website": row["website"],
        "location": row["location"],
        "createdAt": row["created_at"],
        "updatedAt": row["updated_at"],
    }
