from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from tests.accounts.identity import World, make_world
from wit.accounts.email_links import BadLink
from wit.accounts.signing import Signer
from wit.errors import RateLimited

HERE = "192.0.2.1"


@pytest.fixture
def ada(world: World, run):
    return run(world.accounts.user("ada"))


def token(world: World, run) -> str:
    run(world.identity.verification.request("Ada@example.org", "/welcome", HERE))
    link = urlsplit(run(world.link()))
    assert link.path == "/api/auth/verify-email"
    query = parse_qs(link.query)
    assert query["callbackURL"] == ["/welcome"]
    return query["token"][0]


def verify(world: World, run, secret: str):
    return run(world.identity.verification.verify(world.identity.links.read(secret)))


def test_a_link_proves_an_address(world: World, run, ada) -> None:
    secret = token(world, run)
    verified = verify(world, run, secret)
    assert verified.new and verified.user["id"] == ada["id"] and verified.user["email_verified"]
    assert run(world.identity.profiles.get(ada["id"]))["email_verified"]
    assert not verify(world, run, secret).new
    run(world.identity.verification.request("ada@example.org", "", HERE))
    run(world.identity.verification.request("nobody@example.org", "", HERE))
    assert run(world.posted()) == []
    run(world.accounts.users.delete(ada["id"]))
    with pytest.raises(BadLink) as refused:
        verify(world, run, secret)
    assert refused.value.reason == "user_not_found"


@pytest.mark.attack(49)
def test_other_links_prove_nothing(world: World, database, runtime, run, ada) -> None:
    secret = token(world, run)
    header, payload, signature = secret.split(".")
    none = "eyJhbGciOiJub25lIn0"  # {"alg":"none"}
    for forged in (
        "",
        "x",
        f"{header}.{payload}.",
        f"{none}.{payload}.",
        f"{none}.{payload}.{signature}",
        f"{header}.{payload}.{signature[:-2]}AA",
        Signer("s" * 32).sign(f"{header}.{payload}"),
        "é.é.é",
    ):
        with pytest.raises(BadLink) as refused:
            verify(world, run, forged)
        assert refused.value.reason == "invalid_token"
    world.clock.advance(days=1, seconds=1)
    with pytest.raises(BadLink) as refused:
        verify(world, run, secret)
    assert refused.value.reason == "token_expired"


def test_so_many_mails(database, runtime, run) -> None:
    world = make_world(database, runtime)
    for number in range(5):
        run(world.identity.verification.request(f"n{number}@example.org", "", HERE))
    with pytest.raises(RateLimited):
        run(world.identity.verification.request("n9@example.org", "", HERE))
