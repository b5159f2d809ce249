"""Scopes, PKCE and the forms of identifiers: pure."""

from __future__ import annotations

import re

import attrs
import pytest

from tests.oauth.conftest import CHALLENGE, VERIFIER
from wit.oauth import formats
from wit.oauth.openid import at_hash
from wit.oauth.pkce import is_challenge, proves
from wit.oauth.scopes import Scopes
from wit.redaction import redact
from wit.runtime import Runtime


def test_scopes_are_read_in_any_order_and_unknown_ones_dropped() -> None:
    scopes = Scopes.parse("repo:write  nonsense user:read repo:write")
    assert scopes.names == ("user:read", "repo:write") and not scopes.openid
    assert str(scopes) == "user:read repo:write"
    assert not Scopes.parse("nonsense admin:all")


def test_names_of_openid_connect() -> None:
    scopes = Scopes.parse("openid profile email")
    assert scopes.openid and scopes.names == ("user:read", "user:email")
    assert str(scopes) == "openid profile email user:read user:email"
    assert str(Scopes.parse("openid")) == "openid" and Scopes.parse("openid")
    assert [name for name, _ in scopes.descriptions()] == ["openid", "user:read", "user:email"]


def test_less_is_less() -> None:
    granted = Scopes.parse("openid user:read repo:read")
    assert Scopes.parse("repo:read") <= granted and granted <= granted
    assert not Scopes.parse("repo:write") <= granted
    assert not granted <= Scopes.parse("user:read repo:read")


def test_pkce_example_of_the_rfc() -> None:
    """RFC 7636, appendix B."""
    assert proves(
        "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    )


@pytest.mark.attack(47)
def test_pkce_proves_nothing_else() -> None:
    assert proves(VERIFIER, CHALLENGE) and is_challenge(CHALLENGE)
    for wrong in (None, "", "x" * 43, VERIFIER[:-1], VERIFIER + "v", CHALLENGE, "ü" * 43):
        assert not proves(wrong, CHALLENGE)
    assert not proves(VERIFIER, VERIFIER), "plain"
    assert proves(None, None) and not proves(VERIFIER, None), "the challenge was cut out"
    for wrong in ("", "short", CHALLENGE + "=", CHALLENGE[:-1] + "+", "x" * 44):
        assert not is_challenge(wrong)


def test_forms(runtime: Runtime) -> None:
    for made, form in (
        (formats.new_client_id(runtime), r"wit_app_[0-9a-f]{20}"),
        (formats.new_client_secret(runtime), r"witsec_[0-9a-f]{40}"),
        (formats.new_code(runtime), r"[0-9a-f]{32}"),
        (formats.new_access_token(runtime), r"wit_oauth_[0-9a-f]{40}"),
        (formats.new_refresh_token(runtime), r"wit_refresh_[0-9a-f]{40}"),
        (formats.new_device_code(runtime), r"wit_device_[0-9a-f]{40}"),
        (formats.new_user_code(runtime), r"[B-DF-HJ-NP-TV-XZ]{4}-[B-DF-HJ-NP-TV-XZ]{4}"),
    ):
        assert re.fullmatch(form, made)
    assert formats.is_access_token(formats.new_access_token(runtime))
    assert not formats.is_access_token(formats.new_refresh_token(runtime))
    assert not formats.is_access_token("wit_" + "0" * 40)


def test_user_codes_use_every_letter_alike() -> None:
    feed = iter(range(10**6))
    counting = attrs.evolve(
        Runtime(None), random_bytes=lambda n: bytes(next(feed) % 256 for _ in range(n))
    )
    letters = "".join(formats.new_user_code(counting) for _ in range(3000)).replace("-", "")
    counts = [letters.count(letter) for letter in formats.USER_CODE_LETTERS]
    assert sum(counts) == 24000 and max(counts) - min(counts) < 200


def test_user_codes_as_people_type_them() -> None:
    for typed in ("BCDF-GHJK", "bcdf ghjk", " bcdfghjk ", "b-c-d-f-g-h-j-k"):
        assert formats.read_user_code(typed) == "BCDF-GHJK"
    for typed in ("", "BCDF", "ABCD-EFGH", "BCDF-GHJKL", "BCDF-GHJ1", "ÄCDF-GHJK", "x" * 500):
        assert formats.read_user_code(typed) is None


def test_secrets_are_masked_in_logs(runtime: Runtime) -> None:
    for make in (
        formats.new_client_secret,
        formats.new_access_token,
        formats.new_refresh_token,
        formats.new_device_code,
    ):
        secret = make(runtime)
        assert secret[-40:] not in redact(f"x {secret} y")


def test_at_hash_example() -> None:
    """From OpenID Connect Core 1.0, appendix A.3."""
    assert at_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y") == "77QmUPtjPfzWtF2AnpK9RQ"
