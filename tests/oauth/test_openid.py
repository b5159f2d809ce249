"""ID tokens and the keys that sign them."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from sqlalchemy import select

from tests.oauth.conftest import ISSUER, World
from wit.accounts.secrets import Secrets
from wit.db.port import Row
from wit.db.tables import signing_keys
from wit.oauth.openid import at_hash
from wit.oauth.signing_keys import SigningKeys


def claims_of(world: World, token: str) -> dict:
    keys = KeySet.import_key_set({"keys": world.run(world.provider.keys.published())})
    return jwt.decode(token, keys, algorithms=["RS256"]).claims


def test_an_id_token(world: World, ada: str, app: Row) -> None:
    issued = world.tokens(app, ada, scope="openid")
    signed_in = world.time - timedelta(minutes=5)
    token = world.run(world.provider.openid.id_token(app, issued, "n", signed_in))
    now = int(world.time.timestamp())
    assert claims_of(world, token) == {
        "iss": ISSUER,
        "sub": ada,
        "aud": app["client_id"],
        "iat": now,
        "exp": now + 3600,
        "at_hash": at_hash(issued.access_token),
        "nonce": "n",
        "auth_time": int(signed_in.timestamp()),
    }


def test_userinfo_says_what_the_scopes_allow(world: World, ada: str, app: Row) -> None:
    def userinfo(scope: str) -> dict:
        issued = world.tokens(app, ada, scope=scope)
        row = world.run(world.provider.tokens.verify(issued.access_token))
        return world.run(world.provider.openid.userinfo(row))

    assert userinfo("openid") == {"sub": ada}
    assert userinfo("openid email") == {
        "sub": ada, "email": "ada@example.org", "email_verified": False
    }  # fmt: skip
    profile = userinfo("openid profile")
    assert profile["preferred_username"] == "ada" and profile["profile"] == f"{ISSUER}/ada"
    assert "email" not in profile and "picture" not in profile


def test_the_private_key_is_sealed_and_not_published(world: World) -> None:
    token = world.run(world.provider.keys.sign({"x": 1}))
    row = world.run(world.db.fetch_one(select(signing_keys)))
    (public,) = world.run(world.provider.keys.published())
    assert public["kid"] == row["id"] and public["use"] == "sig" and public["alg"] == "RS256"
    assert set(public) == {"kty", "n", "e", "kid", "use", "alg"}
    private = json.loads(
        Secrets("k" * 32, world.runtime.random_bytes).open(row["encrypted_private_key"])
    )
    assert private["d"] not in row["encrypted_private_key"] + json.dumps(row["public_jwk"])
    assert claims_of(world, token)["x"] == 1


@pytest.mark.attack(49)
def test_keys_follow_each_other(world: World) -> None:
    keys, run = world.provider.keys, world.run

    def kids() -> list[str]:
        return [jwk["kid"] for jwk in run(keys.published())]

    run(keys.rotate())
    assert run(world.db.fetch_all(select(signing_keys))) == [], "made when first needed"
    old_token = run(keys.sign({"x": "old"}))
    (old,) = kids()
    run(keys.rotate())
    assert kids() == [old]
    world.later(days=84)
    run(keys.rotate())
    new = kids()[1]
    assert kids() == [old, new], "published a week before it signs"
    claims_of(world, old_token)
    assert jwt_kid(run(keys.sign({}))) == old
    world.later(days=6, hours=1)
    assert jwt_kid(run(keys.sign({}))) == new
    run(keys.rotate())
    assert kids() == [old, new], "what it has signed may still be valid"
    world.later(days=1)
    run(keys.rotate())
    assert kids() == [new]
    with pytest.raises((JoseError, ValueError)):
        claims_of(world, old_token)
    world.later(days=400)
    run(keys.rotate())
    assert jwt_kid(run(keys.sign({}))) not in (old, new), "after a long sleep, too"


def test_another_daemon_and_another_encryption_key(world: World) -> None:
    token = world.run(world.provider.keys.sign({"x": 1}))
    beside = SigningKeys(world.db, world.runtime, Secrets("k" * 32, world.runtime.random_bytes))
    assert jwt_kid(world.run(beside.sign({}))) == jwt_kid(token)
    stranger = SigningKeys(world.db, world.runtime, Secrets("x" * 32, world.runtime.random_bytes))
    signed = world.run(stranger.sign({"x": 2}))
    assert jwt_kid(signed) != jwt_kid(token)
    assert claims_of(world, signed)["x"] == 2 and claims_of(world, token)["x"] == 1


def jwt_kid(token: str) -> str:
    from base64 import urlsafe_b64decode

    return json.loads(urlsafe_b64decode(token.split(".")[0] + "=="))["kid"]
