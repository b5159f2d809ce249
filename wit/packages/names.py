"""Names of packages, versions, tags and tarballs, by npm's rules.

What may be looked up is wider than what may be published: registries still have packages whose
names are older than the rules of today.
"""

from __future__ import annotations

import re

import attrs

from wit.errors import Invalid
from wit.packages.versions import Version, parse_range, parse_version

MAX_NAME = 214
MAX_TAG = 100
TARBALL_SUFFIX = ".tgz"

_OLD_PART = re.compile(r"[A-Za-z0-9_.!~*'()-]+")
_NEW_PART = re.compile(r"[a-z0-9_.-]+")
_TAG = re.compile(r"[!-~]+")
_NOT_IN_TAGS = frozenset('/%?#\\"<>')

PROTOTYPES = frozenset(("__proto__", "constructor", "prototype"))
"""Keys with which JSON reaches into the prototypes of careless JavaScript."""

_NEVER = frozenset(("node_modules", "favicon.ico"))
_NODE_MODULES = frozenset(
    """
    assert async_hooks buffer child_process cluster console constants crypto dgram
    diagnostics_channel dns domain events fs http http2 https inspector module net os path
    perf_hooks process punycode querystring readline repl stream string_decoder sys timers tls
    trace_events tty url util v8 vm wasi worker_threads zlib
    """.split()  # noqa: SIM905 - a table to read
)
"""What ``require`` finds in node itself, so that a package of the name could never be loaded."""


@attrs.frozen
class PackageName:
    """``name``, or ``@scope/name``; the scope is kept without its @."""

    scope: str | None
    name: str

    @property
    def full(self) -> str:
        return self.name if self.scope is None else f"@{self.scope}/{self.name}"

    def __str__(self) -> str:
        return self.full


def parse_name(text: str) -> PackageName:
    """A name that may be looked up. Raises Invalid."""
    scope, name = _split(text)
    parts = (name,) if scope is None else (scope, name)
    if (
        len(text) > MAX_NAME
        or not all(_OLD_PART.fullmatch(part) for part in parts)
        or any(part.startswith(".") for part in parts)
        or (scope is None and (name[0] in "_-" or name.lower() in _NEVER))
        or "__proto__" in parts
    ):
        raise Invalid(f"{text[:80]!r} is not the name of a package: use name or @scope/name")
    return PackageName(scope, name)


def check_new_name(name: PackageName) -> None:
    """Raises Invalid unless a new package may be called so."""
    parts = (name.name,) if name.scope is None else (name.scope, name.name)
    for part in parts:
        if not _NEW_PART.fullmatch(part) or part[0] in "._-":
            raise Invalid(
                f"{name.full[:80]!r} cannot be published: use lower-case letters, digits, '-', "
                "'.' and '_', starting with a letter or digit"
            )
        if part in _NEVER | PROTOTYPES:
            raise Invalid(f"no package may be called {part!r}; choose another name")
    if len(name.full) > MAX_NAME:
        raise Invalid(f"the name of a package has at most {MAX_NAME} characters")
    if name.scope is None and name.name in _NODE_MODULES:
        raise Invalid(f"{name.name!r} is a module of node itself; choose another name")


def tarball_file(name: PackageName, version: str) -> str:
    """What a version's tarball is called in its address."""
    return f"{name.name}-{version}{TARBALL_SUFFIX}"


def version_of_file(name: PackageName, file: str) -> str:
    """The version whose tarball is called so. Raises Invalid."""
    prefix = f"{name.name}-"
    if not file.startswith(prefix) or not file.endswith(TARBALL_SUFFIX):
        raise Invalid(f"a tarball of {name.full} is called {prefix}VERSION{TARBALL_SUFFIX}")
    return check_version(file[len(prefix) : -len(TARBALL_SUFFIX)])


def check_version(text: str) -> str:
    """The version as the registry knows it: without build metadata, which npm leaves out, too.

    Raises Invalid unless it is semantic versioning 2.0.0 to the letter.
    """
    return str(parsed_version(text))


def parsed_version(text: str) -> Version:
    """As :func:`check_version`, as a value that can be compared."""
    version = parse_version(text)
    if version is None:
        raise Invalid(
            f"{text[:80]!r} is not a semantic version: use MAJOR.MINOR.PATCH, such as 1.0.0 or "
            "1.0.0-beta.1"
        )
    return version


def check_tag(text: str) -> str:
    """``text`` itself, if a dist-tag may be called so. Raises Invalid."""
    if not 1 <= len(text) <= MAX_TAG or not _TAG.fullmatch(text) or _NOT_IN_TAGS & set(text):
        raise Invalid(
            f"{text[:80]!r} is not a tag: use 1 to {MAX_TAG} letters, digits and '-', '.', '_'"
        )
    if text in PROTOTYPES or parse_range(text) is not None:
        raise Invalid(f"{text[:80]!r} cannot be a tag, as it reads as a version or range")
    return text


def _split(text: str) -> tuple[str | None, str]:
    """Scope and name; empty parts are kept, for the caller to refuse."""
    if not text.startswith("@"):
        return None, text
    for slash in ("/", "%2f", "%2F"):
        scope, found, name = text[1:].partition(slash)
        if found:
            return scope, name
    return "", text
