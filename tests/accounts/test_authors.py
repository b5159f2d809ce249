from __future__ import annotations

from pathlib import Path

import pytest

from tests.accounts.identity import World
from wit.accounts.authors import Authors
from wit.config import Config, Server


@pytest.fixture
def authors(world: World) -> Authors:
    return Authors(
        Config(Path("/x"), server=Server(public_url="https://Git.example.org")), world.accounts.db
    )


def whose(authors: Authors, run, *addresses: str) -> dict[str, str]:
    found = run(authors.accounts(addresses))
    return {address: row["username"] for address, row in found.items()}


def test_only_proved_addresses_count(world: World, run, authors: Authors) -> None:
    """An account can be made with anybody's address."""
    run(world.accounts.users.create("ada", "ada@example.org", verified=True))
    run(world.accounts.user("eve"))
    written = "Ada@Example.org", "eve@example.org", "nobody@example.org", "", "\0", "x" * 300
    assert whose(authors, run, *written) == {"Ada@Example.org": "ada"}
    assert whose(authors, run) == {}


def test_an_address_that_was_given_up_counts_no_more(world: World, run, authors: Authors) -> None:
    ada = run(world.accounts.users.create("ada", "ada@example.org", verified=True))
    change = world.identity.email_change
    run(change.request(run(world.identity.profiles.get(ada["id"])), "new@example.org", "/", ""))
    for _ in range(2):
        token = run(world.link()).partition("token=")[2].partition("&")[0]
        run(change.follow(world.identity.links.read(token), "/"))
    assert whose(authors, run, "ada@example.org", "new@example.org") == {"new@example.org": "ada"}


def test_the_address_of_the_site(world: World, run, authors: Authors) -> None:
    eve = run(world.accounts.user("eve"))
    ada = run(world.accounts.users.create("ada", "ada@example.org", verified=True))
    assert authors.address(ada) == "ada@example.org"
    own = authors.address(eve)
    assert own == f"{eve['id']}+eve@users.noreply.git.example.org"
    old_name = own.replace("+eve@", "+the.name.before@")
    foreign = own.replace("git.", "evil."), own.replace(eve["id"], "x" * 32), "x" + own
    assert whose(authors, run, own, old_name, *foreign) == {own: "eve", old_name: "eve"}
