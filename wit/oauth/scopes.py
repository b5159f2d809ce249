"""What an app can ask for, and how it is written.

OpenID Connect's ``openid`` asks for an ID token; its ``profile`` and ``email`` are other names of
``user:read`` and ``user:email``.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from wit.access.actor import OAUTH_SCOPES

DESCRIPTIONS = {
    "user:read": "Read your profile",
    "user:email": "Read your e-mail address",
    "repo:read": "Read your repositories, private ones included",
    "repo:write": "Push to your repositories and change their contents",
    "repo:admin": "Manage your repositories: settings, collaborators, deletion",
    "org:read": "Read your organizations, their members and teams",
    "org:write": "Manage your organizations, their members and teams",
    "workflow:read": "Read workflows and their runs",
    "workflow:write": "Start and change workflows",
    "issue:read": "Read issues of your repositories",
    "issue:write": "Write and change issues and comments",
    "pull:read": "Read pull requests of your repositories",
    "pull:write": "Write, review and merge pull requests",
    "webhook:read": "Read the webhooks of your repositories",
    "webhook:write": "Manage the webhooks of your repositories",
    "sandbox": "Run programs in sandboxes of your repositories, with their secrets",
}
assert tuple(DESCRIPTIONS) == OAUTH_SCOPES

OPENID = "openid"
OPENID_DESCRIPTION = "Know who you are"
ALIASES = {"profile": "user:read", "email": "user:email"}
SUPPORTED = (OPENID, *ALIASES, *OAUTH_SCOPES)


@attrs.frozen
class Scopes:
    """``names`` are contract scopes, in the contract's order; ``openid`` stands beside them."""

    names: tuple[str, ...]
    openid: bool = False

    @classmethod
    def of(cls, names: Iterable[str], openid: bool = False) -> Scopes:
        chosen = frozenset(names)
        return cls(tuple(name for name in OAUTH_SCOPES if name in chosen), openid)

    @classmethod
    def parse(cls, text: str) -> Scopes:
        """From a space-separated list; what is unknown is dropped."""
        words = frozenset(text.split())
        return cls.of((ALIASES.get(word, word) for word in words), OPENID in words)

    def __bool__(self) -> bool:
        return self.openid or bool(self.names)

    def __le__(self, other: Scopes) -> bool:
        return self.openid <= other.openid and set(self.names) <= set(other.names)

    def __str__(self) -> str:
        """As apps read it: with ``openid``, OpenID Connect's names are there as well."""
        aliases = [alias for alias, name in ALIASES.items() if name in self.names]
        return " ".join((*([OPENID, *aliases] if self.openid else []), *self.names))

    def descriptions(self) -> list[tuple[str, str]]:
        """Name and meaning of each, for the person who is to grant them."""
        own = [(OPENID, OPENID_DESCRIPTION)] if self.openid else []
        return own + [(name, DESCRIPTIONS[name]) for name in self.names]
