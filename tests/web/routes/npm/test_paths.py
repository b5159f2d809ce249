from __future__ import annotations

import pytest

from wit.web.routes.npm.door import ROUTES, Route
from wit.web.routes.npm.paths import parts_of
from wit.web.routes.path_table import Found, PathTable


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (b"/left-pad", ["left-pad"]),
        (b"/left-pad/1.0.0", ["left-pad", "1.0.0"]),
        (b"/@a/b", ["@a/b"]),
        (b"/@a%2fb", ["@a/b"]),
        (b"/@a%2Fb", ["@a/b"]),
        (b"/%40a%2Fb/", ["@a/b"]),
        (b"/@a/b/-/b-1.0.0.tgz", ["@a/b", "-", "b-1.0.0.tgz"]),
        (b"/-/package/@a%2fb/dist-tags/next", ["-", "package", "@a/b", "dist-tags", "next"]),
        (b"/-/user/org.couchdb.user:alice", ["-", "user", "org.couchdb.user:alice"]),
        (b"/-/user/org.couchdb.user%3Aalice", ["-", "user", "org.couchdb.user:alice"]),
    ],
)
def test_a_scoped_name_is_one_part(path: bytes, parts: list[str]) -> None:
    assert parts_of(b"/api/packages" + path) == parts


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b"/",
        b"/a//b",
        b"/a%2fb",
        b"/a%00",
        b"/%ff",
        b"/@a%2fb%2fc",
        b"/..%2f..%2fetc",
        b"/a/b/c/d/e/f/g/h/i/j/k/l/m",
    ],
)
def test_paths_that_are_none_of_ours(path: bytes) -> None:
    assert parts_of(b"/api/packages" + path) is None


def test_every_route_is_found_by_its_own_path() -> None:
    table: PathTable[Route] = PathTable()
    for (method, path), route in ROUTES.items():
        table.add(method, path, route)
    for (method, path), route in ROUTES.items():
        parts = parts_of(b"/api/packages" + path.replace("{", "x-").replace("}", "").encode())
        assert parts is not None
        found = table.match(method, parts)
        assert isinstance(found, Found), path
        assert found.target is route, path
