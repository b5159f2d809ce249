"""The two registries side by side, each with a user alice and her token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest

from tests.support import site as sites
from tests.support.daemon import Daemon
from tests.support.npm import Answer, Registry
from tests.support.site import Run
from tests.support.verdaccio import Verdaccio


@attrs.frozen
class Pair:
    """Ours, and verdaccio, as alice and as nobody."""

    ours: Registry
    theirs: Registry

    def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[Answer, Answer]:
        """The same request to both."""
        return (
            self.ours.ask(method, path, body, headers),
            self.theirs.ask(method, path, body, headers),
        )

    def nobody(self) -> Pair:
        return Pair(Registry(self.ours.url), Registry(self.theirs.url))


@pytest.fixture(scope="session")
def pair(
    run: Run, plain_git_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("verdaccio")
    verdaccio = Verdaccio(folder / "theirs")
    try:
        daemon = Daemon(folder / "data", environment={"WIT_LIMITS_STANDARD": "0"})
        with contextmanager(sites.open_site)(daemon, folder, run) as site:
            site.create("alice/packages", private=False)

            async def token(core: Any) -> str:
                user = await core.users.by_username("alice")
                scopes = ["packages:read", "packages:write", "user:read"]
                return str((await core.tokens.create(user["id"], "npm", scopes))[1])

            ours = Registry(daemon.url("api/packages"), site.do(token))
            yield Pair(ours, Registry(verdaccio.url, verdaccio.token))
    finally:
        verdaccio.stop()
