"""A site in-process with repositories that git itself has filled, and callers of its procedures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from tests.git.reading import git
from wit import config_sources
from wit.access.actor import ANONYMOUS, Actor, Origin
from wit.core import Core
from wit.git.names import parse_full_name
from wit.operations.api import invoke, wit_api
from wit.operations.call import Call, Client
from wit.runtime import Runtime

REGISTRY = wit_api()


@attrs.frozen
class Home:
    core: Core
    run: Any
    ids: dict[str, str]

    def call(self, procedure: str, person: str | None = "alice", /, **values: Any) -> Any:
        """Call ``repos.<procedure>``; ``repo`` is given as OWNER/NAME."""
        if "repo" in values:
            values["owner"], _, values["repo"] = values["repo"].partition("/")
        actor = ANONYMOUS
        if person is not None:
            actor = Actor(self.ids[person], person, Origin.SESSION)
        operation = REGISTRY.get(f"repos.{procedure}")
        assert operation is not None
        call = Call(self.core, actor, Client(address="127.0.0.1"))
        return self.run(invoke(operation, call, values))

    def make(self, name: str, stream: str = "", *, private: bool = False) -> Path:
        """A repository filled from a stream for ``git fast-import``; its folder."""
        row = self.run(self.core.repos.create(parse_full_name(name), private=private))
        path = Path(self.core.repos.bare(row).path)
        if stream:
            git(path, "fast-import", "--quiet", stdin=stream.encode("utf-8", "surrogateescape"))
        return path


@contextmanager
def home(runtime: Runtime, run: Any, folder: Path, database_url: str) -> Iterator[Home]:
    environment = {"DATABASE_URL": database_url}
    core = Core(config_sources.load(folder, {}, environment, write_default=False), runtime)
    run(core.open())
    try:
        ids = {
            name: run(core.users.create(name, f"{name}@example.org"))["id"]
            for name in ("alice", "bob")
        }
        yield Home(core, run, ids)
    finally:
        run(core.close())
    assert core.governor.running == 0
