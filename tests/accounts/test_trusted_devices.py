from __future__ import annotations

import pytest
from sqlalchemy import select

from tests.accounts.identity import World
from wit.accounts.sessions import Device
from wit.accounts.sign_in import SecondStep
from wit.accounts.trusted_devices import TrustedDevices
from wit.db.tables import verifications

HERE = Device("192.0.2.1", "a browser")
PASSWORD = "a long password"


@pytest.fixture
def trusted(world: World) -> TrustedDevices:
    return world.identity.two_factor.trusted


@pytest.fixture
def ada(world: World, run):
    """With a second factor."""
    ada = run(world.accounts.user("ada", PASSWORD))
    run(world.identity.two_factor.prepare(ada))
    run(world.identity.two_factor.enable(ada["id"]))
    return ada


def sign_in(world: World, run, secret: str):
    step = run(world.identity.sign_in.by_password("ada", PASSWORD, HERE, by="username"))
    assert isinstance(step, SecondStep)
    return run(world.identity.sign_in.trusted_step(step.token, secret, HERE))


def test_each_secret_is_good_once(world: World, run, database, ada, trusted) -> None:
    secret = run(trusted.trust(ada["id"]))
    stored = run(database.fetch_all(select(verifications)))
    assert all(secret not in str(row) for row in stored)
    session, renewed = sign_in(world, run, secret)
    assert session.user_id == ada["id"] and renewed != secret
    assert sign_in(world, run, secret) is None
    assert sign_in(world, run, "wrong") is None
    assert sign_in(world, run, renewed) is not None


def test_a_secret_is_good_for_its_user_for_a_month(world: World, run, ada, trusted) -> None:
    bob = run(world.accounts.user("bob"))
    assert sign_in(world, run, run(trusted.trust(bob["id"]))) is None
    secret = run(trusted.trust(ada["id"]))
    world.clock.advance(days=30)
    assert sign_in(world, run, secret) is None


@pytest.mark.parametrize("end", ["disable", "prepare", "reset"])
def test_what_ends_the_trust(world: World, run, ada, trusted, end: str) -> None:
    secret = run(trusted.trust(ada["id"]))
    two_factor = world.identity.two_factor
    run(two_factor.prepare(ada) if end == "prepare" else getattr(two_factor, end)(ada["id"]))
    assert run(trusted.renew(ada["id"], secret)) is None
