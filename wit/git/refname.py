"""Rules for ref names, object ids and branch patterns (attack list, lines 3 and 19).

A value that went through a ``check_`` function may stand in a command's arguments and in a path
below a repository; nothing that came from outside may do so without.
"""

from __future__ import annotations

import re
from functools import lru_cache

import attrs

from wit.errors import Invalid

MAX_REFNAME = 1024
"""Bytes in a ref name; file systems allow 255 for each of its components."""

MAX_COMPONENT = 250
"""Bytes between two slashes: 255 less the ``.lock`` that git appends while it writes the ref."""

MAX_PATTERN = 255
"""Characters in a branch pattern."""

_FORBIDDEN = re.compile(
    rb"[\x00-\x20\x7f~^:?*\[\\]"  # control characters, space, and what revisions use
    rb"|\.\.|@\{|//"
    rb"|(?:^|/)\."  # a component that begins with a dot
    rb"|\.lock(?:/|\Z)"  # a component that ends in .lock
    rb"|^/|/\Z|\.\Z"
)
_OID = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_ZEROS = frozenset({"0" * 40, "0" * 64})
_HEX_LENGTH = {"sha1": 40, "sha256": 64}


def is_refname(name: bytes) -> bool:
    """Whether git itself would take ``name`` as a ref (git-check-ref-format) below ``refs/``."""
    return name.startswith(b"refs/") and name != b"refs/" and not _FORBIDDEN.search(name)


def check_refname(name: bytes, *, head: bool = False) -> bytes:
    """``name`` itself if a client may create or name such a ref; with ``head`` also ``HEAD``.

    Beyond git-check-ref-format: valid UTF-8 (names are shown as text), at most 1024 bytes, and
    for branches and tags what ``git check-ref-format --branch`` adds: no leading ``-``, not
    ``HEAD``. Raises Invalid.
    """
    if head and name == b"HEAD":
        return name
    shown = name[:80].decode("utf-8", "replace")
    if len(name) > MAX_REFNAME or any(len(part) > MAX_COMPONENT for part in name.split(b"/")):
        raise Invalid(
            f"ref name {shown!r}… is too long: {MAX_REFNAME} bytes at most, "
            f"{MAX_COMPONENT} between slashes"
        )
    if not is_refname(name):
        raise Invalid(f"{shown!r} is not a valid ref name (see git help check-ref-format)")
    for namespace in (b"refs/heads/", b"refs/tags/"):
        short = name.removeprefix(namespace)
        if short is not name and (short.startswith(b"-") or short == b"HEAD"):
            raise Invalid(f"{shown!r} is not a valid ref name: '-…' and 'HEAD' are not allowed")
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid(f"ref name {shown!r} is not valid UTF-8") from None
    return name


def check_oid(text: str) -> str:
    """``text`` itself if it is a full object id: 40 or 64 lower-case hex digits. Raises Invalid."""
    if not _OID.fullmatch(text):
        raise Invalid(f"{text[:80]!r} is not an object id: expected 40 or 64 lower-case hex digits")
    return text


def is_zero(oid: str) -> bool:
    """Whether ``oid`` is the all-zero id that stands for "no such ref"."""
    return oid in _ZEROS


def zero_oid(object_format: str) -> str:
    """The all-zero id of ``sha1`` or ``sha256``."""
    return "0" * _HEX_LENGTH[object_format]


def check_pattern(pattern: bytes | str) -> str:
    """``pattern`` as text if it can match a branch or tag name.

    In a pattern ``?`` is one character and ``*`` any number of them, neither a ``/``; ``**`` is
    any number of characters, slashes among them. Everything else stands for itself. Raises
    Invalid.
    """
    try:
        text = pattern.decode("utf-8") if isinstance(pattern, bytes) else pattern
        example = text.replace("*", "x").replace("?", "x").encode("utf-8")
    except UnicodeError:
        raise Invalid("a branch pattern must be valid UTF-8") from None
    if not text or len(text) > MAX_PATTERN:
        raise Invalid(f"a branch pattern has 1 to {MAX_PATTERN} characters")
    try:
        check_refname(b"refs/heads/" + example)
    except Invalid:
        raise Invalid(
            f"{text[:80]!r} is not a branch pattern: give a branch name, "
            "in which *, ** and ? may stand for parts"
        ) from None
    return text


def matches(pattern: bytes | str, short_name: bytes | str) -> bool:
    """Whether a checked ``pattern`` matches a name without its ``refs/heads/``.

    Takes time proportional to the length of the name, whatever the pattern is.
    """
    if isinstance(pattern, bytes):
        pattern = pattern.decode("utf-8", "surrogateescape")
    if isinstance(short_name, bytes):
        short_name = short_name.decode("utf-8", "surrogateescape")
    return _compile(pattern).matches(short_name)


@attrs.frozen
class _Automaton:
    """A pattern as a nondeterministic automaton whose set of states is the bits of one integer.

    Bit *i* means: the first *i* tokens have matched what was read so far.
    """

    literals: dict[str, int]
    """For each character the states that it leads on from."""
    one: int
    """States before a ``?``."""
    stars: int
    """States before a ``*`` or ``**``."""
    double_stars: int
    final: int

    def matches(self, name: str) -> bool:
        states = self._skip_stars(1)
        for character in name:
            stay = states & (self.double_stars if character == "/" else self.stars)
            onwards = self.literals.get(character, 0) | (0 if character == "/" else self.one)
            states = self._skip_stars((states & onwards) << 1 | stay)
            if not states:
                return False
        return bool(states & self.final)

    def _skip_stars(self, states: int) -> int:
        """A star may also match nothing. No two stars are neighbours, so one step is enough."""
        return states | (states & self.stars) << 1


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> _Automaton:
    literals: dict[str, int] = {}
    one = stars = double_stars = 0
    bit = 1
    for part in re.findall(r"\*+|[^*]", pattern):
        if part[0] == "*":
            stars |= bit
            if len(part) > 1:
                double_stars |= bit
        elif part == "?":
            one |= bit
        else:
            literals[part] = literals.get(part, 0) | bit
        bit <<= 1
    return _Automaton(literals, one, stars, double_stars, final=bit)
