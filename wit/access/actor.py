"""Who is asking. Every door turns its credential into an :class:`Actor` and forgets the rest."""

from __future__ import annotations

import enum
from functools import lru_cache
from typing import Literal, get_args

import attrs

TokenScope = Literal[
    "repo:read",
    "repo:write",
    "repo:admin",
    "user:read",
    "user:write",
    "packages:read",
    "packages:write",
    "sandbox",
]
TOKEN_SCOPES: tuple[TokenScope, ...] = get_args(TokenScope)
"""Scopes of personal access tokens (contract, auth.md), and our own for sandboxes. None implies
another of these."""

OAuthScope = Literal[
    "user:read",
    "user:email",
    "repo:read",
    "repo:write",
    "repo:admin",
    "org:read",
    "org:write",
    "workflow:read",
    "workflow:write",
    "issue:read",
    "issue:write",
    "pull:read",
    "pull:write",
    "webhook:read",
    "webhook:write",
    "sandbox",
]
OAUTH_SCOPES: tuple[OAuthScope, ...] = get_args(OAuthScope)
"""Scopes that an OAuth app can be granted (contract, auth.md), and our own for sandboxes."""

SCOPES = frozenset((*TOKEN_SCOPES, *OAUTH_SCOPES))
"""Everything that a procedure may ask for."""

_PARTS = {
    "repo:read": ("issue:read", "pull:read", "workflow:read"),
    "repo:write": ("issue:write", "pull:write", "workflow:write"),
    "repo:admin": ("webhook:read", "webhook:write"),
}
"""What belongs to a repository, and so is in the scope of the repository."""

_TOKEN_PARTS = {"user:read": ("user:email", "org:read"), "user:write": ("org:write",)}
"""Personal access tokens have no scopes for these; they are the user's own affairs."""

_LOWER = {
    "repo:admin": ("repo:write", "repo:read"),
    "repo:write": ("repo:read",),
    "org:write": ("org:read",),
    "issue:write": ("issue:read",),
    "pull:write": ("pull:read",),
    "workflow:write": ("workflow:read",),
    "webhook:write": ("webhook:read",),
}
"""With an OAuth token a scope of at least the level will do."""


@lru_cache
def token_scopes(granted: frozenset[str]) -> frozenset[str]:
    """What a personal access token with the scopes ``granted`` may do."""
    return _with(_with(granted, _PARTS), _TOKEN_PARTS)


@lru_cache
def oauth_scopes(granted: frozenset[str]) -> frozenset[str]:
    """What an OAuth token with the scopes ``granted`` may do."""
    return _with(_with(granted, _LOWER), _PARTS)


def _with(scopes: frozenset[str], parts: dict[str, tuple[str, ...]]) -> frozenset[str]:
    return scopes.union(*(parts.get(scope, ()) for scope in scopes))


class Origin(enum.Enum):
    """By which kind of credential the actor is known."""

    ANONYMOUS = "anonymous"
    PASSWORD = "password"  # noqa: S105
    TOKEN = "token"  # noqa: S105
    OAUTH = "oauth"
    SESSION = "session"
    SSH_KEY = "ssh-key"
    SANDBOX = "sandbox"
    CLI = "cli"


@attrs.frozen
class Actor:
    """The one who asks.

    ``scopes`` is None for credentials that carry the user's whole power (password, session, SSH
    key) and a set for tokens. ``credential_id`` names the row of the token, key or session.
    ``is_admin`` and ``is_superadmin`` are false for credentials that do not carry that power.
    """

    user_id: str | None
    username: str
    origin: Origin
    is_admin: bool = False
    scopes: frozenset[str] | None = None
    credential_id: str | None = None
    is_superadmin: bool = False
    only_repo_id: str | None = None
    """The one repository that the credential is good for; None: all that the user may use."""

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
    OWNER = 4
    """Deleting it, giving it away: its owner, or an owner of the organization that owns it."""

    @property
    def scope(self) -> str:
        """The token scope that an act of this level needs."""
        return f"repo:{min(self, Level.ADMIN).name.lower()}"


class OrgRole(enum.IntEnum):
    """A member's role in an organization; each contains those below it."""

    MEMBER = 1
    ADMIN = 2
    OWNER = 3
