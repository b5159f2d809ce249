"""The whole of signing in over an empty database, with a clock and a mailbox of the test's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
from argon2 import PasswordHasher

from tests.accounts.conftest import Accounts, make_accounts
from wit.accounts.identity import Identity
from wit.accounts.secrets import Secrets
from wit.accounts.signing import Signer
from wit.config import Accounts as Settings
from wit.config import Config, Mail, Server
from wit.db.port import Connection, Database
from wit.runtime import Runtime, utc_now

SITE = "http://localhost:3000"
SECRET = "s" * 32


class Clock:
    """What ``runtime.now`` says."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return utc_now() + self.ahead

    def advance(self, **how_far: float) -> None:
        self.ahead += timedelta(**how_far)


class Jobs:
    """A queue that works when it is told to."""

    def __init__(self) -> None:
        self.queued: list[Any] = []
        self._worker: Callable[[Any], Awaitable[None]] | None = None

    def register(
        self, kind: str, worker: Callable[[Any], Awaitable[None]], concurrency: int = 1
    ) -> None:
        assert kind == "mail"
        self._worker = worker

    async def enqueue(self, kind: str, payload: Any, *, tx: Connection | None = None) -> str:
        self.queued.append(payload)
        return "id"

    async def work(self) -> None:
        assert self._worker is not None
        queued, self.queued = self.queued, []
        for payload in queued:
            await self._worker(payload)


@attrs.frozen
class World:
    """One server's accounts."""

    accounts: Accounts
    identity: Identity
    clock: Clock
    jobs: Jobs
    mails: list[str]
    config: Config
    signer: Signer

    async def posted(self) -> list[str]:
        """The mails that go out now."""
        await self.jobs.work()
        sent = list(self.mails)
        self.mails.clear()
        return sent

    async def link(self) -> str:
        """The link in the one mail that goes out now."""
        (mail,) = await self.posted()
        (link,) = [line for line in mail.splitlines() if line.startswith("http")]
        return link


def make_world(db: Database, runtime: Runtime, **settings: Any) -> World:
    clock = Clock()
    runtime = attrs.evolve(runtime, now=clock.now)
    accounts = make_accounts(db, runtime)
    # How slow hashing is, is tested elsewhere.
    accounts.passwords._hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    config = Config(
        Path("/nonexistent"),
        server=Server(public_url=SITE),
        accounts=Settings(**{"sign_up": "open", "attempts_per_minute": 5, **settings}),
        mail=Mail(),
    )
    jobs: Any = Jobs()
    signer = Signer(SECRET)
    identity = Identity(
        config,
        db,
        runtime,
        users=accounts.users,
        passwords=accounts.passwords,
        credentials=accounts.credentials,
        secrets=Secrets("k" * 32, runtime.random_bytes),
        signer=signer,
        jobs=jobs,
    )
    mails: list[str] = []
    identity.outbox.console = mails.append
    return World(accounts, identity, clock, jobs, mails, config, signer)
