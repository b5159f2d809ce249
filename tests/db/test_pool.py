"""What the pool says about itself."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from tests.conftest import DATABASE_SETTINGS
from wit.db.port import Database


def test_an_open_transaction_holds_a_connection(database: Database, run) -> None:
    async def look():
        before = database.pool()
        async with database.transaction():
            during = database.pool()
        return before, during, database.pool()

    before, during, after = run(look())
    assert before.waiting == during.waiting == after.waiting == 0
    assert before.idle == before.size > 0
    assert during.idle == during.size - 1
    assert after.idle == after.size


def test_who_waits_is_counted(database: Database, run) -> None:
    """More transactions at once than SQLite has writers, or PostgreSQL connections."""
    wanted = DATABASE_SETTINGS.pool_max + 3

    async def look():
        end: Deferred[None] = Deferred()

        async def hold() -> None:
            async with database.transaction():
                await end

        work = [Deferred.fromCoroutine(hold()) for _ in range(wanted)]
        crowded = database.pool()
        end.callback(None)
        for each in work:
            await each
        return crowded, database.pool()

    crowded, after = run(look())
    at_once = 1 if database.dialect == "sqlite" else DATABASE_SETTINGS.pool_max
    assert crowded.waiting == wanted - at_once
    assert after.waiting == 0
    assert after.idle == after.size
