"""What is PostgreSQL's alone: the pool, and a server that goes away and comes back."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
from sqlalchemy import Text, bindparam, cast, func, literal, select, text
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from tests.support.postgres import PostgresServer
from wit.config import Database as Settings
from wit.db.open import make_database
from wit.db.port import Database, DatabaseUnavailable
from wit.db.tables import organizations
from wit.errors import ConfigError
from wit.metrics import Metrics
from wit.runtime import Runtime

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Make = Callable[..., Database]

pytestmark = pytest.mark.postgres
COUNT = select(func.count()).select_from(organizations)
BACKEND = text("SELECT pg_backend_pid()")


@pytest.fixture
def url(postgres_server: PostgresServer) -> Iterator[str]:
    url = postgres_server.new_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def make(url: str, run: Run, runtime: Runtime) -> Iterator[Make]:
    made: list[Database] = []

    def make(**settings: Any) -> Database:
        settings = {"pool_min": 1, "pool_max": 2, "busy_seconds": 5.0, **settings}
        database = make_database(Settings(**settings), url, runtime, Metrics())
        run(database.open())
        made.append(database)
        return database

    yield make
    for database in made:
        run(database.close())


def connections(server: PostgresServer, url: str) -> int:
    name = url.rpartition("/")[2]
    rows = server.run(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'")
    return int(rows[0][0])


async def until(runtime: Runtime, true: Callable[[], bool]) -> None:
    while not true():
        await runtime.sleep(0.01)


def test_the_session_is_in_utc(run: Run, make: Make) -> None:
    assert run(make().fetch_value(text("SHOW timezone"))) == "UTC"


def test_the_pool_has_a_limit_and_a_bounded_wait(
    run: Run, make: Make, url: str, postgres_server: PostgresServer
) -> None:
    database = make(busy_seconds=0.3)

    async def scenario() -> None:
        async with database.transaction() as one, database.transaction() as two:
            assert await one.fetch_value(BACKEND) != await two.fetch_value(BACKEND)
            with pytest.raises(DatabaseUnavailable, match="busy"):
                await database.fetch_value(COUNT)
        work = [Deferred.fromCoroutine(database.fetch_value(BACKEND)) for _ in range(50)]
        assert len(set(await gatherResults(work))) <= 2

    run(scenario())
    assert connections(postgres_server, url) <= 3


def test_close_closes_every_connection(
    run: Run, runtime: Runtime, make: Make, url: str, postgres_server: PostgresServer
) -> None:
    database = make()
    assert connections(postgres_server, url) == 2
    run(database.close())
    run(until(runtime, lambda: connections(postgres_server, url) == 0))
    assert connections(postgres_server, url) == 0


@pytest.mark.attack(25)
def test_a_lock_is_waited_for_within_bounds(run: Run, make: Make) -> None:
    database = make(busy_seconds=0.3)
    lock = text("LOCK TABLE organizations IN EXCLUSIVE MODE")

    async def scenario() -> None:
        async with database.transaction() as tx:
            await tx.execute(lock)
            with pytest.raises(DatabaseUnavailable, match="locked"):
                async with database.transaction() as other:
                    await other.execute(lock)
        async with database.transaction() as tx:
            await tx.execute(lock)

    run(scenario())


def test_a_cancelled_statement_keeps_its_connection_until_it_ended(
    run: Run, runtime: Runtime, make: Make
) -> None:
    database = make(pool_max=1)

    async def scenario() -> None:
        backend = await database.fetch_value(BACKEND)
        sleeping = Deferred.fromCoroutine(database.fetch_value(text("SELECT pg_sleep(0.2)")))
        await runtime.sleep(0.02)
        sleeping.cancel()
        with pytest.raises(CancelledError):
            await sleeping
        assert await database.fetch_value(BACKEND) == backend

    run(scenario())


def test_a_statement_that_the_server_cancels_is_unavailable(
    run: Run, make: Make, postgres_server: PostgresServer
) -> None:
    database = make()

    async def scenario() -> None:
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction() as tx:
                await tx.execute(text("SET LOCAL statement_timeout = 20"))
                await tx.fetch_value(text("SELECT pg_sleep(10)"))
        assert await database.fetch_value(COUNT) == 0

    run(scenario())


@pytest.mark.attack(25)
def test_a_killed_connection_is_replaced(
    run: Run, runtime: Runtime, make: Make, postgres_server: PostgresServer
) -> None:
    database = make(pool_max=1)

    async def scenario() -> None:
        victim = await database.fetch_value(BACKEND)
        sleeping = Deferred.fromCoroutine(database.fetch_value(text("SELECT pg_sleep(30)")))
        await runtime.sleep(0.02)
        await runtime.in_thread(postgres_server.run, f"SELECT pg_terminate_backend({victim})")
        with pytest.raises(DatabaseUnavailable):
            await sleeping
        assert await database.fetch_value(BACKEND) != victim

        with pytest.raises(DatabaseUnavailable):
            async with database.transaction() as tx:
                victim = await tx.fetch_value(BACKEND)
                kill = f"SELECT pg_terminate_backend({victim})"
                await runtime.in_thread(postgres_server.run, kill)
                await tx.fetch_value(COUNT)
        assert await database.fetch_value(BACKEND) != victim

    run(scenario())


@pytest.mark.attack(25)
def test_the_server_goes_away_and_comes_back(
    run: Run, runtime: Runtime, postgres_server: PostgresServer
) -> None:
    server = PostgresServer()
    database: Database | None = None
    try:
        server.start()
        database = make_database(
            Settings(pool_min=2, pool_max=4), server.new_database(), runtime, Metrics()
        )
        run(restart_under(runtime, server, database))
    finally:
        if database is not None:
            run(database.close())
        server.remove()


async def restart_under(runtime: Runtime, server: PostgresServer, database: Database) -> None:
    await database.open()
    heard: list[str] = []
    database.listen("colours", heard.append)
    await database.notify("colours", "red")
    await until(runtime, lambda: heard == ["red"])

    sleeping = Deferred.fromCoroutine(database.fetch_value(text("SELECT pg_sleep(30)")))
    await runtime.sleep(0.02)
    await runtime.in_thread(server.stop)
    with pytest.raises(DatabaseUnavailable):
        await sleeping
    for _ in range(3):
        with pytest.raises(DatabaseUnavailable):
            await database.fetch_value(COUNT)

    await runtime.in_thread(server.start)
    assert await database.fetch_value(COUNT) == 0
    await until(runtime, lambda: len(heard) > 1)
    assert heard == ["red", ""]
    await database.notify("colours", "green")
    await until(runtime, lambda: len(heard) > 2)
    assert heard == ["red", "", "green"]


def test_two_processes_hear_each_other(run: Run, runtime: Runtime, make: Make) -> None:
    one, two = make(), make()

    async def scenario() -> None:
        heard: list[str] = []
        two.listen('odd "name"', heard.append)
        await two.notify("settle")
        await one.notify('odd "name"', "x")
        await until(runtime, lambda: bool(heard))
        assert heard == ["x"]

    run(scenario())


def test_surplus_connections_are_closed_when_idle(
    run: Run, runtime: Runtime, make: Make, url: str, postgres_server: PostgresServer
) -> None:
    database: Any = make(pool_max=4)

    async def scenario() -> None:
        sleep = text("SELECT pg_sleep(0.02)")
        await gatherResults([Deferred.fromCoroutine(database.fetch_value(sleep)) for _ in "1234"])
        assert await runtime.in_thread(connections, postgres_server, url) == 5
        for _ in range(2):
            database._tidying.cancel()
            database._tidy()
        await until(runtime, lambda: connections(postgres_server, url) == 2)
        assert await database.fetch_value(COUNT) == 0

    run(scenario())


def test_an_unreachable_server_is_unavailable(run: Run, runtime: Runtime) -> None:
    for url in ("postgresql://wit:secret@127.0.0.1:1/x", "postgresql://wit@no-host.invalid/x"):
        database = make_database(Settings(), url, runtime, Metrics())
        with pytest.raises(DatabaseUnavailable, match="cannot be reached") as caught:
            run(database.open())
        assert "secret" not in caught.value.message


def test_a_host_name_is_looked_up_off_the_reactor(run: Run, runtime: Runtime, url: str) -> None:
    named = url.replace("127.0.0.1", "localhost")
    database = make_database(Settings(), named, runtime, Metrics())

    async def scenario() -> None:
        await database.open()
        assert await database.fetch_value(COUNT) == 0
        await database.close()

    run(scenario())


def test_a_wrong_address_is_named_without_its_password(runtime: Runtime) -> None:
    with pytest.raises(ConfigError, match=r"database\.url") as caught:
        make_database(Settings(), "postgresql://u:secret@h/n?nonsense=1", runtime, Metrics())
    assert "secret" not in caught.value.message


def test_a_missing_driver_is_named(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.delitem(sys.modules, "wit.db.postgres")
    monkeypatch.delitem(sys.modules, "wit.db.postgres_link", raising=False)
    monkeypatch.delitem(sys.modules, "wit.db.postgres_listener", raising=False)
    monkeypatch.setitem(sys.modules, "txpostgres", None)
    with pytest.raises(ConfigError, match=r"pip install wit\[postgres\]"):
        make_database(Settings(), "postgresql://u@h/n", runtime, Metrics())


def test_a_quick_statement_is_planned_once_for_each_connection(run: Run, make: Make) -> None:
    quick = select(
        cast(bindparam("name"), Text).label("name"), literal("it's 100 %").label("constant")
    ).execution_options(quick=True)
    prepared = text("SELECT statement, generic_plans + custom_plans FROM pg_prepared_statements")
    database = make(pool_max=1)

    async def check() -> None:
        for name in ("o'o", "", "%(name)s"):
            row = await database.fetch_one(quick, name=name)
            assert row == {"name": name, "constant": "it's 100 %"}
        ((statement, runs),) = [tuple(row.values()) for row in await database.fetch_all(prepared)]
        assert "CAST($1 AS TEXT)" in statement
        assert runs == 3

    run(check())
