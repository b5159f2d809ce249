"""The one place that knows which engine an address means."""

from __future__ import annotations

from pathlib import Path

from wit.config import Database as Settings
from wit.db.port import Database
from wit.errors import ConfigError
from wit.metrics import Metrics
from wit.runtime import Runtime

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://", "postgresql+psycopg2://")


def sqlite_path(url: str) -> Path | None:
    """The file that an SQLite address names; None for a PostgreSQL address.

    Raises ConfigError for any other address.
    """
    if url.startswith(_POSTGRES):
        return None
    path = url.removeprefix(_SQLITE)
    if path == url or path in ("", ":memory:"):
        scheme = url.partition(":")[0][:40]
        raise ConfigError(
            f"database.url begins with {scheme!r}: expected postgresql://user:password@host/name, "
            "or sqlite:/// and the path of a file"
        )
    return Path(path)


def postgres_dsn(url: str) -> str:
    """``url`` as libpq reads it (PostgreSQL manual, section 34.1.1.2)."""
    return "postgresql://" + url.partition("://")[2]


def make_database(settings: Settings, url: str, runtime: Runtime, metrics: Metrics) -> Database:
    """The database at ``url``, not opened yet.

    Raises ConfigError for an address that means no engine, or one whose driver is missing.
    """
    path = sqlite_path(url)
    if path is not None:
        from wit.db.sqlite import SqliteDatabase

        return SqliteDatabase(settings, path, runtime, metrics)
    try:
        from wit.db.postgres import PostgresDatabase
    except ImportError as error:
        raise ConfigError(missing_driver(error)) from error
    return PostgresDatabase(settings, postgres_dsn(url), runtime, metrics)


def missing_driver(error: ImportError) -> str:
    return (
        f"database.url is a PostgreSQL address, which needs {error.name or 'a driver'}: "
        "pip install wit[postgres]"
    )
