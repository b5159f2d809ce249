"""Migrations, on both engines: from nothing, from older, from newer, interrupted and raced."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from tests.support.postgres import PostgresServer
from wit.db import migrate
from wit.db.port import DatabaseError
from wit.db.tables import metadata
from wit.errors import ConfigError

HEAD = migrate.REVISIONS[-1]
"""The schema of this program."""
NEXT = "0900"
"""That of the next release, as these tests make it up."""

NEXT_MIGRATION = f"""
import os, time
from pathlib import Path
import sqlalchemy as sa
from alembic import op

revision = "{NEXT}"
down_revision = "{HEAD}"

def upgrade():
    op.add_column("organizations", sa.Column("motto", sa.Text(), server_default="none"))
    op.create_table("mottos", sa.Column("id", sa.Integer(), primary_key=True))
    {{then}}
"""


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/wit.db"
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        url = server.new_database(migrated=False)
        yield url
        server.drop_database(url)


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    return tmp_path / "backups"


def next_release(monkeypatch: pytest.MonkeyPatch, folder: Path, then: str = "") -> None:
    """Make this process a wit that has one more migration."""
    scripts = folder / "scripts"
    shutil.rmtree(scripts, ignore_errors=True)
    shutil.copytree(Path(migrate.__file__).parent / "migrations", scripts)
    (scripts / "versions" / f"{NEXT}_next.py").write_text(NEXT_MIGRATION.format(then=then))
    monkeypatch.setattr(migrate, "SCRIPTS", scripts)
    monkeypatch.setattr(
        migrate, "REVISIONS", (*migrate.REVISIONS[: migrate.REVISIONS.index(HEAD) + 1], NEXT)
    )


def engine(url: str) -> Any:
    return create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))


def table_names(url: str) -> set[str]:
    made = engine(url)
    try:
        return set(inspect(made).get_table_names())
    finally:
        made.dispose()


def run_sql(url: str, sql: str) -> list[Any]:
    made = engine(url)
    try:
        with made.begin() as connection:
            result = connection.exec_driver_sql(sql)
            return list(result) if result.returns_rows else []
    finally:
        made.dispose()


def test_the_constants_are_those_of_the_scripts() -> None:
    config = Config()
    config.set_main_option("script_location", str(migrate.SCRIPTS))
    scripts = ScriptDirectory.from_config(config)
    oldest_first = [script.revision for script in scripts.walk_revisions()][::-1]
    assert tuple(oldest_first) == migrate.REVISIONS
    assert scripts.get_heads() == [migrate.REVISIONS[-1]]


def test_from_nothing_to_exactly_the_tables(empty_url: str, backups: Path) -> None:
    assert migrate.status(empty_url).state == "empty"
    assert migrate.upgrade(empty_url, backups) == list(migrate.REVISIONS)
    assert migrate.status(empty_url) == migrate.MigrationStatus(HEAD, HEAD, "current")
    assert migrate.upgrade(empty_url, backups) == []
    assert not backups.exists()
    made = engine(empty_url)
    with made.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
    made.dispose()


def parts_of(definition: str) -> list[str]:
    """The columns and constraints of a CREATE TABLE, in whatever order they were added."""
    text = " ".join(definition.split())
    head, opening, inner = text.partition("(")
    parts, depth = [""], 0
    for letter in inner.strip().removesuffix(")"):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [head + opening, *sorted(part.strip() for part in parts)]


def test_the_schema_is_that_of_create_all(
    empty_url: str, backups: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """What Alembic does not compare (checks, partial indexes), compared as the engine says it."""
    migrate.upgrade(empty_url, backups)
    server: PostgresServer | None = None
    if empty_url.startswith("sqlite"):
        other = f"sqlite:///{tmp_path}/other.db"
        question = "SELECT name, sql FROM sqlite_master WHERE tbl_name NOT LIKE 'alembic%'"
    else:
        server = request.getfixturevalue("postgres_server")
        other = server.new_database(migrated=False)
        question = (
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace ="
            " 'public'::regnamespace AND conname NOT LIKE 'alembic%%' UNION ALL SELECT indexname,"
            " indexdef FROM pg_indexes WHERE schemaname = 'public' AND indexname NOT LIKE 'alem%%'"
        )
    made = engine(other)
    metadata.create_all(made)
    made.dispose()

    def schema(url: str) -> dict[str, Any]:
        found = {}
        for name, definition in run_sql(url, question):
            found[name] = parts_of(definition or "")
        return found

    try:
        assert schema(empty_url) == schema(other)
    finally:
        if server is not None:
            server.drop_database(other)


def test_status_makes_nothing(tmp_path: Path) -> None:
    assert migrate.status(f"sqlite:///{tmp_path}/none.db").state == "empty"
    assert list(tmp_path.iterdir()) == []


def test_a_new_file_is_its_owners_alone(tmp_path: Path, backups: Path) -> None:
    migrate.upgrade(f"sqlite:///{tmp_path}/wit.db", backups)
    assert stat.S_IMODE((tmp_path / "wit.db").stat().st_mode) == 0o600


def test_up_to_date_needs_no_alembic(tmp_path: Path, backups: Path) -> None:
    url = f"sqlite:///{tmp_path}/wit.db"
    migrate.upgrade(url, backups)
    program = (
        "import sys; from pathlib import Path; from wit.db import migrate;"
        f"assert migrate.upgrade({url!r}, Path({str(backups)!r})) == [];"
        "assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.attack(71)
def test_an_older_schema_is_upgraded_after_a_copy(
    empty_url: str, backups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.upgrade(empty_url, backups)
    run_sql(
        empty_url,
        "INSERT INTO organizations (id, name, display_name, created_at, updated_at)"
        " VALUES ('1', 'a', 'A', '2030-01-01', '2030-01-01')",
    )
    next_release(monkeypatch, tmp_path)
    assert migrate.status(empty_url) == migrate.MigrationStatus(HEAD, NEXT, "behind")
    assert migrate.upgrade(empty_url, backups) == [NEXT]
    assert run_sql(empty_url, "SELECT name, motto FROM organizations") == [("a", "none")]
    if empty_url.startswith("sqlite"):
        (copy,) = backups.iterdir()
        assert copy.name.startswith(f"wit-{HEAD}-")
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert migrate.status(f"sqlite:///{copy}").current == HEAD
        assert run_sql(f"sqlite:///{copy}", "SELECT name FROM organizations") == [("a",)]


@pytest.mark.attack(71)
def test_a_newer_schema_is_refused_with_what_to_do(empty_url: str, backups: Path) -> None:
    migrate.upgrade(empty_url, backups)
    run_sql(empty_url, "UPDATE alembic_version SET version_num = '0999'")
    assert migrate.status(empty_url).state == "newer"
    with pytest.raises(ConfigError) as refused:
        migrate.upgrade(empty_url, backups)
    for word in ("0999", migrate.REVISIONS[-1], "install", "restore"):
        assert word in refused.value.message
    assert run_sql(empty_url, "SELECT version_num FROM alembic_version") == [("0999",)]
    assert not backups.exists()


@pytest.mark.attack(71)
def test_a_migration_that_fails_changes_nothing(
    empty_url: str, backups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.upgrade(empty_url, backups)
    before = table_names(empty_url)
    next_release(monkeypatch, tmp_path, then='op.execute("INSERT INTO nowhere VALUES (1)")')
    with pytest.raises(DatabaseError, match="nowhere"):
        migrate.upgrade(empty_url, backups)
    assert table_names(empty_url) == before
    assert migrate.status(empty_url).state == "behind"
    next_release(monkeypatch, tmp_path)
    assert migrate.upgrade(empty_url, backups) == [NEXT]


@pytest.mark.attack(71)
def test_an_upgrade_killed_midway_leaves_the_old_schema(
    empty_url: str, backups: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate.upgrade(empty_url, backups)
    before = table_names(empty_url)
    reached = tmp_path / "reached"
    next_release(monkeypatch, tmp_path, then=f"Path({str(reached)!r}).touch(); time.sleep(60)")
    program = (
        "from pathlib import Path; from wit.db import migrate;"
        f"migrate.SCRIPTS = Path({str(migrate.SCRIPTS)!r});"
        f"migrate.REVISIONS = {migrate.REVISIONS!r};"
        f"migrate.upgrade({empty_url!r}, Path({str(backups)!r}))"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as child:
        deadline = time.monotonic() + 30
        while not reached.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    assert reached.exists()
    assert table_names(empty_url) == before
    assert migrate.status(empty_url).state == "behind"
    next_release(monkeypatch, tmp_path)
    assert migrate.upgrade(empty_url, backups) == [NEXT]
    assert "mottos" in table_names(empty_url)


def test_of_many_that_upgrade_at_once_one_does(
    empty_url: str, backups: Path, tmp_path: Path
) -> None:
    program = (
        "import sys; from pathlib import Path; from wit.db import migrate;"
        "sys.stdin.read();"
        f"print(migrate.upgrade({empty_url!r}, Path({str(backups)!r})))"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.close()
    answers = []
    for child in children:
        assert child.stdout is not None
        answers.append(child.stdout.read().strip())
        assert child.wait(60) == 0
    assert sorted(answers) == sorted([str(list(migrate.REVISIONS)), "[]", "[]"])
    assert migrate.status(empty_url).state == "current"


def test_a_file_with_other_things_in_it_is_copied_first(tmp_path: Path, backups: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "wit.db")) as connection:
        connection.execute("CREATE TABLE mine (x)")
        connection.commit()
    assert migrate.upgrade(f"sqlite:///{tmp_path}/wit.db", backups) == list(migrate.REVISIONS)
    (copy,) = backups.iterdir()
    assert copy.name.startswith("wit-none-")
    assert table_names(f"sqlite:///{copy}") == {"mine"}


def test_a_migration_may_not_leave_dangling_references(
    tmp_path: Path, backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/wit.db"
    migrate.upgrade(url, backups)
    next_release(
        monkeypatch,
        tmp_path,
        then='op.execute("INSERT INTO teams (id, org_id, name, created_at) VALUES'
        " ('1', 'gone', 'a', '2030-01-01')\")",
    )
    with pytest.raises(DatabaseError, match="teams"):
        migrate.upgrade(url, backups)
    assert migrate.status(url).current == HEAD
    assert run_sql(url, "SELECT * FROM teams") == []


def test_a_damaged_file_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "wit.db").write_bytes(b"this is not a database" * 100)
    with pytest.raises(DatabaseError, match="not a database"):
        migrate.status(f"sqlite:///{tmp_path}/wit.db")


def test_an_upgrade_waits_for_a_writer(
    tmp_path: Path, backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/wit.db"
    migrate.upgrade(url, backups)
    next_release(monkeypatch, tmp_path)
    with closing(
        sqlite3.connect(tmp_path / "wit.db", isolation_level=None, check_same_thread=False)
    ) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("CREATE TABLE late (x)")
        timer = threading.Timer(0.2, writer.execute, ["COMMIT"])
        timer.start()
        assert migrate.upgrade(url, backups) == [NEXT]
        timer.join()
    (copy,) = backups.iterdir()
    assert "late" in table_names(f"sqlite:///{copy}")
    assert os.path.getsize(copy) > 0
