"""The tables as lines of JSON that any engine can read back, whatever its own types are.

The first line of a table describes it: the kind of each column, the primary key, which columns
point into the table itself, and how far its sequences have counted. Each further line is a row.

Everything here blocks and is called in a thread, on a connection of its own.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from wit.backup.archive import check_stop
from wit.db.open import postgres_dsn, sqlite_path
from wit.db.port import DatabaseUnavailable
from wit.db.tables import metadata
from wit.db.types import Timestamp
from wit.errors import Invalid

BATCH = 500
"""Rows that are held in memory at once."""

_KINDS: dict[str, sa.types.TypeEngine[Any]] = {
    "time": Timestamp(),
    "json": sa.JSON(none_as_null=True),
    "boolean": sa.Boolean(),
    "integer": sa.BigInteger(),
    "text": sa.Text(),
}
_MAX_LINE = 64 * 1024 * 1024


@contextmanager
def reading(url: str) -> Iterator[Connection]:
    """A connection that sees one moment of the database and changes nothing."""
    with _connection(url, writing=False) as connection:
        yield connection


@contextmanager
def writing(url: str) -> Iterator[Connection]:
    """One transaction, committed if the block ends, undone if it raises."""
    with _connection(url, writing=True) as connection:
        try:
            yield connection
        except BaseException:
            with suppress(sa.exc.SQLAlchemyError):
                connection.rollback()
            raise
        connection.commit()


@contextmanager
def _connection(url: str, *, writing: bool) -> Iterator[Connection]:
    """Raises DatabaseUnavailable if the database is not reached, or is lost on the way."""
    try:
        with _begun(url, writing) as connection:
            yield connection
    except sa.exc.OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        raise DatabaseUnavailable(f"the database is not available: {reason}") from error


@contextmanager
def _begun(url: str, writing: bool) -> Iterator[Connection]:
    engine = _engine(url)
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            # Left alone, its driver begins a transaction at the first change only.
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.exec_driver_sql("PRAGMA busy_timeout = 10000")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
        else:
            connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=not writing
            )
        yield connection


def _engine(url: str) -> sa.Engine:
    if sqlite_path(url) is not None:
        return sa.create_engine(url, poolclass=sa.NullPool)
    import psycopg2

    dsn = postgres_dsn(url)
    connect = partial(psycopg2.connect, dsn, application_name="wit backup")
    return sa.create_engine("postgresql+psycopg2://", creator=connect, poolclass=sa.NullPool)


# Writing


def tables() -> list[sa.Table]:
    """All tables, each after those it points to."""
    return metadata.sorted_tables


def dump(
    connection: Connection, table: sa.Table, folder: Path, stop: threading.Event
) -> tuple[IO[bytes], int]:
    """A temporary file in ``folder`` with the rows of ``table``, and their number."""
    spool = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the caller closes it
    try:
        spool.write(_line(_describe(connection, table)))
        names = [column.name for column in table.columns]
        rows = connection.execution_options(yield_per=BATCH).execute(
            sa.select(table).order_by(*table.primary_key.columns)
        )
        count = 0
        for row in rows:
            check_stop(stop)
            spool.write(_line([_encode(getattr(row, name)) for name in names]))
            count += 1
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return spool, count


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _encode(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _describe(connection: Connection, table: sa.Table) -> dict[str, Any]:
    own = [key.parent.name for key in table.foreign_keys if key.column.table is table]
    return {
        "columns": {column.name: _kind(column.type) for column in table.columns},
        "key": [column.name for column in table.primary_key.columns],
        "own": sorted(own),
        "sequences": {
            column.name: _last_value(connection, table.name, column.name)
            for column in table.columns
            if column.autoincrement is True
        },
    }


def _kind(column_type: sa.types.TypeEngine[Any]) -> str:
    for kind, wanted in (
        ("time", Timestamp), ("json", sa.JSON), ("boolean", sa.Boolean), ("integer", sa.Integer),
    ):  # fmt: skip
        if isinstance(column_type, wanted):
            return kind
    return "text"


# Sequences


def _last_value(connection: Connection, table: str, column: str) -> int:
    """The highest number that the sequence has given out, even if its row is gone by now."""
    if connection.dialect.name == "sqlite":
        found = connection.execute(
            sa.text("SELECT seq FROM sqlite_sequence WHERE name = :table"), {"table": table}
        )
        return int(found.scalar() or 0)
    sequence = _sequence_name(connection, table, column)
    if sequence is None:
        return 0
    return int(
        connection.exec_driver_sql(
            f"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence}"  # noqa: S608
        ).scalar()
        or 0
    )


def _restore_sequence(connection: Connection, table: str, column: str, last: int) -> None:
    if last < 1:
        return
    if connection.dialect.name == "sqlite":
        connection.execute(
            sa.text("DELETE FROM sqlite_sequence WHERE name = :table"), {"table": table}
        )
        connection.execute(
            sa.text("INSERT INTO sqlite_sequence (name, seq) VALUES (:table, :last)"),
            {"table": table, "last": last},
        )
        return
    sequence = _sequence_name(connection, table, column)
    connection.execute(
        sa.text("SELECT setval(CAST(:sequence AS regclass), :last)"),
        {"sequence": sequence, "last": last},
    )


def _sequence_name(connection: Connection, table: str, column: str) -> str | None:
    quoted = connection.dialect.identifier_preparer.quote(table)
    name = connection.execute(
        sa.text("SELECT pg_get_serial_sequence(:table, :column)"),
        {"table": quoted, "column": column},
    ).scalar()
    return None if name is None else str(name)


# Reading back


def is_empty(connection: Connection) -> bool:
    """Whether nobody has used this database yet: no user, no organization, no repository."""
    present = set(sa.inspect(connection).get_table_names())
    one = sa.select(sa.literal(1)).limit(1)
    return not any(
        name in present and connection.execute(one.select_from(sa.table(name))).first()
        for name in ("user", "organizations", "repositories")
    )


def clear(connection: Connection) -> None:
    """Remove every row of every table that there is (what migrations put in, above all)."""
    present = set(sa.inspect(connection).get_table_names())
    for table in reversed(tables()):
        if table.name in present:
            connection.execute(sa.delete(sa.table(table.name)))


def load(connection: Connection, name: str, file: IO[bytes], stop: threading.Event) -> int:
    """Put the rows of a dumped table into the table ``name``; returns their number.

    Raises Invalid if the dump is not understood or the database does not take it.
    """
    try:
        head = json.loads(file.readline(_MAX_LINE))
        kinds: dict[str, str] = head["columns"]
        target = sa.table(name, *(sa.column(key, _KINDS[kind]) for key, kind in kinds.items()))
        return _load_rows(connection, target, head, file, stop)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(f"db/{name}.jsonl in the backup is not understood: {error!r}") from error
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise Invalid(f"the database does not take the rows of {name}: {reason}") from error


def _load_rows(
    connection: Connection,
    target: sa.TableClause,
    head: dict[str, Any],
    file: IO[bytes],
    stop: threading.Event,
) -> int:
    kinds, own = head["columns"], head["own"]
    rows = 0
    later: list[dict[str, Any]] = []  # rows that point to rows of the same table
    for batch in _batches(_rows(file, kinds)):
        check_stop(stop)
        for row in batch:
            if any(row[name] is not None for name in own):
                later.append({name: row[name] for name in (*head["key"], *own)})
                row.update(dict.fromkeys(own))
        connection.execute(sa.insert(target), batch)
        rows += len(batch)
    if later:
        statement = sa.update(target).values({name: sa.bindparam(f"new_{name}") for name in own})
        for key in head["key"]:
            statement = statement.where(target.c[key] == sa.bindparam(f"key_{key}"))
        for batch in _batches(later):
            connection.execute(statement, [
                {f"key_{key}": row[key] for key in head["key"]}
                | {f"new_{name}": row[name] for name in own}
                for row in batch
            ])  # fmt: skip
    for column, last in head["sequences"].items():
        _restore_sequence(connection, target.name, column, int(last))
    return rows


def _rows(file: IO[bytes], kinds: dict[str, str]) -> Iterator[dict[str, Any]]:
    times = [name for name, kind in kinds.items() if kind == "time"]
    while line := file.readline(_MAX_LINE):
        row = dict(zip(kinds, json.loads(line), strict=True))
        for name in times:
            if row[name] is not None:
                row[name] = datetime.fromisoformat(row[name])
        yield row


def _batches(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def broken_references(connection: Connection) -> list[str]:
    """Sentences about rows that point to nothing; PostgreSQL has refused those already."""
    if connection.dialect.name != "sqlite":
        return []
    found = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(100)
    return [
        f"row {row[1]} of {row[0]} points to a row of {row[2]} that is missing" for row in found
    ]


def revision(connection: Connection) -> str:
    """The revision of the schema (Alembic's own table). Raises Invalid without one."""
    if "alembic_version" not in sa.inspect(connection).get_table_names():
        raise Invalid("the database has no tables of wit yet")
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return str(found)


def disk_paths(connection: Connection) -> list[str]:
    """Where the rows say that repositories are, each ``/repos/<owner>/<name>.git``."""
    table = metadata.tables["repositories"]
    return list(
        connection.execute(sa.select(table.c.disk_path).order_by(table.c.disk_path)).scalars()
    )
