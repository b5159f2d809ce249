"""What our provider sends is what E2B's own client sends."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.sandboxes.e2b.conftest import new_spec
from tests.sandboxes.e2b.fake import FakeE2B
from tests.sandboxes.e2b.records import KEY, Record
from wit.sandboxes.e2b.provider import E2bProvider
from wit.sandboxes.provider import Command, TerminalSize

MAPS = {"envs", "envVars", "metadata"}
"""Fields that hold anybody's names."""

HEADERS = (
    "content-type",
    "connect-protocol-version",
    "x-api-key",
    "x-access-token",
    "e2b-sandbox-id",
    "e2b-sandbox-port",
)


def shape(value: Any, name: str = "") -> Any:
    """A message with its values' kinds instead of the values."""
    if isinstance(value, dict):
        return "map" if name in MAPS else {key: shape(one, key) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(one) for one in value[:1]]
    return type(value).__name__


def missing(ours: Any, theirs: Any, path: str = "") -> list[str]:
    """What ours has and theirs does not know, or knows otherwise."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        found = []
        for key, value in ours.items():
            at = f"{path}.{key}"
            found += missing(value, theirs[key], at) if key in theirs else [at]
        return found
    return [] if ours == theirs else [f"{path}: {ours} for {theirs}"]


def headers(record: Record) -> dict[str, str]:
    """Those that mean something; of secrets and names only that they are there."""
    kept = {name: record.headers[name] for name in HEADERS if name in record.headers}
    kept["content-type"] = kept.get("content-type", "").partition(";")[0]
    for name in ("x-access-token", "e2b-sandbox-id"):
        if name in kept:
            kept[name] = "given"
    return kept


def route(record: Record) -> str:
    """Method and path, without the sandbox's own id."""
    parts = record.path.split("/")
    plain = ["ID" if len(part) == 20 and part[0] == "i" else part for part in parts]
    return f"{record.method} {'/'.join(plain)}"


@pytest.fixture(scope="module")
def theirs(fake: FakeE2B) -> dict[str, list[Record]]:
    """All requests of a life that E2B's client leads."""
    sdk = pytest.importorskip("e2b", reason="it is in the extra 'test'")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("E2B_API_URL", fake.url)
        patch.setenv("E2B_SANDBOX_URL", fake.url)
        patch.setenv("E2B_API_KEY", KEY)
        fake.records.clear()
        metadata = {"mark": uuid.uuid4().hex, "other": "&="}
        sandbox = sdk.Sandbox.create(
            "base",
            timeout=3600,
            metadata=metadata,
            envs={"A": "b"},
            allow_internet_access=False,
            lifecycle={"on_timeout": "pause"},
        )
        handle = sandbox.commands.run("cat", background=True, stdin=True, cwd="/", envs={"A": "b"})
        sandbox.commands.send_stdin(handle.pid, "x")
        sandbox.commands.close_stdin(handle.pid)
        handle.wait()
        pty = sandbox.pty.create(sdk.PtySize(rows=31, cols=97), cwd="/", user="root")
        sandbox.pty.send_stdin(pty.pid, b"x")
        sandbox.pty.resize(pty.pid, sdk.PtySize(rows=20, cols=50))
        pty.kill()
        sandbox.files.write("/tmp/file", b"content")
        sandbox.files.read("/tmp/file")
        sandbox.files.get_info("/tmp/file")
        sandbox.files.make_dir("/tmp/folder")
        sandbox.files.remove("/tmp/file")
        sandbox.set_timeout(60)
        sdk.Sandbox.list(sdk.SandboxQuery(metadata=metadata), limit=100).next_items()
        sandbox.get_metrics()
        sandbox.get_info()
        sandbox.pause()
        sdk.Sandbox.connect(sandbox.sandbox_id, timeout=60).kill()
    return _by_route(fake)


@pytest.fixture(scope="module")
def ours(fake: FakeE2B, theirs: Any, run, tmp_path_factory) -> dict[str, list[Record]]:
    """All requests of a life that our provider leads."""
    from tests.sandboxes.e2b.plug import make_provider

    provider = make_provider(fake, tmp_path_factory.mktemp("ours"))
    fake.records.clear()
    run(_live(provider))
    return _by_route(fake)


async def _live(provider: E2bProvider) -> None:
    ref = await provider.create(new_spec(env={"A": "b"}))
    cat = await provider.execute(ref, Command(["cat"], env={"A": "b"}))
    await cat.write(b"x")
    await cat.end_input()
    await cat.wait()
    await cat.close()
    terminal = await provider.execute(ref, Command(["sh"], terminal=TerminalSize(97, 31)))
    await terminal.write(b"x")
    await terminal.resize(TerminalSize(50, 20))
    await terminal.close()
    await provider.write_file(ref, "file", b"content")
    await provider.read_file(ref, "file", 100)
    await provider.remove_file(ref, "file")
    await provider.extend(ref, 60)
    await provider.sandboxes()
    await provider.usage(ref)
    await provider.pause(ref)
    await provider.resume(ref)
    await provider.destroy(ref)
    await provider.stop()


def _by_route(fake: FakeE2B) -> dict[str, list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in fake.records:
        found.setdefault(route(record), []).append(record)
    return found


def test_we_ask_nothing_that_they_do_not(ours: Any, theirs: Any) -> None:
    assert set(ours) <= set(theirs)
    assert len(ours) > 12


def test_headers(ours: Any, theirs: Any) -> None:
    for name, records in ours.items():
        known = [headers(record) for record in theirs[name]]
        for record in records:
            assert headers(record) in known, name


def test_messages(ours: Any, theirs: Any) -> None:
    for name, records in ours.items():
        if name.endswith("/files"):
            continue
        known = [shape(record.json) for record in theirs[name]]
        for record in records:
            differences = [missing(shape(record.json), one) for one in known]
            assert [] in differences, (name, differences)


def test_queries(ours: Any, theirs: Any) -> None:
    for name in ("GET /v2/sandboxes", "GET /files", "POST /files"):
        known = set(theirs[name][0].query)
        assert set(ours[name][0].query) <= known | {"state"}, name
    (listed,) = theirs["GET /v2/sandboxes"]
    for record in (listed, ours["GET /v2/sandboxes"][0]):
        assert record.query["metadata"].count("=") >= 1 and "%" not in record.query["limit"]


def test_an_uploaded_file_is_a_form(ours: Any, theirs: Any) -> None:
    for record in (ours["POST /files"][0], theirs["POST /files"][0]):
        assert record.headers["content-type"].startswith("multipart/form-data; boundary=")
        assert b'name="file"' in record.body and b"\r\n\r\ncontent\r\n--" in record.body


def test_the_same_user_is_named(ours: Any, theirs: Any) -> None:
    name = "POST /process.Process/Start"
    named = {record.headers.get("authorization") for record in ours[name]}
    assert named == {record.headers.get("authorization") for record in theirs[name]}
