"""Which route a path belongs to: templates such as ``/api/repos/{owner}/{repo}``.

A literal segment wins over a parameter. A parameter takes one segment, percent-decoded: never an
empty one, and never one that hides a slash, a NUL or bytes that are not UTF-8; such a path has no
route. Pure: knows neither requests nor operations.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

import attrs

T = TypeVar("T")


@attrs.frozen
class Found(Generic[T]):
    """A route, and what its parameters are in this path."""

    target: T
    values: dict[str, str]


@attrs.frozen
class OtherMethods(Generic[T]):
    """The path has routes, but none for this method."""

    routes: dict[str, T]
    """By method."""


class PathTable(Generic[T]):
    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, method: str, template: str, target: T) -> None:
        """Raises ValueError if there is such a route already."""
        node = self._root
        names = []
        for segment in template.removeprefix("/").split("/"):
            if segment.startswith("{") and segment.endswith("}"):
                names.append(segment[1:-1])
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        if method in node.routes:
            raise ValueError(f"{method} {template} is taken")
        node.routes[method] = (tuple(names), target)

    def find(self, method: str, path: bytes) -> Found[T] | OtherMethods[T] | None:
        segments = _segments(path)
        return None if segments is None else self.match(method, segments)

    def match(self, method: str, segments: list[str]) -> Found[T] | OtherMethods[T] | None:
        """As :meth:`find`, for a path whose segments the caller has decoded."""
        others: dict[str, T] = {}
        for node, values in _walk(self._root, segments, 0, ()):
            if method in node.routes:
                names, target = node.routes[method]
                return Found(target, dict(zip(names, values, strict=True)))
            others.update((name, target) for name, (_, target) in node.routes.items())
        return OtherMethods(others) if others else None


class _Node(Generic[T]):
    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] = {}
        self.parameter: _Node[T] | None = None
        self.routes: dict[str, tuple[tuple[str, ...], T]] = {}


def _walk(
    node: _Node[T], segments: list[str], at: int, values: tuple[str, ...]
) -> Iterator[tuple[_Node[T], tuple[str, ...]]]:
    """The nodes with routes that the path leads to, the most literal first."""
    if at == len(segments):
        if node.routes:
            yield node, values
        return
    segment = segments[at]
    if (literal := node.literals.get(segment)) is not None:
        yield from _walk(literal, segments, at + 1, values)
    if node.parameter is not None and segment:
        yield from _walk(node.parameter, segments, at + 1, (*values, segment))


def _segments(path: bytes) -> list[str] | None:
    """The decoded segments of an absolute path."""
    if b"%" not in path and b"\0" not in path and path.isascii():
        return path[1:].decode("ascii").split("/")
    try:
        segments = [unquote_to_bytes(part).decode() for part in path[1:].split(b"/")]
    except UnicodeDecodeError:
        return None
    return None if any("/" in part or "\0" in part for part in segments) else segments
