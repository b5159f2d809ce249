"""No room to write, and no database: an error that says so, and nothing half done.

A limit on the size of files (setrlimit(2), RLIMIT_FSIZE) stands for the full disk: each write
beyond it fails, in git as it would with ENOSPC, and the test needs no file system of its own."""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import psycopg2
import pytest

from tests.attacks.test_23_hook_channel import begin, locked
from tests.support.daemon import git, wait_until
from tests.support.quarry import Quarry
from tests.support.site import Site, new_name, refs
from tests.support.wire import (
    BLOB,
    ZERO,
    commands,
    entry,
    history,
    pack,
    post,
    push_history,
    read_report,
)

pytestmark = pytest.mark.attack(25)

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@contextmanager
def no_room_beyond(process: psutil.Process, size: int) -> Iterator[None]:
    """``process`` and the children that it starts write no file that is larger."""
    process.rlimit(psutil.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, UNLIMITED)


def sound(site: Site, name: str, before: dict[str, str]) -> None:
    assert refs(site.disk(name)) == before
    Quarry(site.daemon).check()
    done = git("-C", str(site.disk(name)), "fsck", "--strict")
    assert "error" not in done.stderr
    assert not list((site.disk(name) / "objects").rglob("tmp_*"))
    made = history(b"afterwards\n")
    body = commands([(ZERO, made.commit, "refs/heads/after")]) + made.pack
    answer = post(site.daemon, site.alice, name, "git-receive-pack", body, version=0)
    assert read_report(answer.body).refs == {"refs/heads/after": "ok"}


def pushes(site: Site, name: str) -> int:
    return [event["type"] for event in site.daemon.events(name)].count("push")


def test_no_room_for_a_pack(site: Site) -> None:
    name = new_name()
    push_history(site.daemon, site.alice, name)
    before = refs(site.disk(name))
    packed = pack([entry(BLOB, os.urandom(3_000_000)) for _ in range(12)])
    body = commands([(ZERO, before["refs/heads/main"], "refs/heads/big")]) + packed
    with no_room_beyond(Quarry(site.daemon).process, 20_000_000):
        answer = post(site.daemon, site.alice, name, "git-receive-pack", body, version=0)
    text = answer.text
    assert answer.status in (200, 400, 503) and "unpack ok" not in text, text[:500]
    assert "Traceback" not in text and "internal error" not in text
    sound(site, name, before)


def test_no_room_for_a_ref(site: Site) -> None:
    """The objects are in, the policy has agreed, and then the ref cannot be written."""
    name = new_name()
    push_history(site.daemon, site.alice, name)
    before = refs(site.disk(name))
    with locked(site.daemon):
        http = begin(site, name)
        for child in Quarry(site.daemon).gits("receive-pack"):
            child.rlimit(psutil.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    answer = http.answer()
    http.socket.close()
    assert answer.status in (200, 400, 503)
    assert "ok" not in read_report(answer.body).refs.values() if answer.status == 200 else True
    sound(site, name, before)
    wait_until(lambda: pushes(site, name) == 2, what="the entry of the push that went in")


def test_a_clone_without_room_for_the_cache(site: Site) -> None:
    """The pack cache is a convenience: without it the clone goes on, or says why not."""
    name = new_name()
    made = push_history(site.daemon, site.alice, name, os.urandom(3_000_000))
    url = site.daemon.url(name, "alice", site.alice.token)
    with no_room_beyond(Quarry(site.daemon).process, 2_000_000):
        done = git("clone", "-q", url, str(site.daemon.data_dir.parent / new_name()), check=False)
    assert "Traceback" not in done.stderr
    target = site.daemon.data_dir.parent / new_name()
    git("clone", "-q", url, str(target))
    assert git("rev-parse", "HEAD", cwd=target).stdout.strip() == made.commit


def test_a_locked_database(strict: Site) -> None:
    """SQLite is written to by somebody who does not end."""
    name = new_name()
    push_history(strict.daemon, strict.alice, name)
    before = refs(strict.disk(name))
    made = history(b"locked\n")
    body = commands([(ZERO, made.commit, "refs/heads/locked")]) + made.pack
    with locked(strict.daemon):
        answer = post(strict.daemon, strict.alice, name, "git-receive-pack", body, version=0)
        assert "refs/heads/locked" in answer.text and "unpack ok" in answer.text
        assert read_report(answer.body).refs["refs/heads/locked"] != "ok"
        # Reading goes on:
        url = strict.daemon.url(name, "alice", strict.alice.token)
        assert before["refs/heads/main"] in git("ls-remote", url).stdout
    sound(strict, name, before)


def test_a_database_that_is_no_file_any_more(site: Site) -> None:
    """Every table is locked, for readers too (the journal mode forbids no exclusive lock)."""
    name = new_name()
    push_history(site.daemon, site.alice, name)
    database = sqlite3.connect(site.daemon.data_dir / "wit.db", isolation_level=None, timeout=10)
    database.execute("BEGIN EXCLUSIVE")
    try:
        status, _, _ = site.daemon.get("livez")
        assert status == 200
    finally:
        database.execute("ROLLBACK")
        database.close()
    sound(site, name, refs(site.disk(name)))


@pytest.mark.postgres
def test_a_lost_database(sites) -> None:  # type: ignore[no-untyped-def]
    """PostgreSQL throws everybody out and lets nobody in for a while."""
    site: Site = sites("postgresql")
    name = new_name()
    push_history(site.daemon, site.alice, name)
    before = refs(site.disk(name))
    url = site.daemon.environment["DATABASE_URL"]
    database = url.rpartition("/")[2].partition("?")[0]
    boss = psycopg2.connect(url.replace(f"/{database}", "/postgres", 1))
    boss.autocommit = True
    cursor = boss.cursor()
    made = history(b"lost\n")
    body = commands([(ZERO, made.commit, "refs/heads/lost")]) + made.pack
    try:
        cursor.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS false')
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,)
        )
        for service, data in (("git-receive-pack", body), ("git-upload-pack", b"0000")):
            answer = post(site.daemon, site.alice, name, service, data, version=0)
            assert answer.status == 503, answer
            assert "Traceback" not in answer.text and "psycopg" not in answer.text
            assert "postgres" not in answer.text.lower()
        assert site.daemon.get("livez")[0] == 200
        assert site.daemon.get("readyz")[0] == 503
    finally:
        cursor.execute(f'ALTER DATABASE "{database}" ALLOW_CONNECTIONS true')
        boss.close()
    wait_until(lambda: site.daemon.get("readyz")[0] == 200, what="the database")
    sound(site, name, before)
