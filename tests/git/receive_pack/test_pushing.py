"""Pushes with the real git into ReceivePack."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.git.pushing import (
    Gate,
    PolicyPush,
    PushServer,
    commit,
    git,
    in_background,
    ok,
    work_tree,
)
from wit.git.push import reflog_identity
from wit.runtime import Runtime


@pytest.mark.parametrize("protocol", [0, 1, 2])
@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_create_update_force_delete(
    server: PushServer, tmp_path: Path, protocol: int, object_format: str
) -> None:
    work = work_tree(tmp_path / "work", object_format)
    bare = server.bare("r.git", object_format)
    url = server.url("r.git")
    git_push = ("-c", f"protocol.version={protocol}", "push")
    first = ok("rev-parse", "HEAD", cwd=work)
    ok(*git_push, url, "main", "main:refs/tags/v1", cwd=work)
    assert ok("rev-parse", "main", "v1", cwd=bare).split() == [first, first]
    second = commit(work, "two", files=30)  # comes as a pack
    ok(*git_push, url, "main", cwd=work)
    assert ok("rev-parse", "main", cwd=bare) == second
    ok(*git_push, "--force", url, f"{first}:refs/heads/main", cwd=work)
    assert ok("rev-parse", "main", cwd=bare) == first
    ok(*git_push, url, ":refs/tags/v1", cwd=work)
    assert "v1" not in ok("for-each-ref", cwd=bare)
    ok("fsck", "--strict", cwd=bare)
    server.idle()
    assert server.leftovers("r.git") == []
    assert [push.ended for push in server.pushes] == [1, 1, 1, 1]
    log = (bare / "logs" / "refs" / "heads" / "main").read_text().splitlines()
    assert f"ada <{reflog_identity(server.pushes[0].id)}>" in log[0]
    assert [u.ref for u in server.pushes[0].updates] == [b"refs/heads/main", b"refs/tags/v1"]
    assert not server.errors


def test_nothing_to_push_runs_nothing(server: PushServer, work: Path) -> None:
    server.bare("r.git")
    ok("push", server.url("r.git"), "main", cwd=work)
    done = git("push", server.url("r.git"), "main", cwd=work)
    assert "up-to-date" in done.err
    server.idle()
    assert [push.ended for push in server.pushes] == [1, 0]


def test_push_options_arrive_whatever_they_contain(server: PushServer, work: Path) -> None:
    server.bare("r.git")
    options = ["a b", "quote ' \" $(id) `id` \\ \\n %s", "höhe=10", "", "*"]
    arguments = [f"--push-option={option}" for option in options]
    ok("push", *arguments, server.url("r.git"), "main", cwd=work)
    assert server.pushes[0].options == options


def test_many_refs_with_odd_names(server: PushServer, work: Path) -> None:
    bare = server.bare("r.git")
    head = ok("rev-parse", "HEAD", cwd=work)
    names = [f"refs/heads/b{number}" for number in range(60)]
    names += ["refs/heads/quote'\"$(id)`", "refs/heads/Á\u0081", "refs/heads/ö/ü", "refs/heads/a%s"]
    ok("push", "-q", server.url("r.git"), *(f"{head}:{name}" for name in names), cwd=work)
    assert sorted(u.ref.decode() for u in server.pushes[0].updates) == sorted(names)
    assert ok("for-each-ref", "--format=%(refname)", cwd=bare).splitlines() == sorted(
        names, key=str.encode
    )


@pytest.mark.attack(20)
def test_hidden_and_read_only_namespaces(server: PushServer, work: Path) -> None:
    bare = server.bare("r.git")
    head = ok("rev-parse", "HEAD", cwd=work)
    ok("push", bare, "main:refs/wit/secret", "main:refs/pull/1/head", cwd=work)
    for ref in ("refs/wit/secret", "refs/wit/x", "refs/pull/1/head", "refs/pull/2/head"):
        done = git("push", server.url("r.git"), f"{head}:{ref}x", cwd=work)
        assert "deny updating a hidden ref" in done.err
    assert "refs/pull/1/head" in ok("for-each-ref", cwd=bare)


@pytest.mark.attack(21)
def test_of_two_racing_pushes_one_wins(
    server: PushServer, work: Path, tmp_path: Path, runtime: Runtime
) -> None:
    bare = server.bare("r.git")
    ok("push", server.url("r.git"), "main", cwd=work)
    ok("clone", "-q", bare, tmp_path / "other")
    gates = [Gate(runtime), Gate(runtime)]
    waiting = iter(gates)
    server.make_push = lambda repo: PolicyPush(runtime.new_id(), before=next(waiting).wait)
    tips, clients = [], []
    for clone in (work, tmp_path / "other"):
        tips.append(commit(clone, f"from {clone.name}"))
        clients.append(in_background("push", server.url("r.git"), "main", cwd=clone))
    for gate in gates:
        assert gate.reached.wait(20)
    for gate in gates:
        gate.open()
    ends = [client.communicate(timeout=30) for client in clients]
    codes = [client.returncode for client in clients]
    assert sorted(codes) == [0, 1]
    winner = codes.index(0)
    assert ok("rev-parse", "main", cwd=bare) == tips[winner]
    assert b"[remote rejected]" in ends[1 - winner][1]
    ok("fsck", cwd=bare)
    server.idle()
    assert server.leftovers("r.git") == []
