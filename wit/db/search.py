"""Looking for a part of a text, in any case, with what a person typed taken literally."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, bindparam, or_


def contains(parameter: str, *columns: Column[Any]) -> ColumnElement[bool]:
    """Whether one of ``columns`` contains what ``parameter`` is bound to: :func:`pattern` of it.

    (SQLite knows upper and lower case of ASCII only.)
    """
    return or_(*(column.ilike(bindparam(parameter), escape="\\") for column in columns))


def pattern(text: str) -> str:
    """The LIKE pattern that finds ``text`` anywhere; ``%``, ``_`` and ``\\`` mean themselves."""
    for special in ("\\", "%", "_"):
        text = text.replace(special, f"\\{special}")
    return f"%{text.replace(chr(0), '')}%"
