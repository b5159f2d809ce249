"""One registry for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conftest import Run
from tests.real.npm.registry import Registry
from tests.support.daemon import Daemon
from tests.support.site import open_site
from wit.core import Core

SCOPES = ["packages:read", "packages:write", "user:read"]


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("registry")
    daemon = Daemon(
        folder / "data", environment={"WIT_LIMITS_STRICT": "0", "WIT_LIMITS_SEARCH": "0"}
    )
    daemon.environment["AUTH_BASE_URL"] = daemon.url().rstrip("/")

    async def make_tokens(core: Core) -> dict[str, str]:
        tokens = {}
        for name in ("alice", "bob"):
            user = await core.users.by_username(name)
            _, tokens[name] = await core.tokens.create(user["id"], "npm", SCOPES)
        return tokens

    with contextmanager(open_site)(daemon, folder, run) as site:
        yield Registry(site, folder, site.do(make_tokens))
