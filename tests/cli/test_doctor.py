"""The doctor: silent about what is well, clear about what is not."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess

import pytest
import sqlalchemy as sa

from tests.cli.test_commands import Wit
from wit.backup import rows
from wit.db.tables import pushes
from wit.runtime import utc_now
from wit.ssh.host_keys import make_host_keys


@pytest.fixture
def site(run, runtime, tmp_path, database_url) -> Wit:
    wit = Wit(run, runtime, tmp_path / "data", database_url)
    wit("user", "create", "alice", "--email", "a@example.org")
    wit("repo", "create", "alice/tools")
    with (wit.folder / "wit.toml").open("w") as file:
        file.write(
            '[server]\nhttp = "tcp:0"\n[ssh]\nlisten = "tcp:0"\n[metrics]\nlisten = "none"\n'
        )
    return wit


def lines(text: str, level: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(level)]


def test_a_sound_site(site):
    from wit.config_sources import load

    make_host_keys(load(site.folder, {}, {}, write_default=False))
    os.chmod(site.folder, 0o700)
    text = site("doctor", "--full")
    assert lines(text, "fail") == []
    assert [line for line in lines(text, "warn") if "open files" not in line] == []
    for subject in ("git", "database", "host keys", "clock", "disk of data", "repositories"):
        assert any(line.startswith(f"ok    {subject}: ") for line in lines(text, "ok")), subject


def test_before_the_first_start(run, runtime, tmp_path):
    wit = Wit(run, runtime, tmp_path / "none")
    text = wit("doctor")
    assert "does not exist yet" in text
    assert not (tmp_path / "none").exists()


def test_what_is_wrong_is_found(site):
    repos = site.folder / "repos" / "alice"
    site("repo", "create", "alice/gone")
    shutil.rmtree(repos / "gone.git")
    subprocess.run(["git", "init", "-q", "--bare", repos / "stray.git"], check=True)
    lock = repos / "tools.git" / "packed-refs.lock"
    lock.touch()
    os.utime(lock, (0, 0))
    (repos / "tools.git" / "HEAD").write_text("0" * 40 + "\n")
    make = site.folder / "ssh"
    make.mkdir()
    (make / "ssh_host_ed25519_key").write_text("x")
    os.chmod(site.folder / "wit.toml", 0o644)
    with rows.writing(site.url) as connection:
        repo = connection.exec_driver_sql("SELECT id FROM repositories").scalar()
        connection.execute(sa.insert(pushes), {
            "id": "dead-push", "repo_id": repo, "actor_name": "alice", "origin": "token",
            "request_id": "x", "updates": [], "push_options": [], "created_at": utc_now(),
        })  # fmt: skip
    text = site("doctor", status=1)
    assert "fail  repositories: alice/gone is registered, but" in text
    assert "wit sync" in text
    assert f"an old lock blocks it: {lock}" in text
    assert "fail  alice/tools: HEAD names no branch" in text
    assert "fail  keys" in text
    assert "wit.toml (mode 0644)" in text
    assert "1 were cut off" in text


def test_missing_objects_are_found_by_a_full_examination(site, tmp_path):
    bare = site.folder / "repos/alice/tools.git"
    work = tmp_path / "work"
    subprocess.run(["git", "clone", "-q", bare, work], check=True, capture_output=True)
    subprocess.run(["git", "-C", work, "commit", "-qm", "x", "--allow-empty"], check=True)
    subprocess.run(["git", "-C", work, "push", "-q", "origin", "HEAD:main"], check=True)
    for fanout in (bare / "objects").iterdir():
        if len(fanout.name) == 2:
            shutil.rmtree(fanout)
    assert lines(site("doctor"), "fail") == []
    assert "fail  alice/tools: " in site("doctor", "--full", status=1)


def test_ports(site):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        site.folder.joinpath("wit.toml").write_text(
            f'[server]\nhttp = "tcp:{port}:interface=127.0.0.1"\n[ssh]\nlisten = "none"\n'
            '[metrics]\nlisten = "tcp:1:interface=192.0.2.1"\n'
        )
        text = site("doctor", status=1)
    assert f"warn  http tcp:{port}:interface=127.0.0.1: another program listens there" in text
    assert "fail  metrics tcp:1:interface=192.0.2.1: cannot listen there" in text
    assert "ok    host keys: SSH is off" in text


def test_an_unreachable_database(run, runtime, tmp_path):
    wit = Wit(run, runtime, tmp_path, "postgresql://u:canary@127.0.0.1:1/x")
    text = wit("doctor", status=1)
    assert "fail  database: " in text
    assert "canary" not in text
