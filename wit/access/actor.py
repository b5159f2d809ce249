"""Who is asking. Every door turns its credential into an :class:`Actor` and forgets the rest."""

from __future__ import annotations

import enum

import attrs

SCOPES = frozenset(
    {
        "repo:read",
        "repo:write",
        "repo:admin",
        "user:read",
        "user:write",
        "packages:read",
        "packages:write",
    }
)
"""Scopes of personal access tokens (contract, auth.md). None implies another."""


class Origin(enum.Enum):
    """By which kind of credential the actor is known."""

    ANONYMOUS = "anonymous"
    PASSWORD = "password"  # noqa: S105
    TOKEN = "token"  # noqa: S105
    SESSION = "session"
    SSH_KEY = "ssh-key"
    CLI = "cli"


@attrs.frozen
class Actor:
    """The one who asks.

    ``scopes`` is None for credentials that carry the user's whole power (password, session, SSH
    key) and a set for tokens. ``credential_id`` names the token's or key's row.
    """

    user_id: str | None
    username: str
    origin: Origin
    is_admin: bool = False
    scopes: frozenset[str] | None = None
    credential_id: str | None = None

    @property
    def anonymous(self) -> bool:
        return self.user_id is None

    def has_scope(self, scope: str) -> bool:
        return self.scopes is None or scope in self.scopes


ANONYMOUS = Actor(user_id=None, username="anonymous", origin=Origin.ANONYMOUS)


class Level(enum.IntEnum):
    """What an actor may do with one repository; each level contains those below it."""

    NONE = 0
    READ = 1
    WRITE = 2
    ADMIN = 3

    @property
    def scope(self) -> str:
        """The token scope that an act of this level needs."""
        return f"repo:{self.name.lower()}"
