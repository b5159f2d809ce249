"""The order of tags that name versions: Semantic Versioning 2.0.0, section 11, read generously.

Tags are called ``v1.2``, ``release-1.2.0``, ``1.2rc1`` or anything; what has no number in it is no
version.
"""

from __future__ import annotations

import re

VersionKey = tuple[tuple[int, ...], bool, tuple[tuple[bool, int, str], ...]]

NO_VERSION: VersionKey = ((), False, ())

_VERSION = re.compile(r"[^0-9]*([0-9]{1,18}(?:\.[0-9]{1,18}){0,9})(.*)", re.DOTALL)
_PRERELEASE = re.compile(
    r"-|[._]?(?:alpha|beta|preview|pre|rc|dev|snapshot|[abcm][0-9])", re.IGNORECASE
)
_PARTS = re.compile(r"[0-9]{1,18}|[^0-9]+")


def version_key(name: str) -> VersionKey:
    """What sorts names of tags by version; NO_VERSION, the lowest, for a name without one."""
    match = _VERSION.match(name)
    if match is None:
        return NO_VERSION
    numbers = [int(number) for number in match[1].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:  # 1.2 is 1.2.0
        numbers.pop()
    rest = match[2]
    released = _PRERELEASE.match(rest) is None
    return tuple(numbers), released, tuple(_part(part) for part in _PARTS.findall(rest))


def _part(text: str) -> tuple[bool, int, str]:
    """Numbers come before words, and in the order of their values."""
    return (False, int(text), "") if text[0] in "0123456789" else (True, 0, text)
