from __future__ import annotations

from datetime import timedelta
from typing import cast

import attrs
import pytest
from sqlalchemy import select
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.accounts.conftest import make_accounts
from wit.accounts.last_use import FLUSH_SECONDS, MAX_PENDING, LastUse
from wit.db.port import Database, DatabaseUnavailable
from wit.db.tables import ssh_keys, tokens
from wit.runtime import Runtime, utc_now

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGv0hRdXpGeLhsZcCnAuZ8lA4tg4TG6VT7pd2CPV7Mpj a@b"


def test_uses_are_written_by_the_next_flush(database: Database, runtime: Runtime, run) -> None:
    time = [utc_now()]
    accounts = make_accounts(database, attrs.evolve(runtime, now=lambda: time[0]))
    user = run(accounts.user("ada"))
    row, secret = run(accounts.tokens.create(user["id"], "ci", ["repo:read"]))
    key = run(accounts.keys.add(user["id"], ED25519))
    used_at = select(tokens.c.last_used_at)
    run(accounts.tokens.verify(secret))
    accounts.keys.used(key["id"])
    assert run(database.fetch_value(used_at)) is None, "nothing is written while somebody waits"
    run(accounts.last_use.flush())
    assert run(database.fetch_value(used_at)) == time[0]
    assert run(database.fetch_value(select(ssh_keys.c.last_used_at))) == time[0]
    later = time[0] + timedelta(minutes=5)
    other = LastUse(database, attrs.evolve(runtime, now=lambda: later))
    other.token(row["id"])
    run(other.flush())
    run(accounts.tokens.verify(secret))
    run(accounts.last_use.flush())
    assert run(database.fetch_value(used_at)) == later, "an older time does not win"


class Recorder:
    """Stands for a database that only counts what is written."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.error: Exception | None = None
        self.gate: Deferred[None] | None = None

    @property
    def database(self) -> Database:
        return cast(Database, self)

    async def execute_many(self, statement, rows, /) -> None:
        if self.gate is not None:
            await self.gate
        if self.error is not None:
            raise self.error
        self.written.append(len(rows))


def test_once_a_minute_and_at_the_end(run) -> None:
    async def scenario() -> None:
        clock, db = Clock(), Recorder()
        last_use = LastUse(db.database, Runtime(clock))
        last_use.start()
        for _ in range(5):
            last_use.token("one")
        last_use.token("two")
        clock.advance(FLUSH_SECONDS - 1)
        assert db.written == []
        clock.advance(1)
        assert db.written == [2]
        clock.advance(FLUSH_SECONDS)
        assert db.written == [2], "nothing new, nothing written"
        last_use.key("one")
        await last_use.stop()
        assert db.written == [2, 1]
        assert clock.getDelayedCalls() == []

    run(scenario())


def test_stop_waits_for_the_write_that_is_under_way(run) -> None:
    async def scenario() -> None:
        clock, db = Clock(), Recorder()
        db.gate = Deferred()
        last_use = LastUse(db.database, Runtime(clock))
        last_use.start()
        last_use.token("one")
        clock.advance(FLUSH_SECONDS)
        stopped = Deferred.fromCoroutine(last_use.stop())
        assert not stopped.called
        db.gate.callback(None)
        await stopped
        assert db.written == [1]

    run(scenario())


def test_a_lost_database_does_not_stop_it(run) -> None:
    async def scenario() -> None:
        clock, db = Clock(), Recorder()
        last_use = LastUse(db.database, Runtime(clock))
        last_use.start()
        db.error = DatabaseUnavailable("gone")
        last_use.token("one")
        clock.advance(FLUSH_SECONDS)
        last_use.token("one")
        with pytest.raises(DatabaseUnavailable):
            await last_use.flush()
        db.error = None
        last_use.token("two")
        clock.advance(FLUSH_SECONDS)
        assert db.written == [1]
        await last_use.stop()

    run(scenario())


def test_memory_is_bounded(run) -> None:
    async def scenario() -> None:
        db = Recorder()
        last_use = LastUse(db.database, Runtime(Clock()))
        for number in range(MAX_PENDING + 5):
            last_use.token(str(number))
        await last_use.flush()
        assert db.written == [MAX_PENDING]

    run(scenario())
