"""Which repository of this site a package.json means by its field ``repository``.

npm takes a text or an object with ``url`` and ``directory``; the text is an address as git takes it
(``git+https://host/owner/repo.git``, ``git@host:owner/repo``) or ``owner/repo`` alone, which here
means this site. Shorthands for other sites (``github:owner/repo``) mean those sites.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any
from urllib.parse import SplitResult, urlsplit

from wit.errors import Invalid, NotFound
from wit.git.names import RepoName, repo_from_path

MAX_ADDRESS = 1024

_SCHEMES = frozenset(("https", "http", "ssh", "git", "git+https", "git+http", "git+ssh"))
_SHORT = re.compile(r"[^/:@\s]+/[^/:@\s#]+")
_SCP = re.compile(r"(?:[^@/:\s]+@)?(?P<host>[^/:@\s]+|\[[0-9a-fA-F:.]+\]):(?P<path>[^\s]+)")


def repository_of(field: Any, hosts: Collection[str], example: str) -> RepoName:
    """The repository that ``field`` names; it need not exist.

    ``hosts`` are the names of this site, in lower case; ``example`` is an address as it could be,
    for the sentence. Raises Invalid.
    """
    advice = f'put "repository": "{example}" into package.json, with a repository of this site'
    text = field.get("url") if isinstance(field, dict) else field
    if not isinstance(text, str) or not text.strip():
        raise Invalid(f"the package does not say which repository it belongs to: {advice}")
    text = text.strip()
    place = _place(text) if len(text) <= MAX_ADDRESS and text.isprintable() else None
    if place is None:
        raise Invalid(f"the repository {text[:100]!r} of package.json is not understood: {advice}")
    host, path = place
    if host is not None and host.lower() not in hosts:
        raise Invalid(f"the repository {text[:100]!r} of package.json is on another site: {advice}")
    try:
        return repo_from_path(path.partition("#")[0].rstrip("/"))
    except (Invalid, NotFound):
        raise Invalid(
            f"the repository {text[:100]!r} of package.json is not understood: {advice}"
        ) from None


def _place(text: str) -> tuple[str | None, str] | None:
    """(host, path); the host is None for ``owner/repo``. None if it is no address."""
    if _SHORT.fullmatch(text.partition("#")[0]):
        return None, text
    if "://" in text:
        parts = _split(text)
        if parts is None or parts.scheme not in _SCHEMES or not parts.hostname:
            return None
        return parts.hostname, parts.path
    match = _SCP.fullmatch(text)
    return (match["host"].strip("[]"), match["path"]) if match else None


def _split(text: str) -> SplitResult | None:
    try:
        return urlsplit(text)
    except ValueError:
        return None
