"""The one rule for names, and the one normaliser from a request path to a repository.

Every door, the CLI and the disk scan come through here, so that a name is either valid everywhere
or nowhere (attack list, lines 2, 30 and 31).
"""

from __future__ import annotations

import re

import attrs

from wit.errors import Invalid, NotFound

_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,38}")
_REPO = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_RESERVED_ENDINGS = (".git", ".wit", ".lock", ".")

RESERVED_OWNERS = frozenset(
    (
        "api",
        "trpc",
        "oauth",
        "health",
        "livez",
        "readyz",
        "metrics",
        "repos",
        "sync",
        "assets",
        "static",
        "login",
        "logout",
        "register",
        "signup",
        "invitations",
        "forgot-password",
        "reset-password",
        "signin",
        "settings",
        "new",
        "explore",
        "search",
        "about",
        "help",
        "auth",
        "ws",
        "system",
        "anonymous",
        "git",
        "wit",
        "favicon.ico",
        "robots.txt",
    )
)
"""Names that routes of wit use, now or later, or that stand for no account."""

MAX_PATH = 256
"""Characters in a request path that can still name a repository."""


@attrs.frozen
class RepoName:
    """A valid (owner, name); the case is as it was written, lookups ignore it."""

    owner: str
    name: str

    def __str__(self) -> str:
        return f"{self.owner}/{self.name}"


def check_owner(owner: str) -> str:
    """``owner`` itself. Raises Invalid, saying what an owner's name looks like."""
    if not _OWNER.fullmatch(owner) or ".." in owner or owner.lower().endswith(_RESERVED_ENDINGS):
        raise Invalid(
            f"{owner[:60]!r} is not a valid owner name: use 1 to 39 letters, digits, '.', '_' "
            "and '-', starting with a letter or digit, without '..' and not ending in '.', "
            "'.git', '.wit' or '.lock'"
        )
    return owner


def check_new_owner(owner: str) -> str:
    """As :func:`check_owner`, and the name must not be reserved for wit's own routes."""
    check_owner(owner)
    if owner.lower() in RESERVED_OWNERS:
        raise Invalid(f"the name {owner!r} is reserved; choose another")
    return owner


def check_repo(name: str) -> str:
    """``name`` itself. Raises Invalid, saying what a repository's name looks like."""
    if not _REPO.fullmatch(name) or ".." in name or name.lower().endswith(_RESERVED_ENDINGS):
        raise Invalid(
            f"{name[:60]!r} is not a valid repository name: use 1 to 100 letters, digits, '.', "
            "'_' and '-', not starting with '.' or '-', without '..' and not ending in '.', "
            "'.git', '.wit' or '.lock'"
        )
    return name


def parse_full_name(text: str) -> RepoName:
    """``OWNER/REPO`` as a person types it, with or without ``.git``. Raises Invalid."""
    owner, slash, name = text.partition("/")
    if not slash or "/" in name:
        raise Invalid(f"{text[:80]!r} is not of the form OWNER/REPO")
    return RepoName(check_owner(owner), check_repo(strip_suffix(name)))


def repo_from_path(path: str) -> RepoName:
    """The repository that a decoded request path (HTTP or SSH) means.

    Exactly two segments, one leading slash tolerated, one ``.git`` or ``.wit`` ending dropped.
    Raises NotFound for anything else: a malformed path and a missing repository look the same.
    """
    if len(path) > MAX_PATH:
        raise NotFound("repository not found")
    parts = path.removeprefix("/").removesuffix("/").split("/")
    try:
        if len(parts) != 2:
            raise Invalid("not OWNER/REPO")
        return RepoName(check_owner(parts[0]), check_repo(strip_suffix(parts[1])))
    except Invalid:
        raise NotFound("repository not found") from None


def strip_suffix(name: str) -> str:
    """``name`` without one ``.git`` or ``.wit`` ending."""
    for suffix in (".git", ".wit"):
        if name.endswith(suffix):
            return name[: -len(suffix)]
    return name
