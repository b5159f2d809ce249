"""Words of others on their way to a person."""

from __future__ import annotations


def plain(value: object, limit: int = 200) -> str:
    """A text as one short line without control characters; empty if it is no text at all."""
    if not isinstance(value, str):
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in value[: limit * 4]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
