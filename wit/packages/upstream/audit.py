"""What of an audit may leave the house, and what is answered when nobody can be asked. Pure.

npm's clients send the names and versions of everything that a project is made of. Names that are
published here, and names that come from another uplink, are taken out before the rest is passed on.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

from wit.errors import Invalid
from wit.packages.upstream.json_pieces import cleaned

Kind = Literal["bulk", "quick", "full"]

PATHS: Mapping[Kind, str] = {
    "bulk": "/-/npm/v1/security/advisories/bulk",
    "quick": "/-/npm/v1/security/audits/quick",
    "full": "/-/npm/v1/security/audits",
}
"""Where a registry takes them."""

MAX_DEPTH = 200
"""Of trees of dependencies."""


def read_request(kind: Kind, body: bytes) -> dict[str, Any]:
    """The request. Raises Invalid."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Invalid("the body of an audit must be JSON") from None
    if not isinstance(document, dict):
        raise Invalid("the body of an audit must be a JSON object")
    if kind != "bulk":
        for tree, depth in _trees(document):
            if depth > MAX_DEPTH:
                raise Invalid(f"the dependencies are nested more than {MAX_DEPTH} deep")
            for key in ("dependencies", "requires"):
                if not isinstance(tree.get(key, {}), dict | bool | None):
                    raise Invalid(f"{key} must be an object of names")
    found: dict[str, Any] = cleaned(document)
    return found


def names_in(kind: Kind, document: Mapping[str, Any]) -> set[str]:
    """Every name that the request has."""
    if kind == "bulk":
        return set(document)
    found: set[str] = set()
    for tree, _ in _trees(document):
        found.update(_object(tree, "dependencies"), _object(tree, "requires"))
    return found


def without(kind: Kind, document: Mapping[str, Any], private: Collection[str]) -> dict[str, Any]:
    """The request without these names, and without what the project itself is called."""
    if kind == "bulk":
        return {name: versions for name, versions in document.items() if name not in private}
    made = _pruned(document, private)
    for key, neutral in (("name", "project"), ("version", "0.0.0")):
        if key in made:
            made[key] = neutral
    return made


def empty_answer(kind: Kind, document: Mapping[str, Any]) -> bytes:
    """That nothing is known to be wrong."""
    if kind == "bulk":
        return b"{}"
    count = len(names_in(kind, document))
    severities = ("info", "low", "moderate", "high", "critical")
    return json.dumps(
        {
            "actions": [],
            "advisories": {},
            "muted": [],
            "metadata": {
                "vulnerabilities": dict.fromkeys(severities, 0),
                "dependencies": count,
                "devDependencies": 0,
                "optionalDependencies": 0,
                "totalDependencies": count,
            },
        }
    ).encode()


def _trees(document: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], int]]:
    """The request and every dependency in it, with how deep it is."""
    waiting: list[tuple[Mapping[str, Any], int]] = [(document, 0)]
    while waiting:
        tree, depth = waiting.pop()
        yield tree, depth
        for dependency in _object(tree, "dependencies").values():
            if isinstance(dependency, dict):
                waiting.append((dependency, depth + 1))


def _pruned(tree: Mapping[str, Any], private: Collection[str]) -> dict[str, Any]:
    made = dict(tree)
    for key in ("dependencies", "requires"):
        if isinstance(tree.get(key), dict):
            made[key] = {
                name: _pruned(value, private) if isinstance(value, dict) else value
                for name, value in tree[key].items()
                if name not in private
            }
    return made


def _object(tree: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = tree.get(key)
    return value if isinstance(value, dict) else {}
