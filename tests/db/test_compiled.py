from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import (
    Dialect,
    bindparam,
    delete,
    exc,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from wit.db.compiled import KEPT, Statements
from wit.db.tables import events, jobs, users

SQLITE: Dialect = SQLiteDialect_pysqlite(paramstyle="qmark")
POSTGRES: Dialect = PGDialect_psycopg2()  # type: ignore[no-untyped-call]
NOON = datetime(2030, 1, 2, 12, 0, tzinfo=UTC)


def test_values_are_in_the_order_of_the_question_marks() -> None:
    statement = select(users.c.id).where(
        users.c.name == bindparam("name"), users.c.created_at < bindparam("before")
    )
    query = Statements(SQLITE).query(statement, {"before": NOON, "name": "x"})
    assert query.sql.count("?") == 2
    assert query.values == ("x", "2030-01-02 12:00:00.000000")
    assert query.reads


def test_psycopg_gets_names_and_a_quoted_table() -> None:
    statement = select(users.c.id).where(users.c.name == bindparam("name"))
    query = Statements(POSTGRES).query(statement, {"name": "x"})
    assert 'FROM "user"' in query.sql
    assert "%(name)s" in query.sql
    assert query.values == {"name": "x"}


def test_a_list_grows_to_as_many_places_as_it_has_values() -> None:
    statement = select(jobs.c.id).where(
        jobs.c.run_at.in_(bindparam("times", expanding=True)), jobs.c.kind == bindparam("kind")
    )
    statements = Statements(SQLITE)
    two = statements.query(statement, {"times": [NOON, NOON + timedelta(1)], "kind": "k"})
    assert two.values == ("2030-01-02 12:00:00.000000", "2030-01-03 12:00:00.000000", "k")
    none = statements.query(statement, {"times": [], "kind": "k"})
    assert none.values == ("k",)


def test_values_in_the_statement_and_beside_it_go_together() -> None:
    statement = insert(events).values(type="push", payload={"a": [1]})
    query = Statements(SQLITE).query(statement, {"id": "1"})
    assert set(query.values) == {"1", "push", '{"a": [1]}'}
    assert not query.reads


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRES], ids=["sqlite", "postgresql"])
def test_a_parameter_of_an_update_may_be_called_like_its_column(dialect: Dialect) -> None:
    statement = update(users).where(users.c.id == bindparam("id")).values(name=bindparam("name"))
    query = Statements(dialect).query(statement, {"id": "1", "name": "x"})
    assert "SET name=" in query.sql
    assert "SET id=" not in query.sql and ", id=" not in query.sql
    plain = update(users).where(users.c.id == bindparam("id"))
    query = Statements(dialect).query(plain, {"id": "1", "name": "x"})
    assert "SET name=" in query.sql


@pytest.mark.parametrize("dialect", [SQLITE, POSTGRES], ids=["sqlite", "postgresql"])
def test_one_spelling_of_on_conflict_serves_both_engines(dialect: Dialect) -> None:
    new = upsert(users)
    statement = new.on_conflict_do_update(
        index_elements=[users.c.id], set_={"name": new.excluded.name}
    ).returning(users.c.id)
    query = Statements(dialect).query(statement, {"id": "1", "name": "x"})
    assert "ON CONFLICT (id) DO UPDATE SET name = excluded.name RETURNING" in query.sql


def test_a_name_that_the_statement_does_not_have_is_refused() -> None:
    statement = delete(users).where(users.c.id == bindparam("id"))
    with pytest.raises(TypeError, match="no parameter nam"):
        Statements(SQLITE).query(statement, {"id": "1", "nam": "x"})


def test_a_missing_value_is_refused() -> None:
    statement = select(users).where(users.c.id == bindparam("id"))
    with pytest.raises(exc.InvalidRequestError, match="'id'"):
        Statements(SQLITE).query(statement, {})


def test_rows_of_one_batch_have_the_same_names() -> None:
    with pytest.raises(TypeError, match="same names"):
        Statements(SQLITE).queries(insert(users), [{"id": "1"}, {"name": "x"}])


def test_a_naive_time_is_refused_and_another_zone_becomes_utc() -> None:
    statement = select(jobs.c.id).where(jobs.c.run_at < bindparam("now"))
    statements = Statements(SQLITE)
    with pytest.raises(ValueError, match="zone"):
        statements.query(statement, {"now": NOON.replace(tzinfo=None)})
    east = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert statements.query(statement, {"now": east}).values == ("2030-01-02 12:00:00.000000",)


def test_rows_are_dicts_of_python_values() -> None:
    statement = select(
        users.c.id, users.c.suspended, users.c.created_at, func.count().label("n"), jobs.c.id
    )
    query = Statements(SQLITE).query(statement, {})
    description = [("id", None), ("suspended", None), ("created_at", None), ("n", None)]
    description.append(("id_1", None))
    rows = query.rows(description, [("1", 1, "2030-01-02 12:00:00.000000", 3, "2")])
    assert rows == [{"id": "1", "suspended": True, "created_at": NOON, "n": 3, "id_1": "2"}]
    assert rows[0]["created_at"].tzinfo is UTC


def test_plain_text_keeps_what_the_driver_says() -> None:
    query = Statements(SQLITE).query(text("SELECT :x AS x"), {"x": 1})
    assert query.rows([("x", None)], [(1,)]) == [{"x": 1}]


def test_a_statement_is_compiled_once_and_the_least_used_is_forgotten() -> None:
    statements = Statements(SQLITE)
    constant = select(users.c.id)
    plan = statements.query(constant, {}).plan
    for number in range(KEPT * 2):
        statements.query(select(literal(number)), {})
        assert statements.query(constant, {}).plan is plan
    assert len(statements._plans) == KEPT


def test_identity_is_not_confused_by_a_statement_at_the_same_address() -> None:
    statements = Statements(SQLITE)
    texts: set[Any] = set()
    for number in range(KEPT * 4):
        query = statements.query(text(f"SELECT {number}"), {})
        assert query.sql == f"SELECT {number}"
        texts.add(query.sql)
    assert len(texts) == KEPT * 4
