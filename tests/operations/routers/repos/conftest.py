"""A site in this process, with some people, whose procedures are called without a door."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from sqlalchemy import select
from twisted.internet.defer import Deferred, DeferredList

from tests.git.pushing import ok
from wit import config_sources
from wit.access.actor import ANONYMOUS, Actor, Origin, token_scopes
from wit.core import Core
from wit.db.port import Row
from wit.db.tables import jobs
from wit.events.types import Event
from wit.git.names import parse_full_name
from wit.mail.messages import Message
from wit.operations.api import invoke, wit_api
from wit.operations.call import Call, Client
from wit.runtime import Runtime

Run = Callable[[Any], Any]
API = wit_api()
PEOPLE = ("alice", "bob", "carol")


@attrs.frozen
class People:
    """alice, bob and carol; acme is an organization of alice's."""

    core: Core
    run: Run
    actors: dict[str, Actor]
    org_id: str

    def id(self, name: str) -> str:
        user_id = self.actors[name].user_id
        assert user_id is not None
        return user_id

    def actor(self, who: str | Actor | None) -> Actor:
        return self.actors[who] if isinstance(who, str) else who or ANONYMOUS

    def token(self, name: str, *scopes: str) -> Actor:
        scopes_of_token = token_scopes(frozenset(scopes))
        return attrs.evolve(self.actors[name], origin=Origin.TOKEN, scopes=scopes_of_token)

    async def calling(self, name: str, who: str | Actor | None, /, **values: Any) -> Any:
        operation = API.get(name)
        assert operation is not None, name
        call = Call(self.core, self.actor(who), Client("192.0.2.1", "", "request-1"))
        answer = await invoke(operation, call, values or None)
        operation.output_adapter.validate_python(answer)
        return answer

    def call(self, name: str, who: str | Actor | None = None, /, **values: Any) -> Any:
        return self.run(self.calling(name, who, **values))

    def refused(
        self, error: type[Exception], name: str, who: str | Actor | None = None, /, **values: Any
    ) -> str:
        with pytest.raises(error) as caught:
            self.call(name, who, **values)
        return str(caught.value)

    def together(self, *calls: tuple[str, str, dict[str, Any]]) -> list[Any]:
        """All at once; the answers, or the exceptions, in their order."""

        async def both() -> list[Any]:
            work = [
                Deferred.fromCoroutine(self.calling(name, who, **values))
                for name, who, values in calls
            ]
            done = await DeferredList(work, consumeErrors=True)
            return [value if fine else value.value for fine, value in done]

        answers: list[Any] = self.run(both())
        return answers

    # Repositories

    def new(self, full_name: str, *, private: bool = False, **values: Any) -> str:
        """An empty repository; its id."""
        name = parse_full_name(full_name)
        row = self.run(self.core.repos.create(name, private=private, **values))
        repo_id: str = row["id"]
        return repo_id

    def filled(self, full_name: str, *, private: bool = False, **values: Any) -> str:
        """A repository with one commit on main."""
        repo_id = self.new(full_name, private=private, **values)
        owner, _, repo = full_name.partition("/")
        who = "alice" if owner == "acme" else owner
        self.call(
            "repos.updateFile",
            who,
            owner=owner,
            repo=repo,
            path="README.md",
            content="hello\n",
            message="first",
        )
        return repo_id

    def row(self, repo_id: str) -> Row:
        row: Row = self.run(self.core.repos.by_id(repo_id))
        return row

    def disk(self, repo_id: str) -> Path:
        return self.core.repos.folders.path(self.row(repo_id)["disk_path"])

    def git(self, repo_id: str, *arguments: str) -> str:
        return ok(*arguments, cwd=self.disk(repo_id))

    def refs(self, repo_id: str) -> dict[str, str]:
        listing = self.git(repo_id, "for-each-ref", "--format=%(refname) %(objectname)")
        return dict(line.split() for line in listing.splitlines())

    def collaborator(self, repo_id: str, name: str, permission: str) -> None:
        self.run(self.core.rights.set_collaborator(repo_id, name, permission))

    # What follows from a change

    def deliver(self) -> None:
        """Until every event has had its effects."""

        async def all_of_them() -> None:
            while await self.core.events.deliver_due():
                pass

        self.run(all_of_them())

    def events(self, *types: str, repo_id: str | None = None) -> list[Event]:
        self.deliver()
        found = self.run(self.core.journal.list(limit=1000, repo_id=repo_id))
        return [event for event in found if not types or event.type in types]

    def mails(self) -> list[Message]:
        """What waits to be sent, as it would be written now."""
        waiting = select(jobs.c.payload).where(jobs.c.kind == "mail").order_by(jobs.c.created_at)
        composers = self.core.identity.outbox._composers
        written = [
            self.run(composers[row["payload"]["kind"]](row["payload"]))
            for row in self.run(self.core.db.fetch_all(waiting))
        ]
        return [message for message in written if message is not None]


@pytest.fixture
def people(run: Run, runtime: Runtime, database_url: str, tmp_path: Path) -> Iterator[People]:
    async def make() -> People:
        environment = {"DATABASE_URL": database_url}
        config = config_sources.load(tmp_path, {}, environment, write_default=False)
        core = Core(config, runtime)
        await core.open()
        actors = {}
        for name in PEOPLE:
            row = await core.users.create(name, f"{name}@example.org", name=name.title())
            actors[name] = Actor(row["id"], name, Origin.SESSION)
        org = await core.organizations.create("acme", actors["alice"].user_id or "")
        return People(core, run, actors, org["id"])

    made = run(make())
    yield made
    run(made.core.close())
