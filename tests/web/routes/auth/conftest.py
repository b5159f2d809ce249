"""The auth door over an empty database on each engine, and a GitHub of our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import attrs
import pytest

from tests.accounts.identity import SITE, World, make_world
from tests.support.browser import Browser
from tests.web.harness import online
from tests.web.routes.auth.github import GitHubServer, github_server
from wit.db.port import Database
from wit.runtime import Runtime
from wit.web.routes.auth.door import AuthDoor

PASSWORD = "correct horse battery"


@attrs.frozen
class Door:
    """The running door."""

    world: World
    url: str
    run: Callable[[Any], Any]

    def browser(self, origin: str = SITE) -> Browser:
        return Browser(self.url, origin)

    def sign_up(self, name: str = "ada", **more: Any) -> Browser:
        """The browser of a new user."""
        browser = self.browser()
        reply = browser.post(
            "/api/auth/sign-up/email",
            {"name": name.title(), "email": f"{name}@example.org", "password": PASSWORD,
             "username": name, **more},
        )  # fmt: skip
        assert reply.status == 200, reply.body
        return browser

    def link(self) -> str:
        """Path and query of the link in the one mail that goes out now."""
        link: str = self.run(self.world.link())
        assert link.startswith(SITE)
        return link.removeprefix(SITE)


Make = Callable[..., Door]


@pytest.fixture
def make_door(run, runtime: Runtime, database: Database) -> Iterator[Make]:
    """Doors with settings of the test's own."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Door:
            world = make_world(database, runtime, **settings)
            door = AuthDoor(world.config, world.identity, world.signer)
            site = stack.enter_context(online(run, runtime, [door.route]))
            return Door(world, f"http://127.0.0.1:{site.port}", run)

        yield make


@pytest.fixture
def door(make_door: Make) -> Door:
    return make_door(trusted_origins=("https://app.example.org",), attempts_per_minute=100)


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    with github_server() as server:
        yield server
