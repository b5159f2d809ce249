"""Backup and restore: while people push, across engines, and what is refused (attack 72)."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import tarfile
import threading
from datetime import UTC, datetime
from pathlib import Path

import attrs
import pytest
import sqlalchemy as sa
from twisted.internet.defer import CancelledError, Deferred

from wit.backup import repository, rows
from wit.backup.create import backup
from wit.backup.restore import restore
from wit.backup.verify import misfits
from wit.config import Config, Database
from wit.config_file import write_default
from wit.db import migrate, tables
from wit.errors import ConfigError, Conflict, Invalid
from wit.git.command import Git
from wit.git.maintenance import LOCK
from wit.repositories.folders import Folders
from wit.runtime import Runtime

NOW = datetime(2026, 11, 22, 16, 0, 0, 123456, tzinfo=UTC)


@attrs.frozen
class Site:
    """What a backup needs of Core, over a database and folders of the test."""

    config: Config
    runtime: Runtime
    git: Git


def sh(*argv: object, cwd: Path | None = None) -> str:
    done = subprocess.run([str(a) for a in argv], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def fill(url: str, *repos: str) -> None:
    """A user, an organization and rows of the kinds that are hard to carry over."""
    with rows.writing(url) as connection:
        connection.execute(sa.insert(tables.users), {
            "id": "u" * 32, "name": "Ålice\u2028", "email": "a@example.org", "username": "alice",
            "created_at": NOW, "updated_at": NOW, "suspended": True,
        })  # fmt: skip
        connection.execute(sa.insert(tables.tokens), {
            "id": "t1", "user_id": "u" * 32, "name": "x", "token_hash": "h", "token_prefix": "p",
            "scopes": ["repo:read"], "created_at": NOW,
        })  # fmt: skip
        previous = None
        for name in repos:  # each a fork of the one before; ids sort against that order
            owner, _, repo = name.partition("/")
            identity = f"r{100 - len(repo)}{repo}"
            connection.execute(sa.insert(tables.repositories), {
                "id": identity, "owner_id": "u" * 32, "owner_type": "user", "name": repo,
                "name_key": repo, "disk_path": f"/repos/{owner}/{repo}.git",
                "forked_from_id": previous, "created_at": NOW, "updated_at": NOW,
            })  # fmt: skip
            previous = identity
        for number in range(3):
            connection.execute(sa.insert(tables.events), {
                "id": f"e{number}", "type": "push", "actor_id": "x",
                "payload": {"n": number, "text": "ü"}, "created_at": NOW,
            })  # fmt: skip
        connection.execute(sa.delete(tables.events).where(tables.events.c.id == "e2"))


def content(url: str) -> dict[str, list[tuple]]:
    with rows.reading(url) as connection:
        return {
            table.name: [
                tuple(row)
                for row in connection.execute(sa.select(table).order_by(*table.primary_key.columns))
            ]
            for table in rows.tables()
        }


def make_repository(root: Path, name: str, tmp_path: Path) -> Path:
    """A bare repository with a pack, loose objects, a tag, a symbolic ref and reflogs."""
    bare = root / f"{name}.git"
    bare.parent.mkdir(parents=True, exist_ok=True)
    sh("git", "init", "-q", "--bare", bare)
    sh("git", "-C", bare, "config", "core.logAllRefUpdates", "always")
    work = tmp_path / f"work-{name.replace('/', '-')}"
    sh("git", "clone", "-q", bare, work)
    commit(work, "one")
    sh("git", "-C", work, "tag", "-a", "v1", "-m", "v1")
    sh("git", "-C", work, "push", "-q", "origin", "main", "v1")
    sh("git", "-C", bare, "repack", "-adq")
    commit(work, "two")
    sh("git", "-C", work, "push", "-q", "origin", "main")
    sh("git", "-C", bare, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    return bare


def commit(work: Path, name: str) -> None:
    (work / name).write_text(name)
    sh("git", "-C", work, "add", name)
    sh("git", "-C", work, "commit", "-qm", name)


def refs(bare: Path) -> str:
    return sh("git", "-C", bare, "for-each-ref", "--format=%(objectname) %(refname) %(symref)")


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


def silent(line: str) -> None:
    return None


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


def test_what_does_not_fit_is_told(run, sqlite_site, tmp_path, runtime):
    make_repository(sqlite_site.config.repos_dir, "alice/stray", tmp_path)
    fill(sqlite_site.config.database_url, "alice/gone")
    summary = run(backup(sqlite_site, tmp_path / "b.tar", silent))
    assert "alice/gone" in summary.problems[0]
    assert summary.repositories == 1
    target = Config(tmp_path / "restored")
    problems = "\n".join(run(restore(runtime, tmp_path / "b.tar", target, silent)).problems)
    assert "alice/gone is registered, but" in problems
    assert "alice/stray.git is not registered: run 'wit sync'" in problems


def test_a_damaged_repository_is_told(run, sqlite_site, tmp_path, runtime):
    bare = make_repository(sqlite_site.config.repos_dir, "alice/tools", tmp_path)
    fill(sqlite_site.config.database_url, "alice/tools")
    for pack in (bare / "objects" / "pack").iterdir():
        pack.unlink()
    run(backup(sqlite_site, tmp_path / "b.tar", silent))
    restored = run(restore(runtime, tmp_path / "b.tar", Config(tmp_path / "restored"), silent))
    assert any(problem.startswith("alice/tools: ") for problem in restored.problems)


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


def rewritten(source: Path, target: Path, change) -> Path:
    """A copy of a backup; ``change(name, data)`` gives (TarInfo, data), or None to leave out."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for info in old:
            content = old.extractfile(info)
            assert content is not None
            changed = change(info, content.read())
            if changed is not None:
                info, data = changed
                info.size = len(data)
                new.addfile(info, io.BytesIO(data))
    return target


@pytest.fixture
def small(run, sqlite_site, tmp_path) -> Path:
    make_repository(sqlite_site.config.repos_dir, "alice/tools", tmp_path)
    fill(sqlite_site.config.database_url, "alice/tools")
    run(backup(sqlite_site, tmp_path / "small.tar", silent))
    return tmp_path / "small.tar"


def refused(run, runtime, tmp_path, file, error=Invalid) -> str:
    target = Config(tmp_path / "refused")
    with pytest.raises(error) as caught:
        run(restore(runtime, file, target, silent))
    left = [path for path in target.data_dir.rglob("*") if path.is_file()]
    assert {path.name.split("-")[0] for path in left} <= {"wit.db"}
    if (target.data_dir / "wit.db").exists():
        with rows.reading(target.database_url) as connection:
            assert rows.is_empty(connection)
    assert not list(target.repos_dir.glob("*/*"))[1:]
    return caught.value.message


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/evil", "repos/alice/../../evil.git/HEAD", "repos/alice/x.git/hooks/update",
     "repos/alice/x.git/refs/../../../evil", "repos/.wit/x.git/HEAD", "ssh/../../evil",
     "repos/alice/x.git/objects/info/alternates", "db/alembic_version.jsonl", "db/nosuch.jsonl"],
)  # fmt: skip
def test_strange_members_are_refused(run, runtime, tmp_path, small, name):
    def change(info, data):
        if info.name == "end.json":
            info.name = name
        return info, data

    message = refused(run, runtime, tmp_path, rewritten(small, tmp_path / "bad.tar", change))
    assert name in message
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(run, runtime, tmp_path, small, kind):
    def change(info, data):
        if info.name.endswith("/HEAD"):
            info.type, info.linkname, data = kind, "/etc/passwd", b""
        return info, data

    message = refused(run, runtime, tmp_path, rewritten(small, tmp_path / "bad.tar", change))
    assert "not a plain file" in message


def test_a_cut_off_file_is_refused(run, runtime, tmp_path, small):
    data = small.read_bytes()
    cut = tmp_path / "cut.tar"
    for length in (0, 300, len(data) // 2, len(data) - 10240 - 512):
        cut.write_bytes(data[:length])
        refused(run, runtime, tmp_path, cut)
    without_end = rewritten(
        small, tmp_path / "x.tar", lambda i, d: None if i.name == "end.json" else (i, d)
    )
    assert "cut off" in refused(run, runtime, tmp_path, without_end)


def test_other_files_are_refused(run, runtime, tmp_path):
    (tmp_path / "x.tar").write_text("hello" * 1000)
    assert "not a backup of wit" in refused(run, runtime, tmp_path, tmp_path / "x.tar")
    assert "No such file" in refused(run, runtime, tmp_path, tmp_path / "none.tar")


def changed_manifest(small: Path, target: Path, **values: object) -> Path:
    def change(info, data):
        if info.name == "manifest.json":
            data = json.dumps(json.loads(data) | values).encode()
        return info, data

    return rewritten(small, target, change)


@pytest.mark.attack(71)
def test_a_newer_schema_or_format_is_refused_with_an_instruction(run, runtime, tmp_path, small):
    bad = changed_manifest(small, tmp_path / "s.tar", schema="9999")
    message = refused(run, runtime, tmp_path, bad, ConfigError)
    assert "9999" in message
    assert "install that version" in message
    bad = changed_manifest(small, tmp_path / "f.tar", format=99, wit="7.0")
    assert "restore it with wit 7.0" in refused(run, runtime, tmp_path, bad)


def test_cancelling_leaves_nothing(run, sqlite_site, tmp_path, runtime):
    make_repository(sqlite_site.config.repos_dir, "alice/tools", tmp_path)
    fill(sqlite_site.config.database_url, "alice/tools")
    held = os.open(
        sqlite_site.config.repos_dir / "alice/tools.git" / LOCK,
        os.O_CREAT | os.O_RDWR,
    )
    import fcntl

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


def test_misfits_of_strange_rows(tmp_path):
    problems = misfits(Folders(tmp_path), {"/etc/passwd", "/repos/a/../x.git"})
    assert len(problems) == 2


def test_the_schema_of_the_backup_is_made_first(tmp_path):
    url = f"sqlite:///{tmp_path}/x.db"
    assert migrate.upgrade(url, tmp_path, migrate.REVISIONS[0]) == [migrate.REVISIONS[0]]
    assert migrate.status(url).current == migrate.REVISIONS[0]
