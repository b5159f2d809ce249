from __future__ import annotations

import pytest

from tests.oauth.conftest import World
from wit.db.port import Row
from wit.errors import NotFound, RateLimited, Unavailable
from wit.oauth import devices as devices_module
from wit.oauth.devices import Started
from wit.oauth.errors import OAuthError
from wit.oauth.scopes import Scopes


def start(world: World, app: Row, scope: str = "openid repo:read") -> Started:
    started: Started = world.run(world.provider.devices.start(app, Scopes.parse(scope)))
    return started


def asked(world: World, app: Row, device_code: str) -> str:
    """The error of a poll."""
    with pytest.raises(OAuthError) as refused:
        world.run(world.provider.devices.poll(app, device_code))
    return refused.value.error


def test_a_device_gets_tokens_when_its_user_agrees(world: World, ada: str, app: Row) -> None:
    devices, run = world.provider.devices, world.run
    started = start(world, app)
    assert asked(world, app, started.device_code) == "authorization_pending"
    shown = run(devices.find(started.user_code.lower().replace("-", " "), ada))
    assert shown["id"] == app["id"] and shown["name"] == "Example"
    assert (shown["scopes"], shown["openid"]) == (["repo:read"], True)
    run(devices.decide(started.user_code, ada, approved=True))
    world.later(seconds=5)
    issued = run(devices.poll(app, started.device_code))
    assert world.works(issued.access_token) and issued.user_id == ada
    assert str(issued.scopes) == "openid repo:read"
    (row,) = run(world.provider.authorizations.of_user(ada))
    assert row["scopes"] == ["repo:read"]
    with pytest.raises(NotFound):
        run(devices.find(started.user_code, ada))


def test_a_device_code_is_good_once(world: World, ada: str, app: Row) -> None:
    started = start(world, app)
    world.run(world.provider.devices.decide(started.user_code, ada, approved=True))
    issued = world.run(world.provider.devices.poll(app, started.device_code))
    assert asked(world, app, started.device_code) == "invalid_grant"
    assert not world.works(issued.access_token), "somebody else has seen the code"


def test_the_user_says_no(world: World, ada: str, app: Row) -> None:
    started = start(world, app)
    world.run(world.provider.devices.decide(started.user_code, ada, approved=False))
    assert asked(world, app, started.device_code) == "access_denied"
    with pytest.raises(NotFound):
        world.run(world.provider.devices.decide(started.user_code, ada, approved=True))
    assert asked(world, app, started.device_code) == "access_denied"
    assert world.run(world.provider.authorizations.of_user(ada)) == []


def test_asking_too_often(world: World, app: Row) -> None:
    started = start(world, app)
    assert asked(world, app, started.device_code) == "authorization_pending"
    world.later(seconds=2)
    assert asked(world, app, started.device_code) == "slow_down"
    world.later(seconds=5)
    assert asked(world, app, started.device_code) == "slow_down", "now it is every ten seconds"
    world.later(seconds=15)
    assert asked(world, app, started.device_code) == "authorization_pending"


def test_device_codes_expire_and_belong_to_their_app(world: World, ada: str, app: Row) -> None:
    started = start(world, app)
    other, _ = world.app(ada)
    assert asked(world, other, started.device_code) == "invalid_grant"
    assert asked(world, app, "wit_device_" + "0" * 40) == "invalid_grant"
    world.later(minutes=10)
    assert asked(world, app, started.device_code) == "expired_token"
    with pytest.raises(NotFound):
        world.run(world.provider.devices.decide(started.user_code, ada, approved=True))
    world.later(days=2)
    world.run(world.provider.sweep())
    assert asked(world, app, started.device_code) == "invalid_grant"


def test_no_tokens_for_who_is_suspended_or_has_changed_its_mind(
    world: World, ada: str, app: Row
) -> None:
    started = start(world, app)
    world.run(world.provider.devices.decide(started.user_code, ada, approved=True))
    world.run(world.users.suspend(ada, "test"))
    assert asked(world, app, started.device_code) == "access_denied"
    world.run(world.users.resume(ada))
    (row,) = world.run(world.provider.authorizations.of_user(ada))
    world.run(world.provider.authorizations.revoke(ada, row["id"]))
    assert asked(world, app, started.device_code) == "invalid_grant"


def test_guessing_user_codes_is_slowed_down(world: World, ada: str, app: Row) -> None:
    started = start(world, app)
    for _ in range(10):
        with pytest.raises(NotFound):
            world.run(world.provider.devices.find("BBBB-BBBB", ada))
    with pytest.raises(RateLimited):
        world.run(world.provider.devices.find(started.user_code, ada))
    assert world.run(world.provider.devices.find(started.user_code, world.user("bob")))


def test_waiting_codes_are_limited(world: World, app: Row, monkeypatch) -> None:
    monkeypatch.setattr(devices_module, "MAX_PENDING", 2)
    start(world, app), start(world, app)
    with pytest.raises(Unavailable):
        start(world, app)
    world.later(minutes=10)
    assert start(world, app)
    with pytest.raises(OAuthError, match="scope"):
        start(world, app, "nonsense")
