"""Making a backup that is whole or not there."""

from __future__ import annotations

import fcntl
import os

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred

from tests.backup.support import fill, make_repository, silent
from wit.backup import repository
from wit.backup.create import backup
from wit.config import Database
from wit.errors import Invalid
from wit.git.maintenance import LOCK


def test_cancelling_leaves_nothing(run, sqlite_site, tmp_path, runtime):
    make_repository(sqlite_site.config.repos_dir, "alice/tools", tmp_path)
    fill(sqlite_site.config.database_url, "alice/tools")
    lock = sqlite_site.config.repos_dir / "alice/tools.git" / LOCK
    held = os.open(lock, os.O_CREAT | os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)

    async def cancelled() -> None:
        waiting: Deferred[None] = Deferred()

        def progress(line: str) -> None:
            if line.startswith("saving alice/tools"):
                runtime.reactor.callFromThread(waiting.callback, None)

        work = Deferred.fromCoroutine(backup(sqlite_site, tmp_path / "b.tar", progress))
        await waiting
        work.cancel()
        with pytest.raises(CancelledError):
            await work

    run(cancelled())
    os.close(held)
    assert not list(tmp_path.glob("b.tar*"))


def test_a_backup_replaces_the_old_one_only_when_complete(run, sqlite_site, tmp_path):
    file = tmp_path / "b.tar"
    file.write_text("old")
    broken = attrs.evolve(sqlite_site.config, database=Database(url=f"sqlite:///{tmp_path}/no.db"))
    with pytest.raises(Invalid):
        run(backup(attrs.evolve(sqlite_site, config=broken), file, silent))
    assert file.read_text() == "old"
    assert not list(tmp_path.glob("*.partial"))
    run(backup(sqlite_site, file, silent))
    assert file.read_bytes()[:13] == b"manifest.json"


def test_logs_end_where_their_ref_stands():
    a, b, c = (letter.encode() * 40 for letter in "abc")
    log = b"%b %b who\tpush: x\n%b %b who\tpush: y\n" % (a, b, b, c)
    assert repository.cut_log(log, c) == log
    assert repository.cut_log(log, b) == log.splitlines(keepends=True)[0]
    assert repository.cut_log(log, a) == b""
