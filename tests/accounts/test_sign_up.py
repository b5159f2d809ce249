from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import update
from twisted.internet.defer import Deferred, DeferredList

from tests.accounts.identity import World, make_world
from wit.accounts.sign_up import NewAccount, SignUpClosed
from wit.accounts.users import EmailTaken, NameTaken
from wit.db.tables import invitations
from wit.errors import Invalid, RateLimited

PASSWORD = "correct horse battery"


def sign_up(world: World, run, name: str = "ada", address: str = "192.0.2.1", **more):
    new = NewAccount(email=f"{name}@example.org", name=name.title(), username=name, **more)
    return run(world.identity.sign_up.register(new, PASSWORD, address))


def test_everybody_may_where_it_is_open(world: World, run) -> None:
    user = sign_up(world, run, profile={"bio": "b", "website": "https://example.org"})
    assert (user["username"], user["email"], user["role"]) == ("ada", "ada@example.org", "user")
    assert (user["name"], user["bio"], user["email_verified"]) == ("Ada", "b", False)
    actor = run(world.accounts.credentials.basic("ada", PASSWORD, "192.0.2.1"))
    assert actor.user_id == user["id"]
    with pytest.raises(NameTaken):
        run(
            world.identity.sign_up.register(
                NewAccount(email="other@example.org", name="x", username="ADA"), PASSWORD, "::1"
            )
        )
    with pytest.raises(EmailTaken):
        run(
            world.identity.sign_up.register(
                NewAccount(email="ADA@example.org", name="x", username="other"), PASSWORD, "::1"
            )
        )


def test_without_a_user_name_one_is_made(world: World, run) -> None:
    async def named(name: str, email: str):
        new = NewAccount(email=email, name=name)
        return await world.identity.sign_up.register(new, PASSWORD, email)

    assert run(named("Ada Lovelace", "a@example.org"))["username"] == "ada-lovelace"
    assert run(named("Ada  Lovelace!", "b@example.org"))["username"] == "ada-lovelace-2"
    assert run(named("Ωμέγα", "c@example.org"))["username"] == "user"
    assert run(named("", "d@example.org"))["username"] == "user-2"
    assert run(named("API", "e@example.org"))["username"] == "api-2"


def test_what_is_refused(world: World, run) -> None:
    for new in (
        NewAccount(email="nothing", name="a", username="ada"),
        NewAccount(email="a@example.org", name="a", username="api"),
        NewAccount(email="a@example.org", name="a\nb", username="ada"),
        NewAccount(email="a@example.org", name="a", username="ada", profile={"image": "data:x"}),
        NewAccount(email="a@example.org", name="a", username="ada",
                   profile={"website": "javascript:alert(1)"}),
        NewAccount(email="a@example.org", name="a", username="ada", profile={"bio": "b" * 501}),
    ):  # fmt: skip
        with pytest.raises(Invalid):
            run(world.identity.sign_up.register(new, PASSWORD, new.email + str(id(new))))
    assert run(world.accounts.users.count()) == 0


@pytest.mark.attack(51)
def test_one_address_makes_so_many_accounts(world: World, run) -> None:
    for number in range(5):
        sign_up(world, run, f"user{number}")
    with pytest.raises(RateLimited):
        sign_up(world, run, "user5")
    sign_up(world, run, "user6", address="192.0.2.2")


def test_the_first_user_is_the_administrator_and_the_only_one(database, runtime, run) -> None:
    world = make_world(database, runtime, sign_up="first-user")
    assert sign_up(world, run)["role"] == "superadmin"
    with pytest.raises(SignUpClosed, match="invitation"):
        sign_up(world, run, "bob")


def test_of_two_first_users_at_once_one_is(database, runtime, run) -> None:
    world = make_world(database, runtime, sign_up="first-user")

    async def both():
        return await DeferredList(
            [
                Deferred.fromCoroutine(
                    world.identity.sign_up.register(
                        NewAccount(email=f"{name}@example.org", name=name, username=name),
                        PASSWORD,
                        name,
                    )
                )
                for name in ("ada", "bob")
            ]
        )

    roles = sorted(user["role"] for worked, user in run(both()) if worked)
    assert roles == ["superadmin", "user"]


def test_an_administrator_made_otherwise_closes_it_too(database, runtime, run) -> None:
    world = make_world(database, runtime, sign_up="first-user")
    run(world.accounts.users.create("root", "root@example.org", role="admin"))
    with pytest.raises(SignUpClosed):
        sign_up(world, run)


@pytest.mark.parametrize("policy", ["invitation", "first-user"])
def test_by_invitation(database, runtime, run, policy) -> None:
    world = make_world(database, runtime, sign_up=policy)
    root = run(world.accounts.users.create("root", "root@example.org", role="admin"))
    run(world.identity.sign_up.invite("ada@example.org", root["id"]))
    link = run(world.link())
    assert link.startswith("http://localhost:3000/register?")
    (secret,) = parse_qs(urlsplit(link).query)["invitation"]
    with pytest.raises(SignUpClosed):
        sign_up(world, run, "ada")
    with pytest.raises(SignUpClosed):
        sign_up(world, run, "bob", invitation=secret)
    with pytest.raises(SignUpClosed):
        sign_up(world, run, "ada", address="192.0.2.3", invitation="x" * 40)
    user = sign_up(world, run, "ada", invitation=secret)
    assert user["email_verified"] and user["role"] == "user"
    with pytest.raises(EmailTaken):
        run(world.identity.sign_up.invite("ada@example.org", root["id"]))


def test_who_is_offered_an_account(database, runtime, run) -> None:
    world = make_world(database, runtime, sign_up="first-user")
    assert run(world.identity.sign_up.open_to_all())
    assert run(world.identity.sign_up.offered_to("")) == ""
    root = run(world.accounts.users.create("root", "root@example.org", role="admin"))
    run(world.identity.sign_up.invite("ada@example.org", root["id"]))
    (secret,) = parse_qs(urlsplit(run(world.link())).query)["invitation"]
    wrong = "x" * 40
    for policy, open_to_all, offers, refusals in (
        ("open", True, {secret: "ada@example.org", wrong: "", "": ""}, {}),
        ("invitation", False, {secret: "ada@example.org"}, {wrong: "ask for another", "": "need"}),
        ("first-user", False, {secret: "ada@example.org"}, {wrong: "ask for another", "": "need"}),
        ("closed", False, {}, dict.fromkeys((secret, wrong, ""), "does not take")),
    ):
        offering = make_world(database, runtime, sign_up=policy).identity.sign_up
        assert run(offering.open_to_all()) == open_to_all
        for invitation, email in offers.items():
            assert run(offering.offered_to(invitation)) == email
        for invitation, why in refusals.items():
            with pytest.raises(SignUpClosed, match=why):
                run(offering.offered_to(invitation))
    world.clock.advance(days=8)
    with pytest.raises(SignUpClosed):
        run(world.identity.sign_up.offered_to(secret))


def test_an_invitation_lasts_a_week_and_not_where_it_is_closed(database, runtime, run) -> None:
    world = make_world(database, runtime, sign_up="invitation")
    root = run(world.accounts.users.create("root", "root@example.org", role="admin"))
    run(world.identity.sign_up.invite("ada@example.org", root["id"]))
    (secret,) = parse_qs(urlsplit(run(world.link())).query)["invitation"]
    closed = make_world(database, runtime, sign_up="closed")
    with pytest.raises(SignUpClosed):
        sign_up(closed, run, "ada", invitation=secret)
    world.clock.advance(days=8)
    with pytest.raises(SignUpClosed):
        sign_up(world, run, "ada", invitation=secret)


def test_only_an_invitation_to_the_site_lets_people_in(database, runtime, run) -> None:
    """Whoever administers a repository may invite to it, and not to the site."""
    world = make_world(database, runtime, sign_up="invitation")
    root = run(world.accounts.users.create("root", "root@example.org", role="admin"))
    run(world.identity.sign_up.invite("ada@example.org", root["id"]))
    (secret,) = parse_qs(urlsplit(run(world.link())).query)["invitation"]
    run(database.execute(update(invitations).values(kind="repository", role="read")))
    with pytest.raises(SignUpClosed):
        sign_up(world, run, "ada", invitation=secret)
