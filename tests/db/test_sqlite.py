"""What is SQLite's alone: threads, files, and another process on the same file."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text
from twisted.internet.defer import Deferred

from wit.config import Database as Settings
from wit.db.open import make_database
from wit.db.port import Connection, Database, DatabaseUnavailable
from wit.db.tables import organizations
from wit.metrics import Metrics
from wit.runtime import Runtime

Run = Callable[[Coroutine[Any, Any, Any]], Any]

NOW = datetime(2030, 1, 2, tzinfo=UTC)
COUNT = select(func.count()).select_from(organizations)


async def add(db: Connection, name: str, description: str = "") -> None:
    await db.execute(
        insert(organizations),
        id=name,
        name=name,
        display_name=name,
        description=description,
        created_at=NOW,
        updated_at=NOW,
    )


@pytest.fixture
def path(tmp_path: Path, sqlite_template: Path) -> Path:
    return Path(shutil.copy(sqlite_template, tmp_path / "w%it #1?.db"))


@pytest.fixture
def sqlite(path: Path, run: Run, runtime: Runtime) -> Iterator[Database]:
    settings = Settings(busy_seconds=0.3, readers=3)
    database = make_database(settings, f"sqlite:///{path}", runtime, Metrics())
    run(database.open())
    yield database
    run(database.close())


def test_connections_are_set_up_for_safety(run: Run, sqlite: Database) -> None:
    async def pragma(name: str, db: Connection) -> Any:
        return await db.fetch_value(text(f"PRAGMA {name}"))

    async def scenario() -> None:
        async with sqlite.transaction() as tx:
            assert await pragma("journal_mode", tx) == "wal"
            assert await pragma("synchronous", tx) == 2
            assert await pragma("foreign_keys", tx) == 1
            assert await pragma("busy_timeout", tx) == 300

    run(scenario())


def test_close_ends_the_threads(run: Run, path: Path, runtime: Runtime) -> None:
    database = make_database(Settings(readers=3), f"sqlite:///{path}", runtime, Metrics())
    before = set(threading.enumerate())
    run(database.open())
    ours = [thread for thread in threading.enumerate() if thread not in before]
    assert len([thread for thread in ours if thread.name.startswith("sqlite-")]) == 4
    run(database.close())
    for thread in ours:
        thread.join(10)
        assert not thread.is_alive() or not thread.name.startswith("sqlite-")


def test_a_missing_file_is_not_made(run: Run, tmp_path: Path, runtime: Runtime) -> None:
    database = make_database(Settings(), f"sqlite:///{tmp_path}/none.db", runtime, Metrics())
    with pytest.raises(DatabaseUnavailable, match="cannot be opened"):
        run(database.open())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.attack(25)
def test_a_lock_of_another_process_is_waited_for(
    run: Run, runtime: Runtime, path: Path, sqlite: Database
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")

        async def too_long() -> None:
            with pytest.raises(DatabaseUnavailable, match="locked"):
                await add(sqlite, "a")
            with pytest.raises(DatabaseUnavailable, match="locked"):
                async with sqlite.transaction():
                    raise AssertionError
            assert await sqlite.fetch_value(COUNT) == 0

        run(too_long())

        async def in_time() -> None:
            adding = Deferred.fromCoroutine(add(sqlite, "a"))
            other.execute("COMMIT")
            await adding
            assert await sqlite.fetch_value(COUNT) == 1

        run(in_time())


def test_a_long_transaction_makes_others_fail_not_hang(run: Run, sqlite: Database) -> None:
    async def scenario() -> None:
        async with sqlite.transaction() as tx:
            await add(tx, "a")
            with pytest.raises(DatabaseUnavailable, match="locked"):
                await add(sqlite, "b")
            assert await sqlite.fetch_value(COUNT) == 0
        await add(sqlite, "b")
        assert await sqlite.fetch_value(COUNT) == 2

    run(scenario())


def test_quick_reads_need_no_thread(run: Run, sqlite: Database) -> None:
    found = select(organizations).where(organizations.c.name == "a")

    async def check() -> tuple[bool, bool]:
        await add(sqlite, "a")
        quick = Deferred.fromCoroutine(sqlite.fetch_one(found.execution_options(quick=True)))
        other = Deferred.fromCoroutine(sqlite.fetch_one(found))
        at_once = quick.called, other.called
        assert await quick == await other
        return at_once

    assert run(check()) == (True, False)


def test_writers_get_their_turn_in_order(run: Run, sqlite: Database) -> None:
    async def scenario() -> None:
        order: list[int] = []

        async def write(number: int) -> None:
            async with sqlite.transaction() as tx:
                order.append(number)
                await add(tx, f"o{number}")

        work = [Deferred.fromCoroutine(write(number)) for number in range(10)]
        work[3].cancel()
        work[3].addErrback(lambda _: None)
        for one in work:
            await one
        assert order == [0, 1, 2, 4, 5, 6, 7, 8, 9]

    run(scenario())


@pytest.mark.attack(25)
def test_a_full_disk_is_an_answer_and_not_the_end(run: Run, sqlite: Database) -> None:
    async def scenario() -> None:
        pages = await sqlite.fetch_value(text("PRAGMA page_count"))
        async with sqlite.transaction() as tx:
            await tx.fetch_value(text(f"PRAGMA max_page_count={pages + 2}"))
        with pytest.raises(DatabaseUnavailable, match="full"):
            await add(sqlite, "a", "x" * 100_000)
        with pytest.raises(DatabaseUnavailable, match="full"):
            async with sqlite.transaction() as tx:
                await add(tx, "b")
                await add(tx, "c", "x" * 100_000)
        assert await sqlite.fetch_value(COUNT) == 0
        async with sqlite.transaction() as tx:
            await tx.fetch_value(text("PRAGMA max_page_count=1000000"))
        await add(sqlite, "a", "x" * 100_000)
        assert await sqlite.fetch_value(COUNT) == 1

    run(scenario())


def test_what_was_committed_is_in_the_file(run: Run, path: Path, sqlite: Database) -> None:
    run(add(sqlite, "a"))
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT name, created_at FROM organizations").fetchall() == [
            ("a", "2030-01-02 00:00:00.000000")
        ]


def test_a_cancelled_read_leaves_the_reader_fit(run: Run, sqlite: Database) -> None:
    async def scenario() -> None:
        for _ in range(20):
            reading = Deferred.fromCoroutine(sqlite.fetch_value(COUNT))
            reading.addErrback(lambda _: None)
            reading.cancel()
        assert await sqlite.fetch_value(COUNT) == 0

    run(scenario())
