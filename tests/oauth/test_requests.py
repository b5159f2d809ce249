"""Authorization requests: what is refused, and whether the app may hear of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oauth.conftest import CALLBACK, CHALLENGE
from wit.oauth.errors import OAuthError
from wit.oauth.requests import Refused, client_of, read_request

APP: dict[str, Any] = {
    "id": "1",
    "callback_url": CALLBACK,
    "additional_callback_urls": ["http://127.0.0.1/cb"],
    "is_confidential": True,
}
FIELDS = {
    "client_id": "wit_app_1",
    "redirect_uri": CALLBACK,
    "response_type": "code",
    "scope": "repo:read",
    "state": "s",
}
PKCE = {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}


def test_a_request() -> None:
    asked = read_request(FIELDS | PKCE | {"nonce": "n", "max_age": "60", "prompt": "none"}, APP)
    assert asked.redirect_uri == CALLBACK and asked.scopes.names == ("repo:read",)
    assert (asked.state, asked.nonce, asked.max_age) == ("s", "n", 60)
    assert asked.code_challenge == CHALLENGE and asked.prompt == {"none"}
    assert read_request(FIELDS, APP).code_challenge is None, "a confidential app may do without"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": None}, "invalid_request"), ({"redirect_uri": None}, "invalid_request"),
        ({"scope": None}, "invalid_request"), ({"response_type": None}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"redirect_uri": CALLBACK + "/"}, "invalid_request"),
        ({"redirect_uri": "https://evil.example/"}, "invalid_request"),
        ({"state": "x" * 3000}, "invalid_request"), ({"max_age": "soon"}, "invalid_request"),
    ],
)  # fmt: skip
def test_nobody_is_redirected_to_an_address_that_is_not_proven(changes, error: str) -> None:
    fields = {name: value for name, value in (FIELDS | changes).items() if value is not None}
    with pytest.raises(OAuthError) as refused:
        client_of(fields)
        read_request(fields, APP)
    assert refused.value.error == error and not isinstance(refused.value, Refused)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"scope": "admin:all root"}, "invalid_scope"),
        ({"code_challenge": CHALLENGE}, "invalid_request"),
        ({"code_challenge": CHALLENGE, "code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge": CHALLENGE, "code_challenge_method": "s256"}, "invalid_request"),
        ({"code_challenge": "short", "code_challenge_method": "S256"}, "invalid_request"),
        ({"code_challenge_method": "S256"}, "invalid_request"),
        ({"request": "eyJ"}, "request_not_supported"),
        ({"request_uri": "https://x"}, "request_uri_not_supported"),
        ({"response_mode": "fragment"}, "invalid_request"),
        ({"nonce": "a\0b"}, "invalid_request"), ({"nonce": "n" * 501}, "invalid_request"),
    ],
)  # fmt: skip
@pytest.mark.attack(47)
def test_what_the_app_hears_of(changes, error: str) -> None:
    with pytest.raises(Refused) as refused:
        read_request(FIELDS | changes, APP)
    assert refused.value.error == error
    assert (refused.value.redirect_uri, refused.value.state) == (CALLBACK, "s")


@pytest.mark.attack(47)
def test_an_app_without_a_secret_must_use_pkce() -> None:
    with pytest.raises(Refused, match="code_challenge"):
        read_request(FIELDS, APP | {"is_confidential": False})
    assert read_request(FIELDS | PKCE, APP | {"is_confidential": False})
