"""What a client's headers ask for: forms, encodings, what it has already, parts. All of it pure.

RFC 9110: sections 12.5.1 and 12.5.3 (Accept, Accept-Encoding), 13.1 (conditions), 14 (ranges).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import attrs

from wit.packages.served import Encoding

ABBREVIATED = "application/vnd.npm.install-v1+json"
FULL = "application/json"

_RANGE = re.compile(r"bytes[ \t]*=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)


class RangeNotSatisfiable(Exception):
    """The wanted part begins behind the end of what there is."""


@attrs.frozen
class Part:
    """The bytes from ``start`` to before ``stop``."""

    start: int
    stop: int


def wants_abbreviated(accept: str | None) -> bool:
    """Whether the short form of a packument is what the client likes best, or as much."""
    qualities = dict(_weighted(accept or ""))
    short = qualities.get(ABBREVIATED, 0.0)
    return short > 0 and short >= qualities.get(FULL, 0.0)


def best_encoding(accept_encoding: str | None) -> Encoding | None:
    """The smallest encoding that the client takes; None: as it is."""
    qualities = dict(_weighted(accept_encoding or ""))
    anything = qualities.get("*", 0.0)
    if qualities.get("br", anything) > 0:
        return "br"
    if qualities.get("gzip", qualities.get("x-gzip", anything)) > 0:
        return "gzip"
    return None


def _weighted(header: str) -> Iterator[tuple[str, float]]:
    for item in header.split(","):
        value, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        if value:
            yield value, quality


def has_already(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has what ``etag`` names (compared weakly, section 13.1.2)."""
    known = (tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(","))
    return any(tag in (etag, "*") for tag in known)


def wanted_part(range_: str | None, if_range: str | None, etag: str, size: int) -> Part | None:
    """The part of ``size`` bytes that is asked for; None: all of them.

    Several parts at once, and what is no range of bytes, are answered with the whole, as section
    14.2 allows. Raises RangeNotSatisfiable.
    """
    match = _RANGE.fullmatch(range_ or "")
    if match is None or (if_range is not None and if_range.strip() != etag):
        return None
    first, last = match.groups()
    if not first and not last:
        return None
    if not first:  # the last bytes
        start, stop = max(0, size - int(last)), size
    elif last and int(last) < int(first):
        return None
    else:
        start, stop = int(first), min(int(last) + 1, size) if last else size
    if start >= size:
        raise RangeNotSatisfiable
    return Part(start, stop)
