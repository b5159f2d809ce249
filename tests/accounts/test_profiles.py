from __future__ import annotations

import pytest
from sqlalchemy import insert

from tests.accounts.identity import World
from wit.accounts.users import NameTaken
from wit.db.tables import repositories
from wit.errors import Conflict, Invalid, NotFound


@pytest.fixture
def ada(world: World, run):
    return run(world.accounts.user("ada"))


def change(world: World, run, user, username=None, **changes):
    return run(world.identity.profiles.update(user["id"], changes, username))


def test_an_empty_text_clears(world: World, run, ada) -> None:
    row = change(world, run, ada, bio="b", website="https://example.org", location="here")
    assert (row["bio"], row["website"], row["location"]) == ("b", "https://example.org", "here")
    row = change(world, run, ada, bio="", website=None)
    assert (row["bio"], row["website"], row["location"]) == (None, None, "here")
    assert row["updated_at"] >= ada["updated_at"]


@pytest.mark.parametrize(
    "changes",
    [{"name": ""}, {"name": None}, {"name": "a\nb"}, {"name": "x" * 256}, {"bio": "x" * 501},
     {"website": "javascript:alert(1)"}, {"avatar_url": "data:image/png,"}, {"image": "/x"},
     {"location": "\0"}],
)  # fmt: skip
def test_what_no_profile_has(world: World, run, ada, changes) -> None:
    with pytest.raises(Invalid):
        change(world, run, ada, **changes)


def test_a_new_name(world: World, run, ada) -> None:
    run(world.accounts.user("bob"))
    row = change(world, run, ada, "Countess")
    assert (row["username"], row["display_username"]) == ("countess", "Countess")
    assert not run(world.accounts.users.name_taken("ada"))
    assert change(world, run, ada, "COUNTESS")["display_username"] == "COUNTESS"
    with pytest.raises(NameTaken):
        change(world, run, ada, "Bob")
    with pytest.raises(Invalid):
        change(world, run, ada, "api")
    with pytest.raises(NotFound):
        run(world.identity.profiles.update("nobody", {"bio": "b"}))


def test_names_in_addresses_of_repositories_stay(world: World, run, ada, database) -> None:
    now = world.clock.now()
    run(
        database.execute(
            insert(repositories), id="r", owner_id=ada["id"], owner_type="user", name="tools",
            name_key="tools", disk_path="/repos/ada/tools.git", created_at=now, updated_at=now,
        )
    )  # fmt: skip
    with pytest.raises(Conflict, match="repositories"):
        change(world, run, ada, "countess")
    assert change(world, run, ada, "ADA")["display_username"] == "ADA"
