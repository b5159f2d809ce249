"""The paths of the npm door. A scoped name is one part of a path, however its slash is written."""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

PREFIX = b"/api/packages"

MAX_PARTS = 12


def parts_of(path: bytes) -> list[str] | None:
    """The parts of a path below PREFIX, percent-decoded and with whole names.

    So ``@scope/name/-/file`` has the parts ``@scope/name``, ``-`` and ``file``.

    None for a path that can be none of ours: one that is not UTF-8, hides a NUL, or has a slash
    inside something that is no scoped name.
    """
    raw = path[len(PREFIX) :].strip(b"/").split(b"/")
    if len(raw) > MAX_PARTS:
        return None
    try:
        decoded = [unquote_to_bytes(part).decode() for part in raw]
    except UnicodeDecodeError:
        return None
    parts: list[str] = []
    for text in decoded:
        if parts and _is_scope(parts[-1]):
            parts[-1] += f"/{text}"
        else:
            parts.append(text)
    return None if any(_odd(part) for part in parts) else parts


def _is_scope(part: str) -> bool:
    return part.startswith("@") and "/" not in part


def _odd(part: str) -> bool:
    slashes = part.count("/")
    return not part or "\0" in part or slashes > 1 or (slashes == 1 and not part.startswith("@"))
