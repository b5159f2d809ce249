"""The door on a site of its own, before programs on PTYs of this machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.conftest import DATABASE_SETTINGS, Run
from tests.sandboxes.terminals.pty import Box, FakeSandboxes
from tests.support.websocket import Client
from wit.access.actor import Actor, Level, Origin
from wit.access.rate_limits import RateLimits
from wit.config import Config, Limits
from wit.config import Terminals as Settings
from wit.db.open import make_database
from wit.db.port import Row
from wit.errors import NotFound, Unauthorized
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.sandboxes.terminals.terminals import Terminals
from wit.web.middleware.caller import Callers
from wit.web.service import HttpService
from wit.web.site import WebSite
from wit.websocket.door import TerminalDoor

ALICE = Actor(user_id="system", username="alice", origin=Origin.CLI)
"""Of the kind whose standing needs no rows."""
BOB = attrs.evolve(ALICE, user_id="bob", username="bob")
CAROL = attrs.evolve(ALICE, user_id="carol", username="carol")
LIMITED = attrs.evolve(ALICE, scopes=frozenset({"repo:write"}))
PEOPLE = {"alice": ALICE, "bob": BOB, "carol": CAROL, "limited": LIMITED}
REPO = "11111111-2222-4333-8444-555555555555"
SANDBOX = "a" * 32
OTHER = "b" * 32


class Checker:
    async def bearer(self, token: str) -> Actor:
        if token not in PEOPLE:
            raise Unauthorized("wrong")
        return PEOPLE[token]

    async def session_cookie(self, value: str) -> Actor | None:
        return PEOPLE.get(value)


class Gate:
    async def repository_by_id(
        self, actor: Actor, repo_id: str, needed: Level, scope: str | None = None
    ) -> Row:
        if repo_id != REPO or actor.user_id == "bob":
            raise NotFound("repository not found")
        return {"id": repo_id}


@attrs.define
class Stage:
    core: Any
    service: HttpService
    port: int
    run: Run
    clients: list[Client] = attrs.field(factory=list)

    @property
    def sandboxes(self) -> FakeSandboxes:
        return self.core.sandboxes  # type: ignore[no-any-return]

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def open(self, path: str = f"/ws/{SANDBOX}", who: str = "alice", **options: Any) -> Client:
        headers = {"Authorization": f"Bearer {who}"} if who else {}
        headers |= options.pop("headers", {})
        client = Client(self.port, path, headers=headers, **options)
        self.clients.append(client)
        return client

    def term(self, path: str = f"/ws/{SANDBOX}", who: str = "alice", **options: Any) -> Client:
        return self.open(path, who, subprotocols=["wit.term.v1"], **options)

    def ticket(self, target: str = SANDBOX, *, view_only: bool = False, of: Actor = ALICE) -> str:
        made = self.core.terminals.ticket(of, target, view_only=view_only)
        return self.run(made)  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def stages(
    run: Run, tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path
) -> Iterator[Callable[..., Stage]]:
    closes: list[Any] = []

    def make(settings: Settings | None = None) -> Stage:
        folder = tmp_path_factory.mktemp("websocket")
        shutil.copy(sqlite_template, folder / "wit.db")
        from twisted.internet import reactor

        runtime = Runtime(reactor)
        metrics = Metrics()
        rules = settings or Settings()
        config = Config(folder, limits=Limits(standard=0, standard_anonymous=0), terminals=rules)
        db = make_database(DATABASE_SETTINGS, f"sqlite:///{folder}/wit.db", runtime, metrics)
        boxes = {
            SANDBOX: Box(SANDBOX, "system", REPO),
            OTHER: Box(OTHER, "carol"),
        }
        sandboxes = FakeSandboxes(boxes, watchers={"carol"})
        gate: Any = Gate()
        terminals = Terminals(sandboxes, gate, db, runtime, rules)

        class Core:
            pass

        core: Any = Core()
        core.config, core.runtime, core.metrics, core.gate = config, runtime, metrics, gate
        core.limits = RateLimits(config.limits, runtime)
        core.sandboxes, core.terminals = sandboxes, terminals
        door = TerminalDoor(core, Callers(Checker(), config))
        site = WebSite([door.route], config.server, runtime, metrics)
        service = HttpService(site, ["tcp:0:interface=127.0.0.1"], runtime)

        async def start() -> None:
            await db.open()
            await terminals.start()
            await service.start()

        async def stop() -> None:
            await service.stop(5)
            await terminals.stop()
            await db.close()

        run(start())
        closes.append(stop)
        return Stage(core, service, int(service.addresses[0].rsplit(":", 1)[1]), run)

    yield make
    for stop in closes:
        run(stop())


@pytest.fixture(scope="session")
def shared_stage(stages: Callable[..., Stage]) -> Stage:
    return stages()


@pytest.fixture
def stage(shared_stage: Stage, run: Run) -> Iterator[Stage]:
    """The shared one, without terminals."""
    yield shared_stage
    for client in shared_stage.clients:
        client.close()
    shared_stage.clients.clear()

    async def clear() -> None:
        terminals = shared_stage.core.terminals
        for session in list(terminals._sessions.values()):
            await session.close("closed")
        terminals._sessions.clear()

    run(clear())
