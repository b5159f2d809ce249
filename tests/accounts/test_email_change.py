from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.accounts.identity import World
from wit.accounts.email_links import BadLink
from wit.accounts.password_reset import InvalidLink
from wit.accounts.users import EmailTaken
from wit.errors import Conflict, Invalid

HERE = "192.0.2.1"
NEW = "countess@example.org"


@pytest.fixture
def ada(world: World, run):
    """With an address that she has proved."""
    return run(world.accounts.users.create("ada", "ada@example.org", verified=True))


def ask(world: World, run, user, new: str = NEW) -> None:
    user = run(world.identity.profiles.get(user["id"]))
    run(world.identity.email_change.request(user, new, "/done", HERE))


def token(link: str) -> str:
    return parse_qs(urlsplit(link).query)["token"][0]


def follow(world: World, run, secret: str):
    return run(world.identity.email_change.follow(world.identity.links.read(secret), "/done"))


def test_the_old_address_confirms_and_then_the_new_one(world: World, run, ada) -> None:
    ask(world, run, ada, NEW.title())
    (mail,) = run(world.posted())
    assert "to ada@example.org:" in mail and NEW in mail
    first = token(next(line for line in mail.splitlines() if line.startswith("http")))
    assert follow(world, run, first) is None
    assert run(world.identity.profiles.get(ada["id"]))["email"] == "ada@example.org"
    (mail,) = run(world.posted())
    assert f"to {NEW}:" in mail
    second = token(next(line for line in mail.splitlines() if line.startswith("http")))
    row = follow(world, run, second)
    assert (row["email"], row["email_verified"]) == (NEW, True)
    (mail,) = run(world.posted())
    assert "to ada@example.org:" in mail and NEW in mail
    for used in (first, second):
        with pytest.raises(BadLink) as refused:
            follow(world, run, used)
        assert refused.value.reason == "user_not_found"


def test_an_address_that_nobody_proved_has_no_say(world: World, run) -> None:
    bob = run(world.accounts.user("bob"))
    ask(world, run, bob)
    (mail,) = run(world.posted())
    assert f"to {NEW}:" in mail
    link = next(line for line in mail.splitlines() if line.startswith("http"))
    assert follow(world, run, token(link))["email"] == NEW


def test_refusals(world: World, run, ada) -> None:
    run(world.accounts.user("bob"))
    with pytest.raises(Conflict, match="already"):
        ask(world, run, ada, "ADA@example.org")
    with pytest.raises(EmailTaken):
        ask(world, run, ada, "bob@example.org")
    with pytest.raises(Invalid):
        ask(world, run, ada, "nothing")
    assert run(world.posted()) == []


def test_somebody_else_was_faster(world: World, run) -> None:
    bob = run(world.accounts.user("bob"))
    ask(world, run, bob)
    secret = token(run(world.link()))
    run(world.accounts.users.create("eve", NEW))
    with pytest.raises(BadLink) as refused:
        follow(world, run, secret)
    assert refused.value.reason == "user_already_exists"
    assert run(world.identity.profiles.get(bob["id"]))["email"] == "bob@example.org"


@pytest.mark.attack(51)
def test_links_that_went_to_the_old_address_are_void(world: World, run) -> None:
    bob = run(world.accounts.user("bob", "a long password"))
    run(world.identity.password_reset.request("bob@example.org", "/", HERE))
    reset = urlsplit(run(world.link())).path.rpartition("/")[2]
    proof = world.identity.verification.token(bob)
    ask(world, run, bob)
    follow(world, run, token(run(world.link())))
    with pytest.raises(InvalidLink):
        run(world.identity.password_reset.reset(reset, "another password"))
    with pytest.raises(BadLink):
        run(world.identity.verification.verify(world.identity.links.read(proof)))
