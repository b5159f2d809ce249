"""Statements that say they are quick: answered at once by SQLite, the same by both engines."""

from __future__ import annotations

import pytest
from sqlalchemy import bindparam, insert, select

from wit.db.port import Database, DatabaseError
from wit.db.tables import organizations

BY_NAME = select(organizations).where(organizations.c.name == bindparam("name"))
QUICK = BY_NAME.execution_options(quick=True)


async def add(database: Database, runtime, name: str) -> None:
    await database.execute(
        insert(organizations),
        id=runtime.new_id(),
        name=name,
        display_name=name,
        created_at=runtime.now(),
        updated_at=runtime.now(),
    )


def test_the_same_rows(run, runtime, database: Database) -> None:
    async def check() -> None:
        await add(database, runtime, "acme")
        assert await database.fetch_one(QUICK, name="acme") == await database.fetch_one(
            BY_NAME, name="acme"
        )
        assert await database.fetch_all(QUICK, name="other") == []

    run(check())


def test_what_was_committed_is_seen_and_nothing_else(run, runtime, database: Database) -> None:
    async def check() -> None:
        async with database.transaction() as tx:
            await tx.execute(
                insert(organizations),
                id=runtime.new_id(),
                name="acme",
                display_name="Acme",
                created_at=runtime.now(),
                updated_at=runtime.now(),
            )
            assert await database.fetch_one(QUICK, name="acme") is None
            assert await tx.fetch_one(QUICK, name="acme") is not None
        assert await database.fetch_one(QUICK, name="acme") is not None

    run(check())


def test_errors_are_the_same(run, database: Database) -> None:
    async def check() -> None:
        with pytest.raises(DatabaseError):
            await database.fetch_one(QUICK, name="a\0b\ud800")
        assert await database.fetch_one(QUICK, name="acme") is None

    run(check())
