"""A real PostgreSQL server that the tests start for themselves."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg2

from wit.db import migrate

START_SECONDS = 30.0
_TEMPLATE = "wit_template"
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "log_min_messages": "fatal",
    # Not UTC, so that a connection that relies on the server's zone is found out.
    "timezone": "Asia/Kolkata",
}


_STRUCTURE = """
    SELECT md5(string_agg(line, ';' ORDER BY line)) FROM (
        SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable AS line
        FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint
        UNION ALL SELECT version_num FROM alembic_version
    ) AS lines
"""
_EMPTY = """
    DO $$ DECLARE it regclass; BEGIN
        SET LOCAL session_replication_role = replica;
        FOR it IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relname <> 'alembic_version'
                  AND relnamespace = 'public'::regnamespace LOOP
            IF pg_relation_size(it) > 262144 THEN
                EXECUTE 'TRUNCATE ' || it || ' CASCADE';
            ELSIF pg_relation_size(it) > 0 THEN
                EXECUTE 'DELETE FROM ' || it;
            END IF;
        END LOOP;
        FOR it IN SELECT oid FROM pg_class WHERE relkind = 'S' LOOP
            PERFORM setval(it, 1, false);
        END LOOP;
    END $$
"""


def _binaries() -> Path:
    """The newest installed version's folder; Debian keeps it off PATH."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4])
    )
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        raise RuntimeError("the tests need a PostgreSQL server: apt install postgresql")
    return found[-1].parent if found else Path(str(on_path)).parent


def _end_with_parent() -> None:
    """In the child: SIGQUIT when the process that runs the tests is killed (prctl(2))."""
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)


class PostgresServer:
    """One server with its own folder and port; ``stop`` and ``start`` may be repeated."""

    def __init__(self) -> None:
        self._bin = _binaries()
        self._folder = Path(tempfile.mkdtemp(prefix="wit-postgres-"))
        # The server refuses to run as root.
        self._as: dict[str, Any] = {}
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres", "postgres")
            self._as = {"user": "postgres", "group": "postgres", "extra_groups": []}
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._structure = ""
        """Of the template; "" as long as there is none."""
        self._empty: list[str] = []
        """Databases that are as the template is."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        subprocess.run(
            [
                *(self._bin / "initdb", "-D", self._folder / "data", "-U", "wit", "-A", "trust"),
                *("-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self._folder,
            **self._as,
        )

    @property
    def base_url(self) -> str:
        """Append the name of a database."""
        return f"postgresql://wit:secret@127.0.0.1:{self.port}/"

    def start(self) -> None:
        arguments = [f"--{name}={value}" for name, value in _SETTINGS.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(self._bin / "postgres", "-D", self._folder / "data", "-p", str(self.port)),
                    *("-k", self._folder),
                    *arguments,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                preexec_fn=_end_with_parent,
                **self._as,
            )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.run("SELECT 1")
                return
            except psycopg2.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log_text = (self._folder / "log").read_text()
                    raise RuntimeError(f"PostgreSQL did not start:\n{log_text}") from error
                time.sleep(0.05)

    def stop(self) -> None:
        """Disconnect everybody at once and end the server."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(START_SECONDS)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def run(self, sql: str, database: str = "postgres") -> list[Any]:
        """Run one statement on a connection of its own; returns its rows."""
        connection = psycopg2.connect(self.base_url + database)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def new_database(self, migrated: bool = True) -> str:
        """The URL of a fresh database, with wit's empty tables or with nothing in it."""
        if migrated and self._empty:
            return self.base_url + self._empty.pop()
        template = self._template() if migrated else "template0"
        name = f"wit_{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.base_url + name

    def drop_database(self, url: str) -> None:
        """Nobody needs it any more. Making a database means making 300 files, which takes long where
        as many have just been deleted: so the next one gets this one, emptied, if it can."""
        name = url.rpartition("/")[2]
        if self._has_structure_of_template(name):
            self.run(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
            self.run(_EMPTY, name)
            self._empty.append(name)
        else:
            self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def _has_structure_of_template(self, name: str) -> bool:
        try:
            return self.run(_STRUCTURE, name)[0][0] == self._structure
        except psycopg2.Error:
            return False

    def _template(self) -> str:
        if not self._structure:
            self.run(f"CREATE DATABASE {_TEMPLATE} TEMPLATE template0")
            migrate.upgrade(self.base_url + _TEMPLATE, self._folder)
            self._structure = self.run(_STRUCTURE, _TEMPLATE)[0][0]
        return _TEMPLATE
