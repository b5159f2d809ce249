"""The policy that a push waits for is slow, is killed, or dies with the daemon: the push fails."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.daemon import Daemon, git, wait_until
from tests.support.quarry import Quarry
from tests.support.site import Site, refs
from tests.support.wire import (
    ZERO,
    Http,
    commands,
    history,
    push_history,
    read_report,
    request,
    service_headers,
)

pytestmark = pytest.mark.attack(23)

REF = "refs/heads/late"


@contextmanager
def locked(daemon: Daemon) -> Iterator[None]:
    """Nobody else writes to the database: the policy cannot note its intent."""
    database = sqlite3.connect(daemon.data_dir / "wit.db", isolation_level=None, timeout=10)
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        database.execute("ROLLBACK")
        database.close()


def begin(site: Site, name: str) -> Http:
    """A push that waits for its verdict; the database must be locked."""
    made = history(b"late\n")
    body = commands([(ZERO, made.commit, REF)]) + made.pack
    headers = service_headers(site.alice, "git-receive-pack", 0)
    http = Http(site.daemon.http_port)
    http.send(request("POST", f"/{name}/git-receive-pack", headers, body))
    wait_until(lambda: hooks(site.daemon), what="the hook")
    return http


def hooks(daemon: Daemon) -> list[psutil.Process]:
    found = []
    for child in Quarry(daemon).children():
        try:
            if any(word.endswith("/pre-receive") for word in child.cmdline()):
                found.append(child)
        except psutil.Error:
            pass
    return found


def test_a_slow_policy_refuses(strict: Site, new_name: str) -> None:
    made = push_history(strict.daemon, strict.alice, new_name)
    with locked(strict.daemon):
        http = begin(strict, new_name)
        report = read_report(http.answer().body)
    assert report.refs[REF] != "ok"
    assert "did not answer in time" in report.messages
    assert refs(strict.disk(new_name)) == {"refs/heads/main": made.commit}
    http.socket.close()


def test_a_killed_hook_refuses(site: Site, new_name: str) -> None:
    made = push_history(site.daemon, site.alice, new_name)
    with locked(site.daemon):
        http = begin(site, new_name)
        for hook in hooks(site.daemon):
            hook.kill()
    report = read_report(http.answer().body)
    assert report.refs.get(REF) != "ok", report
    assert refs(site.disk(new_name)) == {"refs/heads/main": made.commit}
    http.socket.close()


def test_a_killed_git_refuses(site: Site, new_name: str) -> None:
    made = push_history(site.daemon, site.alice, new_name)
    with locked(site.daemon):
        http = begin(site, new_name)
        for child in Quarry(site.daemon).gits("receive-pack"):
            child.kill()
    answer = http.answer()
    assert b"unpack ok" not in answer.body and answer.status in (200, 400, 503), answer
    assert refs(site.disk(new_name)) == {"refs/heads/main": made.commit}
    http.socket.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_daemon_that_dies_while_a_push_waits(
    tmp_path: Path, site: Site, new_name: str, number: signal.Signals
) -> None:
    """git and its hook see the channel break, refuse, and tidy up; the next daemon starts clean."""
    daemon = Daemon(tmp_path / "data").start()
    own = Site(daemon, site.alice, site.bob, site.run)
    try:
        own = Site(daemon, _person(daemon, site), site.bob, site.run)
        made = push_history(daemon, own.alice, new_name)
        with locked(daemon):
            http = begin(own, new_name)
            children = Quarry(daemon).children()
            daemon.stop(number)
        wait_until(lambda: not any(alive(child) for child in children), what="the end of git")
        assert refs(own.disk(new_name)) == {"refs/heads/main": made.commit}
        http.socket.close()
        daemon.start()
        Quarry(daemon).check()
        assert refs(own.disk(new_name)) == {"refs/heads/main": made.commit}
        assert git("-C", str(own.disk(new_name)), "fsck", "--strict").returncode == 0
        url = daemon.url(new_name, own.alice.name, own.alice.token)
        assert made.commit in git("ls-remote", url).stdout
        pushes = [event for event in daemon.events(new_name) if event["type"] == "push"]
        assert len(pushes) == 1
    finally:
        daemon.kill()


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _person(daemon: Daemon, site: Site):  # type: ignore[no-untyped-def]
    import attrs

    return attrs.evolve(site.alice, token=daemon.user("alice"))


def test_a_missing_hook_script_refuses(strict: Site, new_name: str) -> None:
    """Without the script git would ask nobody and take everything."""
    made = push_history(strict.daemon, strict.alice, new_name)
    folder = strict.daemon.data_dir / "repos" / ".wit" / "hooks"
    kept = folder.with_name("hooks-kept")
    folder.rename(kept)
    folder.mkdir()
    try:
        other = history(b"other\n")
        body = commands([(ZERO, other.commit, "refs/pull/1/head")]) + other.pack
        headers = service_headers(strict.alice, "git-receive-pack", 0)
        with Http(strict.daemon.http_port) as http:
            http.send(request("POST", f"/{new_name}/git-receive-pack", headers, body))
            answer = http.answer()
        assert "refs/pull/1/head" not in read_report(answer.body).refs or (
            read_report(answer.body).refs["refs/pull/1/head"] != "ok"
        )
        assert refs(strict.disk(new_name)) == {"refs/heads/main": made.commit}
    finally:
        shutil.rmtree(folder)
        kept.rename(folder)


def test_nobody_else_can_answer_for_the_policy(site: Site, new_name: str) -> None:
    """The channel is a pair of pipes of this push alone: no socket, no path, no key in an
    environment or on a command line."""
    push_history(site.daemon, site.alice, new_name)
    with locked(site.daemon):
        http = begin(site, new_name)
        for child in Quarry(site.daemon).children():
            environment = child.environ()
            assert not [name for name in environment if "TOKEN" in name or "SECRET" in name]
            assert site.alice.token not in str(environment) + str(child.cmdline())
        repos = site.daemon.data_dir / "repos"
        assert not [path for path in repos.rglob("*") if path.is_socket() or path.is_fifo()]
    assert http.answer().status == 200
    http.socket.close()
