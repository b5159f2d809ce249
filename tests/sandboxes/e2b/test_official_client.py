"""E2B's own client before the fake: what it accepts is what our provider is tested with."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.sandboxes.e2b.fake import FakeE2B
from tests.sandboxes.e2b.records import KEY

e2b_sdk: Any = pytest.importorskip("e2b", reason="it is in the extra 'test'")


@pytest.fixture
def official(fake: FakeE2B, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("E2B_API_URL", fake.url)
    monkeypatch.setenv("E2B_SANDBOX_URL", fake.url)
    monkeypatch.setenv("E2B_API_KEY", KEY)
    monkeypatch.setenv("E2B_HTTP_VERSION", "1.1")


@pytest.fixture
def sandbox(official: None, fake: FakeE2B) -> Iterator[Any]:
    sandbox = e2b_sdk.Sandbox.create(
        "base", timeout=120, envs={"GIVEN": "value"}, allow_internet_access=False
    )
    yield sandbox
    sandbox.kill()


def test_commands(sandbox: Any) -> None:
    ran = sandbox.commands.run('echo "$GIVEN"; echo problem >&2')
    assert (ran.stdout, ran.stderr, ran.exit_code) == ("value\n", "problem\n", 0)
    with pytest.raises(e2b_sdk.CommandExitException) as caught:
        sandbox.commands.run("exit 3")
    assert caught.value.exit_code == 3
    seen: list[str] = []
    sandbox.commands.run("seq 3", on_stdout=seen.append, cwd="/", envs={"A": "b"})
    assert "".join(seen) == "1\n2\n3\n"
    with pytest.raises(e2b_sdk.InvalidArgumentException):
        sandbox.commands.run("true", cwd="/no/such/folder")


def test_commands_in_the_background(sandbox: Any) -> None:
    handle = sandbox.commands.run("cat", background=True, stdin=True)
    assert handle.pid in [one.pid for one in sandbox.commands.list()]
    sandbox.commands.send_stdin(handle.pid, "typed")
    sandbox.commands.close_stdin(handle.pid)
    assert handle.wait().stdout == "typed"
    sleeping = sandbox.commands.run("sleep 1000", background=True)
    assert sleeping.kill() is True
    assert sandbox.commands.kill(99999) is False


def test_a_terminal(sandbox: Any) -> None:
    handle = sandbox.pty.create(e2b_sdk.PtySize(rows=31, cols=97))
    sandbox.pty.send_stdin(handle.pid, b"stty size; exit 4\n")
    seen: list[bytes] = []
    with pytest.raises(e2b_sdk.CommandExitException) as caught:
        handle.wait(on_pty=seen.append)
    assert b"31 97" in b"".join(seen) and caught.value.exit_code == 4
    again = sandbox.pty.create(e2b_sdk.PtySize(rows=31, cols=97))
    sandbox.pty.resize(again.pid, e2b_sdk.PtySize(rows=20, cols=50))
    assert sandbox.pty.kill(again.pid) is True


def test_files(sandbox: Any) -> None:
    sandbox.files.write("/home/user/folder/file", b"\x00\xffcontent")
    assert sandbox.files.read("/home/user/folder/file", format="bytes") == b"\x00\xffcontent"
    assert [one.name for one in sandbox.files.list("/home/user/folder")] == ["file"]
    assert sandbox.files.get_info("/home/user/folder/file").size == 9
    assert sandbox.files.make_dir("/home/user/other") is True
    assert sandbox.files.make_dir("/home/user/other") is False
    sandbox.files.remove("/home/user/folder")
    assert not sandbox.files.exists("/home/user/folder/file")
    with pytest.raises(e2b_sdk.FileNotFoundException):
        sandbox.files.read("/home/user/folder/file")


def test_lives(official: None, fake: FakeE2B) -> None:
    mark = uuid.uuid4().hex
    both = [e2b_sdk.Sandbox.create(metadata={"mark": mark, "a": "b&c"}) for _ in range(2)]
    fake.page = 1
    try:
        query = e2b_sdk.SandboxQuery(metadata={"mark": mark, "a": "b&c"})
        paginator = e2b_sdk.Sandbox.list(query)
        found = []
        while paginator.has_next:
            found += paginator.next_items()
    finally:
        fake.page = 100
    assert {one.sandbox_id for one in found} == {one.sandbox_id for one in both}
    first, second = both
    first.set_timeout(60)
    assert first.get_info().state == e2b_sdk.SandboxState.RUNNING
    assert first.get_metrics()[-1].disk_total == 1024**3
    first.pause()
    assert first.get_info().state == e2b_sdk.SandboxState.PAUSED
    assert first.is_running() is False
    again = e2b_sdk.Sandbox.connect(first.sandbox_id, timeout=30)
    assert again.commands.run("echo resumed").stdout == "resumed\n"
    assert again.kill() is True and second.kill() is True
    assert e2b_sdk.Sandbox.kill(first.sandbox_id) is False
    with pytest.raises(e2b_sdk.SandboxException):
        second.commands.run("true")


def test_refusals(official: None) -> None:
    with pytest.raises(e2b_sdk.AuthenticationException):
        e2b_sdk.Sandbox.create(api_key="e2b_" + "0" * 40)
    with pytest.raises(e2b_sdk.SandboxException):
        e2b_sdk.Sandbox.create("no-such-template")
