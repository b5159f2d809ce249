"""Sites to save, and a database of the other engine to restore into."""

from __future__ import annotations

import pytest

from tests.backup.support import Site
from wit.backup import rows
from wit.config import Config, Database
from wit.config_file import write_default
from wit.git.command import Git


@pytest.fixture
def other_url(database_url, tmp_path, postgres_server):
    """An empty database of the other engine, without tables."""
    if database_url.startswith("sqlite"):
        url = postgres_server.new_database()
        with rows.writing(url) as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        yield url
        postgres_server.drop_database(url)
    else:
        yield f"sqlite:///{tmp_path}/restored/wit.db"


@pytest.fixture
def site(database_url, tmp_path, runtime) -> Site:
    config = Config(tmp_path / "data", database=Database(url=database_url))
    write_default(config.data_dir)
    config.repos_dir.mkdir()
    return Site(config, runtime, Git.find())


@pytest.fixture
def sqlite_site(sqlite_template, tmp_path, runtime) -> Site:
    config = Config(tmp_path / "data")
    write_default(config.data_dir)
    (config.data_dir / "wit.db").write_bytes(sqlite_template.read_bytes())
    config.repos_dir.mkdir()
    return Site(config, runtime, Git.find())
