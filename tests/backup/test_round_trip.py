"""What was saved comes back: while people push, across engines (attack 72)."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from tests.backup.support import NOW, commit, content, fill, make_repository, refs, sh, silent
from wit.backup import rows
from wit.backup.create import backup
from wit.backup.restore import restore
from wit.config import Config, Database
from wit.db import migrate, tables
from wit.errors import Conflict


def keys(config: Config) -> Path:
    folder = config.data_dir / "ssh"
    folder.mkdir()
    (folder / "host_ed25519").write_text("secret key")
    (folder / "host_ed25519.pub").write_text("public key")
    return folder


@pytest.mark.attack(72)
@pytest.mark.parametrize("name", ["site.tar", "site.tar.gz"])
def test_backup_under_pushers_restores_into_the_other_engine(
    run, site, other_url, tmp_path, runtime, name
):
    names = ["alice/tools", "alice/fork"]
    bares = [make_repository(site.config.repos_dir, name, tmp_path) for name in names]
    fill(site.config.database_url, *names)
    keys(site.config)
    stop, pushed, errors = threading.Event(), [0, 0, 0, 0], []

    def push(number: int) -> None:
        work = tmp_path / f"pusher{number}"
        try:
            sh("git", "clone", "-q", bares[number % 2], work)
            sh("git", "-C", work, "checkout", "-qb", f"b{number}")
            while not stop.is_set():
                commit(work, f"f{number}-{pushed[number]}")
                sh("git", "-C", work, "push", "-q", "origin", f"b{number}")
                pushed[number] += 1
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=push, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    while not errors and min(pushed) < 2:
        stop.wait(0.01)
    file = tmp_path / name
    before = {bare: refs(bare) for bare in bares}
    summary = run(backup(site, file, silent))
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert summary.problems == ()
    assert summary.repositories == 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "manifest.json" in sh("tar", "tf", file)
    assert not list(tmp_path.glob("*.partial"))

    target = Config(tmp_path / "restored", database=Database(url=other_url))
    restored = run(restore(runtime, file, target, silent))
    assert restored.problems == ()
    assert restored.repositories == 2
    assert content(other_url) == content(site.config.database_url)
    for name, bare in zip(names, bares, strict=True):
        copy = target.repos_dir / f"{name}.git"
        sh("git", "-C", copy, "fsck", "--full", "--strict")
        tips = {line.split()[1]: line.split()[0] for line in refs(copy).splitlines()}
        for line in before[bare].splitlines():  # what was there before is there, or newer
            oid, ref = line.split()[:2]
            assert sh("git", "-C", copy, "merge-base", "--is-ancestor", oid, tips[ref]) == ""
        assert sh("git", "-C", copy, "symbolic-ref", "refs/heads/alias") == "refs/heads/main"
        assert sh("git", "-C", copy, "config", "core.logAllRefUpdates") == "always"
        for ref, oid in tips.items():
            log = copy / "logs" / ref
            if log.exists():
                assert log.read_text().splitlines()[-1].split()[1] == oid
    private = target.data_dir / "ssh" / "host_ed25519"
    assert private.read_text() == "secret key"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600


def test_sequences_go_on_where_they_were(run, site, other_url, tmp_path, runtime):
    fill(site.config.database_url)
    run(backup(site, tmp_path / "b.tar", silent))
    target = Config(tmp_path / "restored", database=Database(url=other_url))
    run(restore(runtime, tmp_path / "b.tar", target, silent))
    with rows.writing(other_url) as connection:
        connection.execute(sa.insert(tables.events), {
            "id": "new", "type": "push", "actor_id": "x", "payload": {}, "created_at": NOW,
        })  # fmt: skip
        number = connection.execute(
            sa.select(tables.events.c.seq).where(tables.events.c.id == "new")
        ).scalar()
    assert number == 4  # 3 was given out and deleted


def test_settings_come_back_unless_they_lead_elsewhere(run, sqlite_site, tmp_path, runtime):
    toml = sqlite_site.config.data_dir / "wit.toml"
    toml.write_text('[log]\nlevel = "warn"\n')
    run(backup(sqlite_site, tmp_path / "b.tar", silent))
    target = Config(tmp_path / "one")
    run(restore(runtime, tmp_path / "b.tar", target, silent))
    assert (target.data_dir / "wit.toml").read_text() == toml.read_text()

    toml.write_text('[database]\nurl = "postgresql://u:p@elsewhere/x"\n')
    run(backup(sqlite_site, tmp_path / "c.tar", silent))
    target = Config(tmp_path / "two")
    result = run(restore(runtime, tmp_path / "c.tar", target, silent))
    assert not (target.data_dir / "wit.toml").exists()
    aside = target.data_dir / "wit.toml.restored"
    assert aside.read_text() == toml.read_text()
    assert stat.S_IMODE(aside.stat().st_mode) == 0o600
    assert str(aside) in result.problems[0]


def test_a_repository_that_moved_meanwhile_keeps_the_name_of_its_row(
    run, sqlite_site, tmp_path, runtime
):
    bare = make_repository(sqlite_site.config.repos_dir, "alice/tools", tmp_path)
    fill(sqlite_site.config.database_url, "alice/tools")
    new = bare.with_name("renamed.git")
    bare.rename(new)
    bare.symlink_to("renamed.git")
    run(backup(sqlite_site, tmp_path / "b.tar", silent))
    target = Config(tmp_path / "restored")
    assert run(restore(runtime, tmp_path / "b.tar", target, silent)).problems == ()
    assert refs(target.repos_dir / "alice/tools.git") == refs(new)


def test_objects_of_alternates_become_the_copys_own(run, sqlite_site, tmp_path, runtime):
    bare = make_repository(sqlite_site.config.repos_dir, "alice/tools", tmp_path)
    fork = sqlite_site.config.repos_dir / "alice" / "fork.git"
    sh("git", "clone", "-q", "--bare", "--shared", bare, fork)
    run(backup(sqlite_site, tmp_path / "b.tar", silent))
    target = Config(tmp_path / "restored")
    run(restore(runtime, tmp_path / "b.tar", target, silent))
    (target.repos_dir / "alice/tools.git").rename(tmp_path / "away")
    sh("git", "-C", target.repos_dir / "alice/fork.git", "fsck", "--full")


def test_nothing_is_restored_over_something(run, sqlite_site, tmp_path, runtime):
    make_repository(sqlite_site.config.repos_dir, "alice/tools", tmp_path)
    fill(sqlite_site.config.database_url, "alice/tools")
    run(backup(sqlite_site, tmp_path / "b.tar", silent))
    before = content(sqlite_site.config.database_url)
    with pytest.raises(Conflict, match="not empty"):
        run(restore(runtime, tmp_path / "b.tar", sqlite_site.config, silent))
    (sqlite_site.config.repos_dir / "alice").rename(tmp_path / "alice")
    with pytest.raises(Conflict, match="the database is not empty"):
        run(restore(runtime, tmp_path / "b.tar", sqlite_site.config, silent))
    assert content(sqlite_site.config.database_url) == before
    (tmp_path / "alice").rename(sqlite_site.config.repos_dir / "alice")
    result = run(restore(runtime, tmp_path / "b.tar", sqlite_site.config, silent, force=True))
    aside = next((sqlite_site.config.repos_dir / ".wit").glob("before-restore-*"))
    assert str(aside) in result.problems[0]
    assert (aside / "alice" / "tools.git" / "HEAD").exists()
    assert content(sqlite_site.config.database_url) == before


def test_the_schema_of_the_backup_is_made_first(tmp_path):
    url = f"sqlite:///{tmp_path}/x.db"
    assert migrate.upgrade(url, tmp_path, migrate.REVISIONS[0]) == [migrate.REVISIONS[0]]
    assert migrate.status(url).current == migrate.REVISIONS[0]
