from __future__ import annotations

import re
from hashlib import sha256

import pytest

from tests.oauth.conftest import CALLBACK, World
from wit.db.port import Row
from wit.errors import Invalid, NotFound
from wit.oauth.errors import InvalidClient


def test_an_app_is_verified_as_it_is(world: World, ada: str) -> None:
    app = world.app(ada)[0]
    apps = world.provider.apps
    assert world.run(apps.set_verified(app["client_id"], True))["is_verified"]
    assert world.run(apps.update(ada, app["id"], {"is_published": True}))["is_verified"]
    assert not world.run(apps.update(ada, app["id"], {"name": "Your bank"}))["is_verified"]
    world.run(apps.set_verified(app["client_id"], True))
    assert not world.run(apps.set_verified(app["client_id"], False))["is_verified"]
    with pytest.raises(NotFound):
        world.run(apps.set_verified("wit_app_nobody", True))


def test_a_new_app(world: World, ada: str) -> None:
    links = {"website_url": "https://app.example/"}
    app, secret = world.app(ada, name=" My app ", description="Does it", links=links)
    assert app["name"] == "My app" and app["description"] == "Does it"
    assert re.fullmatch(r"wit_app_[0-9a-f]{20}", app["client_id"])
    assert re.fullmatch(r"witsec_[0-9a-f]{40}", secret)
    assert app["client_secret_hash"] == sha256(secret.encode()).hexdigest()
    assert app["client_secret_prefix"] == secret[:12]
    assert app["is_confidential"] and not app["is_published"] and not app["is_verified"]
    assert world.run(world.provider.apps.of_owner(ada)) == [app]


@pytest.mark.parametrize(
    "values",
    [
        {"name": " "}, {"name": "a\nb"}, {"name": "x" * 101}, {"callback_url": "http://evil.example"},
        {"additional_callback_urls": ["javascript:x"]}, {"links": {"logo_url": "javascript:x"}},
        {"additional_callback_urls": [f"https://a.example/{n}" for n in range(11)]},
    ],
)  # fmt: skip
def test_apps_that_are_refused(world: World, ada: str, values) -> None:
    with pytest.raises(Invalid):
        world.app(ada, **values)
    assert world.run(world.provider.apps.of_owner(ada)) == []


def test_a_user_has_25_apps_at_most(world: World, ada: str) -> None:
    for _ in range(25):
        world.app(ada)
    with pytest.raises(Invalid, match="25"):
        world.app(ada)
    world.app(world.user("bob"))
    with pytest.raises(NotFound):
        world.app("nobody")


def test_changes(world: World, ada: str, app: Row) -> None:
    apps, run = world.provider.apps, world.run
    world.later(hours=1)
    changed = run(
        apps.update(
            ada,
            app["id"],
            {"name": "New", "logo_url": "https://x.example/l", "is_published": True},
        )
    )
    assert (changed["name"], changed["logo_url"]) == ("New", "https://x.example/l")
    assert changed["is_published"] and changed["updated_at"] == world.time
    assert run(apps.update(ada, app["id"], {"logo_url": None}))["logo_url"] is None
    for wrong in ({"callback_url": "x"}, {"name": ""}, {"website_url": "data:x"},
                  {"additional_callback_urls": ["ftp://x"]}):  # fmt: skip
        with pytest.raises(Invalid):
            run(apps.update(ada, app["id"], wrong))


def test_other_peoples_apps_are_not_there(world: World, ada: str, app: Row) -> None:
    apps, run, bob = world.provider.apps, world.run, world.user("bob")
    for attempt in (
        lambda who: apps.get(who, app["id"]),
        lambda who: apps.update(who, app["id"], {"name": "x"}),
        lambda who: apps.regenerate_secret(who, app["id"]),
        lambda who: apps.installations(who, app["id"], 10, 0),
        lambda who: apps.delete(who, app["id"]),
    ):
        with pytest.raises(NotFound):
            run(attempt(bob))
        run(attempt(ada))
    assert run(apps.of_owner(ada)) == []


def test_what_everybody_sees(world: World, ada: str, app: Row) -> None:
    apps, run = world.provider.apps, world.run
    other, _ = world.app(ada, name="100% Other_App", description="Counts things")
    with pytest.raises(NotFound):
        run(apps.get_published(app["id"]))
    assert run(apps.popular(10, 0)) == [] and run(apps.search("example", 10)) == []
    for one in (app, other):
        run(apps.update(ada, one["id"], {"is_published": True}))
    world.tokens(other, world.user("bob"))
    assert run(apps.get_published(app["id"]))["name"] == "Example"
    assert [row["name"] for row in run(apps.popular(10, 0))] == ["100% Other_App", "Example"]
    assert [row["name"] for row in run(apps.popular(1, 1))] == ["Example"]
    for text, found in (("EXAM", 1), ("counts", 1), ("0%", 1), ("r_a", 1), ("%", 1), ("_", 1),
                        ("e", 2), ("\\", 0), ("x%e", 0)):  # fmt: skip
        assert len(run(apps.search(text, 10))) == found, text


@pytest.mark.attack(45)
def test_an_app_proves_to_be_itself(world: World, ada: str) -> None:
    app, secret = world.app(ada)
    public, unneeded = world.app(ada, confidential=False)
    authenticate, run = world.provider.apps.authenticate, world.run
    assert run(authenticate(app["client_id"], secret)) == app
    assert run(authenticate(public["client_id"], None)) == public
    assert run(authenticate(public["client_id"], unneeded)) == public
    for client_id, wrong in (
        (app["client_id"], None), (app["client_id"], ""), (app["client_id"], secret[:-1]),
        (app["client_id"], secret.upper()), (app["client_id"], unneeded),
        (app["client_id"], app["client_secret_hash"]), (public["client_id"], secret),
        ("wit_app_" + "0" * 20, secret), ("", None), ("x\0", None), (app["id"], secret),
    ):  # fmt: skip
        with pytest.raises(InvalidClient):
            run(authenticate(client_id, wrong))


def test_a_new_secret_replaces_the_old_one_and_leaves_tokens_alone(world: World, ada: str) -> None:
    app, old = world.app(ada)
    issued = world.tokens(app, ada)
    new = world.run(world.provider.apps.regenerate_secret(ada, app["id"]))
    with pytest.raises(InvalidClient):
        world.run(world.provider.apps.authenticate(app["client_id"], old))
    assert world.run(world.provider.apps.authenticate(app["client_id"], new))["id"] == app["id"]
    assert world.works(issued.access_token)


def test_with_an_app_goes_all_that_was_granted_to_it(world: World, ada: str, app: Row) -> None:
    issued = world.tokens(app, ada)
    code = world.code(app, ada)
    world.run(world.provider.apps.delete(ada, app["id"]))
    assert not world.works(issued.access_token)
    assert world.run(world.provider.authorizations.of_user(ada)) == []
    with pytest.raises(Exception, match="unknown"):
        world.redeem(app, code)


def test_with_its_owner_goes_the_app(world: World, ada: str) -> None:
    owner = world.user("owner")
    app, _ = world.app(owner, callback_url=CALLBACK)
    issued = world.tokens(app, ada)
    world.run(world.users.delete(owner))
    assert not world.works(issued.access_token)


def test_installations(world: World, ada: str, app: Row) -> None:
    bob = world.user("bob")
    for user, scope in ((ada, "repo:read"), (bob, "repo:read"), (bob, "openid user:read")):
        world.later(seconds=1)
        world.tokens(app, user, scope=scope)
    apps, run = world.provider.apps, world.run
    total, rows = run(apps.installations(ada, app["id"], 10, 0))
    assert total == 2 and [row["user_id"] for row in rows] == [bob, ada]
    assert rows[0]["scopes"] == ["user:read", "repo:read"], "what was granted adds up"
    assert run(apps.get(ada, app["id"]))["installations_count"] == 2
    assert [row["user_id"] for row in run(apps.installations(ada, app["id"], 1, 1))[1]] == [ada]
    run(world.provider.authorizations.revoke(bob, rows[0]["id"]))
    assert run(apps.get(ada, app["id"]))["installations_count"] == 1
