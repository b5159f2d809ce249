"""Policies made for the test: what they refuse, and that silence refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.git.pushing import PushServer, git, ok
from tests.git.receive_pack.support import Make
from wit.errors import Invalid
from wit.git.push import Verdict


def refuse(*refs: bytes, reason: str = "not this one") -> dict[str, Any]:
    return {
        "policy": lambda updates, options: Verdict(
            {u.ref: f"{u.ref.decode()}: {reason}" for u in updates if u.ref in refs}
        )
    }


@pytest.mark.attack(22)
def test_refused_refs_alone_are_refused_alone(server: PushServer, work: Path) -> None:
    bare = server.bare("r.git")
    odd = "refs/heads/it's;$x`y`Á"
    server.settings = refuse(b"refs/heads/main", odd.encode())
    done = git(
        "push", "--porcelain", server.url("r.git"), "main", "main:ok", f"main:{odd}", cwd=work
    )
    assert done.code != 0
    assert "remote: refs/heads/main: not this one" in done.err
    assert f"remote: {odd}: not this one" in done.err
    assert "!\trefs/heads/main:refs/heads/main\t[remote rejected] (hook declined)" in done.out
    assert "*\trefs/heads/main:refs/heads/ok\t[new branch]" in done.out
    assert ok("for-each-ref", "--format=%(refname)", cwd=bare) == "refs/heads/ok"
    server.idle()
    assert server.leftovers("r.git") == []


@pytest.mark.attack(22)
@pytest.mark.parametrize("atomic", [True, False])
def test_atomic_or_all_refused_changes_nothing(
    server: PushServer, work: Path, atomic: bool
) -> None:
    bare = server.bare("r.git")
    server.settings = refuse(b"refs/heads/main", *([] if atomic else [b"refs/heads/ok"]))
    flags = ["--atomic"] if atomic else []
    done = git("push", *flags, server.url("r.git"), "main", "main:ok", cwd=work)
    assert done.code != 0
    assert "remote: refs/heads/main: not this one" in done.err
    assert ok("for-each-ref", cwd=bare) == ""
    assert not list((bare / "objects").glob("??")), "the objects went with the quarantine"


@pytest.mark.attack(23)
def test_a_policy_that_fails_refuses(server: PushServer, work: Path) -> None:
    bare = server.bare("r.git")

    async def broken() -> None:
        raise ValueError("secret")

    async def invalid() -> None:
        raise Invalid("the moon is wrong")

    server.settings = {"before": broken}
    done = git("push", server.url("r.git"), "main", cwd=work)
    assert done.code != 0 and "remote: internal error, request id" in done.err
    assert "secret" not in done.err
    server.settings = {"before": invalid}
    assert "remote: the moon is wrong" in git("push", server.url("r.git"), "main", cwd=work).err
    assert ok("for-each-ref", cwd=bare) == ""


@pytest.mark.attack(23)
def test_a_policy_that_takes_too_long_refuses(make_server: Make, work: Path) -> None:
    server = make_server(hook_seconds=0.2)
    bare = server.bare("r.git")
    server.settings = {"before": lambda: Deferred()}
    done = git("push", server.url("r.git"), "main", cwd=work)
    assert done.code != 0
    assert "remote: the push rules did not answer in time" in done.err
    assert ok("for-each-ref", cwd=bare) == ""
    server.idle()
    assert server.leftovers("r.git") == []


@pytest.mark.attack(23)
def test_a_channel_that_breaks_refuses(
    server: PushServer, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = server.bare("r.git")

    def garbage(_: object) -> bytes:
        return b"yes please\n"

    def nothing(_: object) -> bytes:
        raise RuntimeError("the daemon stumbles")

    for broken in (garbage, nothing):
        monkeypatch.setattr("wit.git.hook_channel.encode_answer", broken)
        done = git("push", server.url("r.git"), "main", cwd=work)
        assert done.code != 0
        assert "remote: the push could not be checked, nothing was changed; try again" in done.err
    assert ok("for-each-ref", cwd=bare) == ""
    server.idle()
    assert server.leftovers("r.git") == []


def test_the_hook_refuses_without_a_daemon(server: PushServer, work: Path) -> None:
    """The script by itself: descriptors that are closed or lead to nobody."""
    server.bare("r.git")
    ok("push", server.url("r.git"), "main", cwd=work)
    (script,) = (server.root / ".wit" / "hooks").iterdir()
    hooks = server.root / "hooks"
    hooks.mkdir()
    (hooks / "pre-receive").symlink_to(script)
    ok("init", "-q", "--bare", server.root / "plain.git")
    done = git("push", server.root / "plain.git", "main", cwd=work)
    assert done.code == 0
    ok("config", "core.hooksPath", hooks, cwd=server.root / "plain.git")
    done = git("push", server.root / "plain.git", "main:other", cwd=work)
    assert done.code != 0
    assert "remote: the push could not be checked, nothing was changed; try again" in done.err
