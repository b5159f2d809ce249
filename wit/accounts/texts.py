"""What people write about themselves and their organizations, checked before it is stored."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

from wit.errors import Invalid


def check_texts(
    changes: Mapping[str, str | None],
    limits: Mapping[str, int],
    *,
    lines: Collection[str] = (),
    addresses: Collection[str] = (),
) -> dict[str, str | None]:
    """The columns of ``changes`` as they are stored: trimmed, None for nothing.

    ``limits`` are characters; ``lines`` names the columns that are one line which is never empty,
    ``addresses`` those that pages make links or pictures of. Raises Invalid.
    """
    values: dict[str, str | None] = {}
    for column, value in changes.items():
        text = (value or "").strip()
        label = column.replace("_", " ")
        if len(text) > limits[column] or "\0" in text:
            raise Invalid(f"the {label} has at most {limits[column]} characters")
        if column in lines and (not text or not text.isprintable()):
            raise Invalid(f"the {label} is one line that is not empty")
        if text and column in addresses and not is_web_address(text):
            raise Invalid(f"the {label} must be an address that begins with https:// or http://")
        values[column] = text or None
    return values


def is_web_address(text: str) -> bool:
    """Whether a link to ``text`` leads to a web page, and runs nothing in the page it is on."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    plain = text.isprintable() and not any(character.isspace() for character in text)
    return plain and parts.scheme in ("http", "https") and bool(parts.hostname)
