from __future__ import annotations

import pytest
from sqlalchemy import func, select
from twisted.internet.defer import Deferred, DeferredList

from tests.oauth.conftest import CALLBACK, VERIFIER, World
from wit.db.port import Row
from wit.db.tables import oauth_authorization_codes
from wit.oauth.errors import InvalidGrant


def test_a_code_gives_tokens(world: World, ada: str, app: Row) -> None:
    code = world.code(app, ada, nonce="n", scope="openid repo:read")
    redeemed = world.run(world.provider.codes.redeem(app, code, CALLBACK, VERIFIER))
    assert redeemed.nonce == "n" and redeemed.signed_in_at == world.time
    issued = redeemed.issued
    assert issued.scopes.names == ("repo:read",) and issued.scopes.openid
    assert issued.user_id == ada and issued.expires_in == 8 * 3600
    row = world.run(world.provider.tokens.verify(issued.access_token))
    assert (row["user_id"], row["scopes"], row["openid"]) == (ada, ["repo:read"], True)
    assert row["client_id"] == app["client_id"]


@pytest.mark.attack(47)
def test_the_code_is_bound_to_app_address_and_challenge(world: World, ada: str, app: Row) -> None:
    other, _ = world.app(ada)
    code = world.code(app, ada)
    for use in (
        lambda: world.redeem(other, code),
        lambda: world.redeem(app, code, redirect_uri=CALLBACK + "/"),
        lambda: world.redeem(app, code, verifier="x" * 43),
        lambda: world.redeem(app, code, verifier=None),
        lambda: world.redeem(app, code[:-1]),
        lambda: world.redeem(app, ""),
    ):
        with pytest.raises(InvalidGrant):
            use()
    assert world.works(world.redeem(app, code).access_token), "none of these has used it up"


@pytest.mark.attack(47)
def test_a_code_lives_for_a_minute(world: World, ada: str, app: Row) -> None:
    early, late = world.code(app, ada), world.code(app, ada)
    world.later(seconds=59)
    world.redeem(app, early)
    world.later(seconds=1)
    with pytest.raises(InvalidGrant, match="expired"):
        world.redeem(app, late)


@pytest.mark.attack(47)
def test_a_code_that_comes_twice_revokes_what_it_gave(world: World, ada: str, app: Row) -> None:
    other = world.tokens(app, ada)
    code = world.code(app, ada)
    first = world.redeem(app, code)
    second = world.run(world.provider.tokens.refresh(app, first.refresh_token))
    world.later(minutes=30)
    with pytest.raises(InvalidGrant, match="used before"):
        world.redeem(app, code, verifier="wrong")
    assert not world.works(first.access_token) and not world.works(second.access_token)
    with pytest.raises(InvalidGrant):
        world.run(world.provider.tokens.refresh(app, second.refresh_token))
    assert world.works(other.access_token), "another consent is none of its business"


def test_of_many_at_once_one_gets_tokens_and_they_are_revoked(
    world: World, ada: str, app: Row
) -> None:
    code = world.code(app, ada)
    redeem = world.provider.codes.redeem

    async def race():
        return await DeferredList(
            [Deferred.fromCoroutine(redeem(app, code, CALLBACK, VERIFIER)) for _ in range(5)],
            consumeErrors=True,
        )

    results = world.run(race())
    won = [value for good, value in results if good]
    assert len(won) == 1
    assert all(value.check(InvalidGrant) for good, value in results if not good)
    assert not world.works(won[0].issued.access_token)


def test_no_tokens_for_a_suspended_user_or_after_a_change_of_mind(
    world: World, ada: str, app: Row
) -> None:
    code, late = world.code(app, ada), world.code(app, ada)
    world.run(world.users.suspend(ada, "test"))
    with pytest.raises(InvalidGrant, match="suspended"):
        world.redeem(app, code)
    world.run(world.users.resume(ada))
    assert world.works(world.redeem(app, code).access_token)
    (row,) = world.run(world.provider.authorizations.of_user(ada))
    world.run(world.provider.authorizations.revoke(ada, row["id"]))
    world.tokens(app, ada)  # granted anew; the old code stays dead
    with pytest.raises(InvalidGrant):
        world.redeem(app, late)


def test_old_codes_are_forgotten(world: World, ada: str, app: Row) -> None:
    world.code(app, ada)
    count = select(func.count()).select_from(oauth_authorization_codes)
    world.later(hours=1)
    world.run(world.provider.codes.sweep())
    assert world.run(world.db.fetch_value(count)) == 1
    world.later(days=1)
    world.run(world.provider.codes.sweep())
    assert world.run(world.db.fetch_value(count)) == 0
