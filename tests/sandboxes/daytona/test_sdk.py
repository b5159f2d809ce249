"""The official SDK takes the fake for Daytona, and asks it as our provider does."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sandboxes.daytona.fake import FakeDaytona
from tests.sandboxes.daytona.plug import open_fake, open_provider
from tests.sandboxes.daytona.service import KEY, Seen
from tests.sandboxes.support import Box, chunks, make_tar
from wit.runtime import Runtime
from wit.sandboxes.provider import SandboxSpec, TerminalSize

SDK = "daytona==0.226.1"
CACHE = Path(__file__).parents[3] / ".cache" / "daytona-sdk"
DRIVER = Path(__file__).with_name("sdk_driver.py")


@pytest.fixture(scope="module")
def sdk() -> Path:
    """A Python that has the SDK, apart from ours: it brings fifty packages that nothing else needs."""
    CACHE.parent.mkdir(exist_ok=True)
    with (CACHE.parent / "daytona-sdk.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = CACHE / f".{SDK}"
        if not stamp.exists():
            subprocess.run([sys.executable, "-m", "venv", CACHE], check=True)
            subprocess.run(
                [CACHE / "bin" / "pip", "install", "--quiet", SDK], check=True, timeout=280
            )
            stamp.touch()
    return CACHE / "bin" / "python"


@pytest.fixture(scope="module")
def fake(run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDaytona]:
    with open_fake(tmp_path_factory.mktemp("fake"), run) as fake:
        yield fake


@pytest.fixture(scope="module")
def by_sdk(sdk: Path, fake: FakeDaytona) -> tuple[dict, list[Seen]]:
    """What the SDK saw, and what the fake did."""
    done = subprocess.run(
        [sdk, DRIVER, "drive", fake.origin, KEY], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    seen, fake.seen = fake.seen, []
    return json.loads(done.stdout), seen


@pytest.fixture(scope="module")
def by_us(by_sdk, fake: FakeDaytona, run, tmp_path_factory: pytest.TempPathFactory) -> list[Seen]:
    """The same by our provider."""
    from twisted.internet import reactor

    with open_provider(fake, Runtime(reactor), tmp_path_factory.mktemp("own"), run) as provider:
        ref = run(provider.create(SandboxSpec(uuid.uuid4().hex, env={"OF_BOX": "value"})))
        box = Box(provider, ref, "")
        run(box.sh("echo out; echo err >&2"))

        async def terminal() -> None:
            execution = await box.start("cat", terminal=TerminalSize(97, 31))
            await execution.resize(TerminalSize(50, 20))
            await execution.close()

        run(terminal())
        run(provider.upload(ref, "folder", chunks(make_tar(("file", b"x")))))
        run(provider.read_file(ref, "folder/file", 100))
        run(provider.extend(ref, 1800))
        run(provider.pause(ref))
        run(provider.resume(ref))
        run(provider.sandboxes())
        run(provider.destroy(ref))
    seen, fake.seen = fake.seen, []
    return seen


def test_the_sdk_is_content(by_sdk) -> None:
    seen, _ = by_sdk
    assert seen["state"] == seen["again"] == "started"
    assert seen["exec"] == [3, "hello\nvalue\n"]
    assert seen["session"] == [0, "out\n", "err\n"] and seen["kept"] == "1\n"
    assert seen["followed"]["err"] == "e\n" and "got something\n" in seen["followed"]["out"]
    assert seen["code"] == 0 and seen["commands"] == 3
    assert seen["pty"] == [3, True] and seen["ptys"] == ["p1"]
    assert bytes.fromhex(seen["download"]) == b"content \x00\xff"
    assert seen["files"] == [["file", False, 10]] and seen["info"] == "0644"
    assert seen["list"] == [True]


def test_every_answer_of_the_fake_is_valid(by_sdk, by_us, sdk: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers"
    known = [
        one
        for one in (*by_sdk[1], *by_us)
        if one.status < 300 and isinstance(one.answer, dict | list)
    ]
    answers.write_text("".join(json.dumps([one.route, one.answer]) + "\n" for one in known))
    done = subprocess.run(
        [sdk, DRIVER, "validate", answers], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    checked = set(json.loads(done.stdout))
    assert {one.route for one in known} - {"bulk-upload", "pty-delete"} == checked


def _shape(body: object) -> object:
    """Names and types of a request's body."""
    return (
        {name: type(value).__name__ for name, value in body.items()}
        if isinstance(body, dict)
        else None
    )


ROUTES = {
    "create": {"env", "labels", "networkBlockAll", "autoStopInterval"},
    "execute": {"command"},
    "session-create": {"sessionId"},
    "session-exec": {"command", "runAsync"},
    "input": {"data"},
    "pty-resize": {"cols", "rows"},
}
"""Of each request, what both must send, of the same type."""


@pytest.mark.parametrize("route", list(ROUTES))
def test_we_ask_as_the_sdk_asks(by_sdk, by_us, route: str) -> None:
    theirs = [_shape(one.body) for one in by_sdk[1] if one.route == route]
    ours = [_shape(one.body) for one in by_us if one.route == route]
    assert theirs and ours
    for name in ROUTES[route]:
        types = {shape[name] for shape in theirs if isinstance(shape, dict) and name in shape}
        assert len(types) == 1 and all(shape[name] in types for shape in ours)  # type: ignore[index]


def test_every_path_of_ours_is_one_that_the_sdk_knows(by_sdk, by_us) -> None:
    theirs = {(one.method, one.route) for one in by_sdk[1]}
    more = {("POST", "pty-create"), ("DELETE", "pty-delete"), ("GET", "download")}
    assert {(one.method, one.route) for one in by_us} <= theirs | more


def test_the_key_and_the_version_go_with_every_request(by_us) -> None:
    for one in by_us:
        assert one.headers["authorization"] == f"Bearer {KEY}"
        assert one.headers["x-daytona-sdk-version"] == "0.226.1"
        assert KEY not in one.path + str(one.query) + str(one.body)
