"""What the scopes of each kind of token contain."""

from __future__ import annotations

import pytest

from wit.access.actor import (
    OAUTH_SCOPES,
    SCOPES,
    TOKEN_SCOPES,
    Level,
    oauth_scopes,
    token_scopes,
)


def test_all_scopes_are_known() -> None:
    assert {*TOKEN_SCOPES, *OAUTH_SCOPES} == SCOPES
    for expand in (token_scopes, oauth_scopes):
        assert expand(frozenset()) == frozenset()
        assert expand(SCOPES) == SCOPES
        for scope in SCOPES:
            assert scope in expand(frozenset({scope}))
            assert expand(frozenset({scope})) <= SCOPES


@pytest.mark.attack(53)
@pytest.mark.parametrize(
    ("scope", "also"),
    [
        ("repo:read", {"issue:read", "pull:read", "workflow:read"}),
        ("repo:write", {"issue:write", "pull:write", "workflow:write"}),
        ("repo:admin", {"webhook:read", "webhook:write"}),
        ("user:read", {"user:email", "org:read"}),
        ("user:write", {"org:write"}),
        ("packages:read", set()),
        ("packages:write", set()),
        ("sandbox", set()),
    ],
)
def test_personal_tokens(scope: str, also: set[str]) -> None:
    """None of their scopes implies another of them."""
    assert token_scopes(frozenset({scope})) == {scope, *also}


@pytest.mark.attack(53)
@pytest.mark.parametrize(
    ("scope", "also"),
    [
        ("repo:read", {"issue:read", "pull:read", "workflow:read"}),
        (
            "repo:write",
            {"repo:read", "issue:read", "pull:read", "workflow:read"}
            | {"issue:write", "pull:write", "workflow:write"},
        ),
        ("issue:write", {"issue:read"}),
        ("webhook:write", {"webhook:read"}),
        ("org:write", {"org:read"}),
        ("user:read", set()),
        ("user:email", set()),
        ("sandbox", set()),
    ],
)
def test_oauth_tokens(scope: str, also: set[str]) -> None:
    """A scope of at least the level will do, and nothing beyond its subject comes with it."""
    assert oauth_scopes(frozenset({scope})) == {scope, *also}


OTHERS = ("user", "org", "packages", "sandbox")
"""What scopes are about that are not about repositories alone."""


def test_an_oauth_token_for_everything_of_repositories() -> None:
    others = {scope for scope in SCOPES if scope.split(":")[0] in OTHERS}
    assert oauth_scopes(frozenset({"repo:admin"})) == SCOPES - others


def test_levels_and_their_scopes() -> None:
    assert [level.scope for level in Level if level] == [
        "repo:read",
        "repo:write",
        "repo:admin",
        "repo:admin",
    ]
