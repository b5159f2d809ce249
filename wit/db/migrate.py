"""Bringing a database to the schema of this program.

An upgrade is one transaction, on SQLite too: killed midway, it leaves the old schema. Whoever
upgrades holds a lock in the database, so that of several daemons started at once one works and the
others then find the work done. An SQLite file with anything in it is copied first.

A database that is up to date is recognised without loading Alembic, which takes a while. These
functions block; call them in a thread.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import attrs

from wit.db.open import missing_driver, postgres_dsn, sqlite_path
from wit.db.port import DatabaseError, DatabaseUnavailable
from wit.errors import ConfigError
from wit.redaction import redact

if TYPE_CHECKING:
    import psycopg2.extensions
    from sqlalchemy import Connection, Engine

REVISIONS = ("0001", "0002", "0003", "0004", "0005")
"""All revisions of migrations/versions, oldest first. A test compares."""

SCRIPTS = Path(__file__).parent / "migrations"

LOCK_SECONDS = 60.0
"""How long an upgrade waits for writers and for another daemon's upgrade to end (SQLite)."""

CONNECT_SECONDS = 5

_LOCK_KEY = 0x776974  # "wit"
_VERSION = "SELECT version_num FROM alembic_version"


@attrs.frozen
class MigrationStatus:
    """``current`` is None for a database without wit's tables."""

    current: str | None
    head: str
    state: Literal["current", "empty", "behind", "newer"]


def status(url: str) -> MigrationStatus:
    """How the database at ``url`` stands to this program. Changes and creates nothing.

    Raises DatabaseUnavailable, and ConfigError for a wrong address.
    """
    path = sqlite_path(url)
    current = _sqlite_revision(path) if path is not None else _postgres_revision(url)
    return _judge(current)


def upgrade(url: str, backup_dir: Path, target: str = "head") -> list[str]:
    """Apply what is missing; returns the revisions applied, none if there was nothing to do.

    An older ``target`` is for restoring a backup, whose rows go into the schema they came from.

    A missing SQLite file is made, readable by its owner alone. Raises ConfigError for a schema
    that is newer than this program, DatabaseUnavailable, and DatabaseError if a migration fails;
    the database is then as it was before.
    """
    path = sqlite_path(url)
    before = status(url)
    if before.state == "newer":
        raise newer_schema(before, path, backup_dir)
    if before.state == "current":
        return []
    from sqlalchemy.exc import DBAPIError

    try:
        with _locked(url, path) as connection:
            before = _judge(_revision_within(connection))
            if before.state == "newer":
                raise newer_schema(before, path, backup_dir)
            applied = missing(before, target)
            if applied:
                if path is not None:
                    _back_up(path, backup_dir, before)
                _run_alembic(connection, target)
                _check_references(connection)
            return applied
    except DBAPIError as error:
        raise _translated(path, error.orig) from error


def missing(status: MigrationStatus, target: str = "head") -> list[str]:
    """Revisions that an upgrade would apply, oldest first."""
    done = 0 if status.current is None else REVISIONS.index(status.current) + 1
    end = len(REVISIONS) if target == "head" else REVISIONS.index(target) + 1
    return list(REVISIONS[done:end])


def newer_schema(status: MigrationStatus, path: Path | None, backup_dir: Path) -> ConfigError:
    """What to say to somebody who starts an old program on a new database."""
    backup = (
        f"restore the copy that was made before the upgrade ({backup_dir}/wit-{status.head}-*.db "
        f"over {path}, with no wit running and {path}-wal and {path}-shm deleted)"
        if path is not None
        else f"restore a backup of the database with schema {status.head} (wit restore)"
    )
    return ConfigError(
        f"the database has schema {status.current}, this wit knows schemas up to {status.head}: "
        f"install the newer wit again (the one that has migration {status.current}), or {backup}"
    )


def _judge(current: str | None) -> MigrationStatus:
    head = REVISIONS[-1]
    if current is None:
        return MigrationStatus(None, head, "empty")
    if current == head:
        return MigrationStatus(current, head, "current")
    return MigrationStatus(current, head, "behind" if current in REVISIONS else "newer")


# SQLite


def _sqlite_revision(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        with closing(_open_sqlite(path)) as connection:
            return _sqlite_version(connection)
    except sqlite3.Error as error:
        raise _translated(path, error) from error


def _sqlite_version(connection: sqlite3.Connection) -> str | None:
    names = connection.execute("SELECT name FROM sqlite_master WHERE name = 'alembic_version'")
    if names.fetchone() is None:
        return None
    row = connection.execute(_VERSION).fetchone()
    return str(row[0]) if row else None


def _open_sqlite(path: Path, read_only: bool = True) -> sqlite3.Connection:
    from wit.db.sqlite_threads import connect

    return connect(path, LOCK_SECONDS, read_only)


def _open_for_upgrade(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = _open_sqlite(path, read_only=False)
    # A migration that rebuilds a table must not delete the rows that point to it.
    connection.execute("PRAGMA foreign_keys=OFF")
    return connection


def _back_up(path: Path, backup_dir: Path, before: MigrationStatus) -> None:
    """Copy what is committed, while the lock keeps others from writing."""
    with closing(_open_sqlite(path)) as source:
        if source.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            return
        backup_dir.mkdir(parents=True, exist_ok=True)
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        target = backup_dir / f"wit-{before.current or 'none'}-{moment}.db"
        unfinished = target.with_suffix(".tmp")
        unfinished.unlink(missing_ok=True)
        os.close(os.open(unfinished, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with closing(sqlite3.connect(unfinished)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
        unfinished.rename(target)


# PostgreSQL


def _postgres_revision(url: str) -> str | None:
    connect = _postgres(url)
    from psycopg2 import Error

    try:
        with closing(connect()) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('alembic_version')")
            if cursor.fetchone() == (None,):
                return None
            cursor.execute(_VERSION)
            row = cursor.fetchone()
            return str(row[0]) if row else None
    except Error as error:
        raise _translated(None, error) from error


def _postgres(url: str) -> Callable[[], psycopg2.extensions.connection]:
    try:
        import psycopg2
    except ImportError as error:
        raise ConfigError(missing_driver(error)) from error
    dsn = postgres_dsn(url)
    return lambda: psycopg2.connect(
        dsn, connect_timeout=CONNECT_SECONDS, application_name="wit migrate"
    )


# Both


@contextmanager
def _locked(url: str, path: Path | None) -> Iterator[Connection]:
    """One transaction in which nobody else upgrades; committed at the end of the block."""
    from sqlalchemy import text

    engine = _engine(url, path)
    try:
        with engine.connect() as connection, connection.begin():
            if path is not None:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK_KEY})"))
            yield connection
    finally:
        engine.dispose()


def _engine(url: str, path: Path | None) -> Engine:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    if path is None:
        creator: Any = _postgres(url)
        return create_engine("postgresql+psycopg2://", creator=creator, poolclass=NullPool)
    return create_engine("sqlite://", creator=lambda: _open_for_upgrade(path), poolclass=NullPool)


def _revision_within(connection: Connection) -> str | None:
    from sqlalchemy import inspect

    if not inspect(connection).has_table("alembic_version"):
        return None
    row = connection.exec_driver_sql(_VERSION).fetchone()
    return str(row[0]) if row else None


def _run_alembic(connection: Connection, target: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    command.upgrade(config, target)


def _check_references(connection: Connection) -> None:
    """What SQLite's foreign keys would have refused, had they been on."""
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
        if broken:
            tables = ", ".join(sorted({row[0] for row in broken}))
            raise DatabaseError(f"the migration would leave dangling references in {tables}")


def _translated(path: Path | None, error: BaseException | None) -> DatabaseError:
    """The port's error for a driver's."""
    translated: BaseException | None = None
    if path is None and error is not None:
        from wit.db import postgres_link

        translated = postgres_link.translate(error)
    elif isinstance(error, Exception):
        from wit.db import sqlite_threads

        translated = sqlite_threads.translate(error)
    if isinstance(translated, DatabaseUnavailable):
        reason = translated.message
        if path is None and getattr(error, "pgcode", None) is None:
            reason = " ".join(redact(str(error)).split())  # why libpq could not connect
        return DatabaseUnavailable(f"{path or 'PostgreSQL'}: {reason}")
    return translated if isinstance(translated, DatabaseError) else DatabaseError(repr(error))
