from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import select

from tests.accounts.identity import World
from wit.accounts.password_reset import InvalidLink
from wit.accounts.sessions import Device
from wit.db.tables import verifications
from wit.errors import Invalid, RateLimited, Unauthorized

HERE = "192.0.2.1"
OLD, NEW = "correct horse battery", "another horse battery"


@pytest.fixture
def ada(world: World, run):
    return run(world.accounts.user("ada", OLD))


def token(world: World, run, email: str = "ada@example.org") -> str:
    run(world.identity.password_reset.request(email, "/set", HERE))
    link = urlsplit(run(world.link()))
    assert parse_qs(link.query) == {"callbackURL": ["/set"]}
    assert f"{link.scheme}://{link.netloc}" == "http://localhost:3000"
    path, _, secret = link.path.rpartition("/")
    assert path == "/api/auth/reset-password"
    return secret


def test_a_link_sets_a_password_once(world: World, run, ada) -> None:
    session = run(world.identity.sessions.create(ada["id"], Device()))
    secret, another = token(world, run), token(world, run, "ADA@example.org")
    assert len(secret) == 24 and run(world.identity.password_reset.good(secret))
    (row, *_) = run(world.accounts.db.fetch_all(select(verifications)))
    assert secret not in row["identifier"]
    with pytest.raises(Invalid):
        run(world.identity.password_reset.reset(secret, "short"))
    run(world.identity.password_reset.reset(secret, NEW))
    assert run(world.accounts.credentials.basic("ada", NEW, HERE)).user_id == ada["id"]
    with pytest.raises(Unauthorized):
        run(world.accounts.credentials.basic("ada", OLD, HERE))
    assert run(world.identity.sessions.find(session.token)) is None
    for used in (secret, another, "x" * 24, ""):
        with pytest.raises(InvalidLink):
            run(world.identity.password_reset.reset(used, OLD))


def test_a_link_is_good_for_an_hour(world: World, run, ada) -> None:
    secret = token(world, run)
    world.clock.advance(hours=1)
    assert not run(world.identity.password_reset.good(secret))
    with pytest.raises(InvalidLink):
        run(world.identity.password_reset.reset(secret, NEW))


def test_a_user_without_a_password_gets_one(world: World, run) -> None:
    run(world.accounts.user("bot"))
    run(world.identity.password_reset.reset(token(world, run, "bot@example.org"), NEW))
    assert run(world.accounts.credentials.basic("bot", NEW, HERE)).username == "bot"


@pytest.mark.attack(51)
def test_nobody_learns_who_has_an_account(world: World, run, ada) -> None:
    run(world.identity.password_reset.request("nobody@example.org", "", HERE))
    run(world.identity.password_reset.request("ada@example.org", "", HERE))
    unknown, known = world.jobs.queued
    assert unknown.keys() == known.keys()  # the same work until the mail is written
    run(world.accounts.users.suspend(ada["id"], "spam"))
    assert run(world.posted()) == []


def test_so_many_mails_for_one_address_and_from_one(world: World, run, ada) -> None:
    request = world.identity.password_reset.request
    for number in range(4):
        run(request("ada@example.org", "", f"192.0.2.{number}"))
    assert len(run(world.posted())) == 3
    for number in range(5):
        run(request(f"nobody{number}@example.org", "", "192.0.2.99"))
    with pytest.raises(RateLimited):
        run(request("nobody@example.org", "", "192.0.2.99"))


def test_changing_it_takes_the_old_one(world: World, run, ada) -> None:
    change = world.identity.password_reset.change
    secret = token(world, run)
    with pytest.raises(Unauthorized):
        run(change(ada["id"], "wrong password", NEW, HERE))
    with pytest.raises(Invalid):
        run(change(ada["id"], OLD, "short", HERE))
    run(change(ada["id"], OLD, NEW, HERE))
    assert run(world.accounts.credentials.basic("ada", NEW, HERE)).user_id == ada["id"]
    assert not run(world.identity.password_reset.good(secret))
    for _ in range(4):  # and the one above
        with pytest.raises(Unauthorized):
            run(change(ada["id"], "wrong password", OLD, "192.0.2.7"))
    with pytest.raises(RateLimited):
        run(change(ada["id"], NEW, OLD, "192.0.2.8"))
