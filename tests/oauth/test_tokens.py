from __future__ import annotations

import pytest
from sqlalchemy import func, select
from twisted.internet.defer import Deferred, DeferredList

from tests.oauth.conftest import World
from wit.access.actor import Origin
from wit.db.port import Row
from wit.db.tables import oauth_access_tokens, oauth_refresh_tokens
from wit.errors import Forbidden, NotFound, Unauthorized
from wit.oauth.errors import InvalidGrant, OAuthError
from wit.oauth.tokens import Issued


def refresh(world: World, app: Row, secret: str, scope: str | None = None) -> Issued:
    issued: Issued = world.run(world.provider.tokens.refresh(app, secret, scope))
    return issued


def test_refreshing_gives_a_new_pair_and_ends_the_old_one(world: World, ada: str, app: Row) -> None:
    first = world.tokens(app, ada, scope="openid repo:read")
    second = refresh(world, app, first.refresh_token)
    assert second.access_token != first.access_token and second.scopes == first.scopes
    assert world.works(second.access_token) and not world.works(first.access_token)
    third = refresh(world, app, second.refresh_token)
    assert world.works(third.access_token) and not world.works(second.access_token)


def test_tokens_expire(world: World, ada: str, app: Row) -> None:
    first = world.tokens(app, ada)
    world.later(hours=8)
    assert not world.works(first.access_token)
    second = refresh(world, app, first.refresh_token)
    assert world.works(second.access_token)
    world.later(days=30)
    with pytest.raises(InvalidGrant, match="expired"):
        refresh(world, app, second.refresh_token)


@pytest.mark.attack(48)
def test_a_used_refresh_token_ends_the_family(world: World, ada: str, app: Row) -> None:
    first, other = world.tokens(app, ada), world.tokens(app, ada)
    second = refresh(world, app, first.refresh_token)
    third = refresh(world, app, second.refresh_token)
    world.later(seconds=11)
    with pytest.raises(InvalidGrant, match="used before"):
        refresh(world, app, first.refresh_token)
    assert not world.works(third.access_token)
    with pytest.raises(InvalidGrant):
        refresh(world, app, third.refresh_token)
    assert world.works(other.access_token)
    assert refresh(world, app, other.refresh_token), "another grant of the same user"


@pytest.mark.attack(48)
def test_a_client_that_lost_the_answer_may_come_again_once(
    world: World, ada: str, app: Row
) -> None:
    first = world.tokens(app, ada)
    lost = refresh(world, app, first.refresh_token)
    world.later(seconds=10)
    again = refresh(world, app, first.refresh_token)
    assert {lost.access_token, lost.refresh_token}.isdisjoint(
        {again.access_token, again.refresh_token}
    )
    assert world.works(again.access_token)
    with pytest.raises(InvalidGrant, match="used before"):
        refresh(world, app, first.refresh_token)
    assert not world.works(again.access_token) and not world.works(lost.access_token)


@pytest.mark.attack(48)
def test_no_grace_when_the_answer_was_not_lost(world: World, ada: str, app: Row) -> None:
    first = world.tokens(app, ada)
    second = refresh(world, app, first.refresh_token)
    world.later(seconds=2)
    third = refresh(world, app, second.refresh_token)
    world.later(seconds=2)
    with pytest.raises(InvalidGrant, match="used before"):
        refresh(world, app, first.refresh_token)
    assert not world.works(third.access_token)


def test_many_at_once_get_two_pairs_at_most_and_then_none(world: World, ada: str, app: Row) -> None:
    first = world.tokens(app, ada)
    use = world.provider.tokens.refresh

    async def race():
        return await DeferredList(
            [Deferred.fromCoroutine(use(app, first.refresh_token)) for _ in range(6)],
            consumeErrors=True,
        )

    results = world.run(race())
    pairs = [value for good, value in results if good]
    assert len(pairs) == 2
    assert not any(world.works(pair.access_token) for pair in pairs), "the third has ended all"


def test_less_can_be_asked_for_and_more_cannot(world: World, ada: str, app: Row) -> None:
    first = world.tokens(app, ada, scope="openid repo:read user:read")
    for more in ("repo:write", "repo:read repo:write", "", "nonsense"):
        with pytest.raises(OAuthError) as refused:
            refresh(world, app, first.refresh_token, more)
        assert refused.value.error == "invalid_scope"
    less = refresh(world, app, first.refresh_token, "repo:read")
    assert str(less.scopes) == "repo:read"
    row = world.run(world.provider.tokens.verify(less.access_token))
    assert row["scopes"] == ["repo:read"] and not row["openid"]
    whole = refresh(world, app, less.refresh_token)
    assert str(whole.scopes) == str(first.scopes), "the grant itself is as it was"


def test_refresh_tokens_of_others_and_wrong_ones(world: World, ada: str, app: Row) -> None:
    other, _ = world.app(ada)
    issued = world.tokens(app, ada)
    for client, secret in ((other, issued.refresh_token), (app, issued.access_token), (app, ""),
                           (app, "wit_refresh_" + "0" * 40), (app, "\0")):  # fmt: skip
        with pytest.raises(InvalidGrant):
            refresh(world, client, secret)
    world.run(world.users.suspend(ada, "test"))
    with pytest.raises(InvalidGrant, match="suspended"):
        refresh(world, app, issued.refresh_token)
    world.run(world.users.resume(ada))
    assert refresh(world, app, issued.refresh_token)


def test_revoking_an_authorization_ends_everything(world: World, ada: str, app: Row) -> None:
    issued = world.tokens(app, ada)
    bob = world.user("bob")
    others = world.tokens(app, bob)
    (row,) = world.run(world.provider.authorizations.of_user(ada))
    with pytest.raises(NotFound):
        world.run(world.provider.authorizations.revoke(bob, row["id"]))
    world.run(world.provider.authorizations.revoke(ada, row["id"]))
    assert not world.works(issued.access_token) and world.works(others.access_token)
    with pytest.raises(InvalidGrant):
        refresh(world, app, issued.refresh_token)
    with pytest.raises(NotFound):
        world.run(world.provider.authorizations.revoke(ada, row["id"]))


def test_revocation(world: World, ada: str, app: Row) -> None:
    """RFC 7009: of an access token alone, of a refresh token with the grant."""
    revoke, run = world.provider.tokens.revoke, world.run
    issued = world.tokens(app, ada)
    other, _ = world.app(ada)
    run(revoke(other, issued.access_token))
    run(revoke(other, issued.refresh_token))
    run(revoke(app, "wit_oauth_" + "0" * 40))
    run(revoke(app, "nonsense"))
    assert world.works(issued.access_token)
    run(revoke(app, issued.access_token))
    assert not world.works(issued.access_token)
    second = refresh(world, app, issued.refresh_token)
    run(revoke(app, second.refresh_token))
    assert not world.works(second.access_token)
    with pytest.raises(InvalidGrant):
        refresh(world, app, second.refresh_token)
    found = world.tokens(app, ada)
    run(revoke(None, found.access_token))
    assert not world.works(found.access_token), "whoever finds a token may end it"


def test_introspection(world: World, ada: str, app: Row) -> None:
    ask, run = world.provider.tokens.introspect, world.run
    issued = world.tokens(app, ada)
    other, _ = world.app(ada)
    for secret in (issued.access_token, issued.refresh_token):
        row = run(ask(app, secret))
        assert (row["user_id"], row["client_id"]) == (ada, app["client_id"])
        assert run(ask(other, secret)) is None
    refresh(world, app, issued.refresh_token)
    assert run(ask(app, issued.access_token)) is None
    assert run(ask(app, issued.refresh_token)) is None
    new = world.tokens(app, ada)
    run(world.users.suspend(ada, "test"))
    assert run(ask(app, new.access_token)) is None
    run(world.users.resume(ada))
    world.later(hours=8)
    assert run(ask(app, new.access_token)) is None and run(ask(app, new.refresh_token)) is not None
    world.later(days=30)
    assert run(ask(app, new.refresh_token)) is None


def test_sweeping_forgets_what_has_expired_but_not_what_gives_thieves_away(
    world: World, ada: str, app: Row
) -> None:
    def count(table) -> int:
        return world.run(world.db.fetch_value(select(func.count()).select_from(table)))

    first = world.tokens(app, ada)
    world.later(days=20)
    second = refresh(world, app, first.refresh_token)
    world.run(world.provider.sweep())
    assert (count(oauth_access_tokens), count(oauth_refresh_tokens)) == (2, 2)
    world.later(days=11)
    world.run(world.provider.sweep())
    assert (count(oauth_access_tokens), count(oauth_refresh_tokens)) == (1, 1)
    assert refresh(world, app, second.refresh_token)
    world.later(days=31)
    world.run(world.provider.sweep())
    assert (count(oauth_access_tokens), count(oauth_refresh_tokens)) == (0, 0)


# as a credential


def test_an_access_token_is_a_credential_for_what_was_granted(
    world: World, ada: str, app: Row
) -> None:
    issued = world.tokens(app, ada, scope="repo:write user:read")
    here, run = "192.0.2.1", world.run
    bearer = run(world.credentials.bearer(issued.access_token))
    assert bearer.user_id == ada and bearer.origin is Origin.OAUTH
    assert bearer.has_scope("repo:read") and bearer.has_scope("issue:write")
    assert not bearer.has_scope("repo:admin") and not bearer.has_scope("user:write")
    for name, password in (
        ("ada", issued.access_token), ("x-access-token", issued.access_token),
        ("ada@example.org", issued.access_token), (issued.access_token, ""),
        (issued.access_token, "x-oauth-basic"), ("", issued.access_token),
    ):  # fmt: skip
        assert run(world.credentials.basic(name, password, here)) == bearer
    world.user("bob")
    for name, password in (("bob", issued.access_token), ("ada", issued.refresh_token),
                           ("ada", "wit_oauth_" + "0" * 40)):  # fmt: skip
        with pytest.raises(Unauthorized):
            run(world.credentials.basic(name, password, here))
    for secret in (issued.refresh_token, "wit_oauth_" + "0" * 40, issued.access_token[:-1]):
        with pytest.raises(Unauthorized):
            run(world.credentials.bearer(secret))


def test_an_app_of_an_administrator_is_none(world: World, ada: str, app: Row) -> None:
    world.run(world.users.set_role(ada, "superadmin"))
    issued = world.tokens(app, ada, scope="repo:admin user:read org:write")
    actor = world.run(world.credentials.bearer(issued.access_token))
    assert not actor.is_admin and not actor.is_superadmin


def test_suspension_and_revocation_count_at_once(world: World, ada: str, app: Row) -> None:
    issued = world.tokens(app, ada)
    world.run(world.users.suspend(ada, "test"))
    with pytest.raises(Forbidden):
        world.run(world.credentials.bearer(issued.access_token))
    world.run(world.users.resume(ada))
    assert world.run(world.credentials.bearer(issued.access_token))
    world.run(world.provider.tokens.revoke(app, issued.access_token))
    with pytest.raises(Unauthorized):
        world.run(world.credentials.bearer(issued.access_token))


def test_last_use_is_written_later(world: World, ada: str, app: Row) -> None:
    issued = world.tokens(app, ada)
    used_at = select(oauth_access_tokens.c.last_used_at)
    world.run(world.credentials.bearer(issued.access_token))
    assert world.run(world.db.fetch_value(used_at)) is None
    world.run(world.last_use.flush())
    assert world.run(world.db.fetch_value(used_at)) == world.time
