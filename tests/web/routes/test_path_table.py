"""Which route a path belongs to."""

from __future__ import annotations

import pytest

from wit.web.routes.path_table import Found, OtherMethods, PathTable


@pytest.fixture
def table() -> PathTable[str]:
    table: PathTable[str] = PathTable()
    for method, template in (
        ("GET", "/api/repos/{owner}/{repo}"),
        ("PUT", "/api/repos/starred/{owner}/{repo}"),
        ("GET", "/api/repos/{owner}/{repo}/branches"),
        ("PATCH", "/api/repos/{owner}/{name}"),
        ("GET", "/api/repos/{owner}/new"),
    ):
        table.add(method, template, f"{method} {template}")
    return table


def test_parameters_are_named_by_their_own_route(table: PathTable[str]) -> None:
    assert table.find("GET", b"/api/repos/a/b") == Found(
        "GET /api/repos/{owner}/{repo}", {"owner": "a", "repo": "b"}
    )
    assert table.find("PATCH", b"/api/repos/a/b") == Found(
        "PATCH /api/repos/{owner}/{name}", {"owner": "a", "name": "b"}
    )


def test_a_literal_wins_over_a_parameter(table: PathTable[str]) -> None:
    assert table.find("GET", b"/api/repos/a/new") == Found(
        "GET /api/repos/{owner}/new", {"owner": "a"}
    )


def test_where_the_literal_leads_nowhere_the_parameter_is_tried(table: PathTable[str]) -> None:
    """``starred`` as an owner, and a method that only the route with the parameter has."""
    assert table.find("GET", b"/api/repos/starred/x/branches") == Found(
        "GET /api/repos/{owner}/{repo}/branches", {"owner": "starred", "repo": "x"}
    )
    assert table.find("PATCH", b"/api/repos/a/new") == Found(
        "PATCH /api/repos/{owner}/{name}", {"owner": "a", "name": "new"}
    )


def test_other_methods_of_all_routes_of_a_path(table: PathTable[str]) -> None:
    found = table.find("DELETE", b"/api/repos/a/new")
    assert isinstance(found, OtherMethods)
    assert set(found.routes) == {"GET", "PATCH"}


@pytest.mark.parametrize(
    "path",
    [
        b"/",
        b"/api/repos",
        b"/api/repos/a",
        b"/api/repos/a/b/",
        b"/api/repos//b",
        b"/api//repos/a/b",
        b"/api/repos/a/b/c",
        b"/api/repos/a/%2f",
        b"/api/repos/a%2Fb/c",
        b"/api/repos/a/b%00",
        b"/api/repos/a/%ff",
        b"api/repos/a/b",
    ],
)
def test_paths_without_a_route(table: PathTable[str], path: bytes) -> None:
    assert table.find("GET", path) is None


def test_segments_are_decoded_once(table: PathTable[str]) -> None:
    found = table.find("GET", b"/%61pi/repos/%C3%A4/%2525")
    assert isinstance(found, Found)
    assert found.values == {"owner": "ä", "repo": "%25"}


def test_a_route_cannot_be_taken_twice(table: PathTable[str]) -> None:
    with pytest.raises(ValueError, match="is taken"):
        table.add("GET", "/api/repos/{a}/{b}", "again")
