"""What both engines promise (wit/db/port.py)."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import bindparam, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from wit.config import Database as Settings
from wit.db.open import make_database
from wit.db.port import (
    Connection,
    Database,
    DatabaseError,
    DatabaseUnavailable,
    ForeignKeyViolation,
    UniqueViolation,
)
from wit.db.tables import events, namespaces, organizations, tokens, users
from wit.errors import ConfigError
from wit.metrics import Metrics
from wit.runtime import Runtime

Run = Callable[[Coroutine[Any, Any, Any]], Any]

NOW = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
COUNT = select(func.count()).select_from(organizations)
NAMES = select(organizations.c.name).order_by(organizations.c.name)


async def add_organization(db: Connection, name: str) -> int:
    return await db.execute(
        insert(organizations),
        id=f"id-{name}",
        name=name,
        display_name=name,
        created_at=NOW,
        updated_at=NOW,
    )


async def add_user(db: Connection, id: str = "u1") -> None:
    await db.execute(
        insert(users),
        id=id,
        name=id,
        username=id,
        email=f"{id}@example.org",
        created_at=NOW,
        updated_at=NOW,
    )


def test_values_come_back_as_they_went_in(run: Run, database: Database) -> None:
    async def scenario() -> None:
        await add_user(database)
        await database.execute(
            insert(tokens),
            id="t1",
            user_id="u1",
            name="100% 'quoted' \N{SNOWMAN} %(name)s",
            token_hash="h",
            token_prefix="p",
            scopes=["repo:read", {"deep": [None, 1.5, True]}],
            created_at=NOW.astimezone(timezone(timedelta(hours=-8))),
        )
        row = await database.fetch_one(select(tokens))
        assert row == {
            "id": "t1",
            "user_id": "u1",
            "name": "100% 'quoted' \N{SNOWMAN} %(name)s",
            "token_hash": "h",
            "token_prefix": "p",
            "scopes": ["repo:read", {"deep": [None, 1.5, True]}],
            "last_used_at": None,
            "expires_at": None,
            "created_at": NOW,
        }
        assert row["created_at"].tzinfo is UTC
        user = await database.fetch_one(select(users.c.suspended, users.c.email_verified))
        assert user == {"suspended": False, "email_verified": False}
        assert user["suspended"] is False

    run(scenario())


def test_fetches_of_nothing(run: Run, database: Database) -> None:
    async def scenario() -> None:
        assert await database.fetch_all(select(users)) == []
        assert await database.fetch_one(select(users)) is None
        assert await database.fetch_value(select(users.c.id)) is None
        assert await database.fetch_value(COUNT) == 0

    run(scenario())


def test_execute_counts_rows(run: Run, database: Database) -> None:
    rename = (
        update(organizations)
        .where(organizations.c.name.in_(bindparam("names", expanding=True)))
        .values(display_name=bindparam("display_name"))
    )

    async def scenario() -> None:
        assert await add_organization(database, "a") == 1
        assert await add_organization(database, "b") == 1
        assert await database.execute(rename, names=["a", "b", "c"], display_name="x") == 2
        assert await database.execute(rename, names=[], display_name="x") == 0
        returning = upsert(organizations).on_conflict_do_nothing().returning(organizations.c.id)
        values = {"id": "id-a", "name": "a", "display_name": "", "created_at": NOW}
        assert await database.fetch_value(returning, updated_at=NOW, **values) is None
        values |= {"id": "id-c", "name": "c"}
        assert await database.fetch_value(returning, updated_at=NOW, **values) == "id-c"
        assert await database.fetch_value(COUNT) == 3

    run(scenario())


def test_the_database_numbers_events_in_order(run: Run, database: Database) -> None:
    append = insert(events).returning(events.c.seq)

    async def scenario() -> None:
        numbers = []
        for id in ("a", "b", "c"):
            values: dict[str, Any] = {"id": id, "type": "t", "actor_id": "u", "payload": {}}
            numbers.append(await database.fetch_value(append, created_at=NOW, **values))
        assert numbers == sorted(set(numbers))

    run(scenario())


def test_many_rows_all_or_none(run: Run, database: Database) -> None:
    def row(name: str) -> dict[str, Any]:
        return {"name_key": name, "name": name, "owner_type": "user", "owner_id": f"o-{name}"}

    names = select(namespaces.c.name_key).order_by(namespaces.c.name_key)

    async def scenario() -> None:
        await database.execute_many(insert(namespaces), [])
        await database.execute_many(insert(namespaces), [row(f"n{i:03}") for i in range(250)])
        assert len(await database.fetch_all(names)) == 250
        with pytest.raises(UniqueViolation):
            await database.execute_many(
                insert(namespaces), [row(f"m{i:03}") for i in range(150)] + [row("n001")]
            )
        assert len(await database.fetch_all(names)) == 250
        with pytest.raises(UniqueViolation):
            async with database.transaction() as tx:
                await tx.execute_many(insert(namespaces), [row("x"), row("n001")])
        async with database.transaction() as tx:
            await tx.execute_many(insert(namespaces), [row("y"), row("z")])
        assert len(await database.fetch_all(names)) == 252

    run(scenario())


def test_constraints_have_their_errors(run: Run, database: Database) -> None:
    async def scenario() -> None:
        await add_organization(database, "a")
        with pytest.raises(UniqueViolation) as unique:
            await add_organization(database, "a")
        assert unique.value.code == "conflict"
        token = {"name": "", "token_hash": "", "token_prefix": "", "scopes": []}
        with pytest.raises(ForeignKeyViolation):
            await database.execute(
                insert(tokens), id="t", user_id="nobody", created_at=NOW, **token
            )
        with pytest.raises(DatabaseError) as check:
            await add_user(database)
            await database.execute(update(users).values(role="emperor"))
        assert check.value.code == "internal"
        assert "emperor" not in check.value.message
        with pytest.raises(DatabaseError):
            await database.fetch_value(text("SELECT nonsense FROM nowhere"))

    run(scenario())


def test_text_that_cannot_be_stored_is_an_error_and_hurts_nobody(
    run: Run, database: Database
) -> None:
    async def scenario() -> None:
        with pytest.raises(DatabaseError, match="cannot store"):
            await add_organization(database, "\ud800")
        assert await database.fetch_value(COUNT) == 0
        await add_organization(database, "a")

    run(scenario())


def test_a_transaction_sees_its_own_writes_and_others_do_not(run: Run, database: Database) -> None:
    async def scenario() -> None:
        async with database.transaction() as tx:
            await add_organization(tx, "a")
            assert await tx.fetch_value(COUNT) == 1
            assert await database.fetch_value(COUNT) == 0
        assert await database.fetch_value(COUNT) == 1

    run(scenario())


def test_an_exception_rolls_back(run: Run, database: Database) -> None:
    async def scenario() -> None:
        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as tx:
                await add_organization(tx, "a")
                raise ZeroDivisionError
        assert await database.fetch_value(COUNT) == 0
        await add_organization(database, "a")

    run(scenario())


def test_a_swallowed_error_commits_nothing(run: Run, database: Database) -> None:
    async def scenario() -> None:
        await add_organization(database, "a")
        with pytest.raises(DatabaseError, match="nothing was committed"):
            async with database.transaction() as tx:
                await add_organization(tx, "b")
                with pytest.raises(UniqueViolation):
                    await add_organization(tx, "a")
                with pytest.raises(DatabaseError, match="earlier statement"):
                    await tx.fetch_value(COUNT)
        assert await database.fetch_all(NAMES) == [{"name": "a"}]

    run(scenario())


def test_a_transaction_cannot_be_used_afterwards(run: Run, database: Database) -> None:
    async def scenario() -> None:
        async with database.transaction() as tx:
            await add_organization(tx, "a")
        with pytest.raises(DatabaseError, match="over"):
            await add_organization(tx, "b")
        assert await database.fetch_all(NAMES) == [{"name": "a"}]

    run(scenario())


@pytest.mark.parametrize("moment", ["waiting", "begin"])
def test_cancellation_rolls_back(
    run: Run, runtime: Runtime, database: Database, moment: str
) -> None:
    async def scenario() -> None:
        reached: Deferred[None] = Deferred()

        async def victim() -> None:
            async with database.transaction() as tx:
                await add_organization(tx, "a")
                if moment == "waiting":
                    runtime.reactor.callLater(0, reached.callback, None)
                    await Deferred()
                await add_organization(tx, "b")
                raise AssertionError("was not cancelled")

        work = Deferred.fromCoroutine(victim())
        if moment == "waiting":
            await reached
        elif moment == "statement":
            await database.fetch_value(COUNT)
        work.cancel()
        with pytest.raises(CancelledError):
            await work
        await add_organization(database, "a")
        assert await database.fetch_all(NAMES) == [{"name": "a"}]

    run(scenario())


def test_cancellation_at_every_turn_of_the_reactor(
    run: Run, runtime: Runtime, database: Database
) -> None:
    """Whatever the moment, both rows are there or none, and the next transaction works."""

    async def victim(number: int) -> None:
        async with database.transaction() as tx:
            await add_organization(tx, f"a{number}")
            await add_organization(tx, f"b{number}")

    async def scenario() -> None:
        ended = 0
        for number in range(40):
            work = Deferred.fromCoroutine(victim(number))
            for _ in range(number):
                await runtime.sleep(0)
            work.cancel()
            try:
                await work
                ended += 1
            except CancelledError:
                pass
        await add_organization(database, "z")
        names = [row["name"] for row in await database.fetch_all(NAMES)]
        firsts = {name[1:] for name in names if name.startswith("a")}
        seconds = {name[1:] for name in names if name.startswith("b")}
        assert firsts == seconds
        assert len(firsts) >= ended

    run(scenario())


def test_transactions_that_add_one_lose_no_update(run: Run, database: Database) -> None:
    read = select(organizations.c.display_name).with_for_update()
    write = update(organizations).values(display_name=bindparam("value"))

    async def add_one() -> None:
        async with database.transaction() as tx:
            value = int(await tx.fetch_value(read))
            await tx.execute(write, value=str(value + 1))

    async def scenario() -> None:
        await add_organization(database, "a")
        await database.execute(write, value="0")
        await gatherResults([Deferred.fromCoroutine(add_one()) for _ in range(30)])
        assert await database.fetch_value(select(organizations.c.display_name)) == "30"

    run(scenario())


def test_many_readers_and_writers_at_once(run: Run, database: Database) -> None:
    async def write(number: int) -> None:
        await add_organization(database, f"o{number}")

    async def read() -> None:
        count = await database.fetch_value(COUNT)
        assert 0 <= count <= 60

    async def scenario() -> None:
        work = [Deferred.fromCoroutine(write(number)) for number in range(60)]
        work += [Deferred.fromCoroutine(read()) for _ in range(200)]
        await gatherResults(work)
        assert await database.fetch_value(COUNT) == 60

    run(scenario())


def test_statements_of_one_transaction_may_be_asked_at_once(run: Run, database: Database) -> None:
    async def scenario() -> None:
        async with database.transaction() as tx:
            await gatherResults(
                [Deferred.fromCoroutine(add_organization(tx, f"o{i}")) for i in range(10)]
            )
            assert await tx.fetch_value(COUNT) == 10
        assert await database.fetch_value(COUNT) == 10

    run(scenario())


def test_listeners_hear_what_is_told(run: Run, database: Database) -> None:
    async def scenario() -> None:
        heard: list[str] = []
        last: Deferred[None] = Deferred()

        def note(payload: str) -> None:
            heard.append(payload)
            if payload == "last":
                last.callback(None)

        def broken(payload: str) -> None:
            raise ZeroDivisionError

        stop_broken = database.listen("colours", broken)
        stop = database.listen("colours", note)
        database.listen("others", note)
        await database.notify("colours", "red")
        stop_broken()
        stop_broken()
        await database.notify("elsewhere", "blue")
        with pytest.raises(ZeroDivisionError):
            async with database.transaction() as tx:
                await tx.notify("colours", "never")
                raise ZeroDivisionError
        async with database.transaction() as tx:
            await tx.notify("colours", "green")
            assert "green" not in heard
        await database.notify("others", "last")
        await last
        assert heard == ["red", "green", "last"]
        stop()

    run(scenario())


def test_ping_takes_milliseconds(run: Run, database: Database) -> None:
    assert 0.0 <= run(database.ping()) < 10_000.0


def test_every_statement_is_measured(run: Run, runtime: Runtime, database_url: str) -> None:
    metrics = Metrics()
    database = make_database(Settings(pool_min=1), database_url, runtime, metrics)

    async def scenario() -> None:
        await database.open()
        await add_organization(database, "a")
        async with database.transaction() as tx:
            await tx.fetch_value(COUNT)
        await database.close()

    run(scenario())
    assert metrics.registry.get_sample_value("wit_database_seconds_count") == 2


def test_a_closed_database_says_so_and_can_be_opened_again(
    run: Run, runtime: Runtime, database_url: str
) -> None:
    database = make_database(Settings(pool_min=1), database_url, runtime, Metrics())

    async def scenario() -> None:
        await database.open()
        write = Deferred.fromCoroutine(add_organization(database, "a"))
        await database.close()
        assert await write == 1
        with pytest.raises(DatabaseUnavailable):
            await database.fetch_value(COUNT)
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction():
                raise AssertionError
        await database.close()
        await database.open()
        assert await database.fetch_value(COUNT) == 1
        await database.close()

    run(scenario())


@pytest.mark.parametrize("url", ["mysql://host/name", "sqlite://", "sqlite:///:memory:", "wit.db"])
def test_an_address_of_no_engine_is_refused(url: str, runtime: Runtime) -> None:
    with pytest.raises(ConfigError, match=r"database\.url"):
        make_database(Settings(), url, runtime, Metrics())
