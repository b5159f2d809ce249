"""When Daytona is slow, busy, broken, or has thrown the sandbox away."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import attrs
import pytest

from tests.sandboxes.daytona.fake import FakeDaytona
from tests.sandboxes.daytona.plug import open_fake, open_provider
from tests.sandboxes.daytona.service import Fault
from tests.sandboxes.support import Box, finish, read_until
from wit.errors import Conflict, Invalid, PreconditionFailed, RateLimited, Unavailable
from wit.runtime import Runtime
from wit.sandboxes.daytona.provider import DaytonaProvider
from wit.sandboxes.provider import (
    Exit,
    Found,
    Limits,
    NeedsKey,
    Network,
    SandboxLost,
    SandboxSpec,
    State,
    TerminalSize,
)

OTHER_KEY = "dtn_a-repositorys-own"
GIB = 1024**3


@pytest.fixture(scope="module")
def fake(run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeDaytona]:
    with open_fake(tmp_path_factory.mktemp("fake"), run) as fake:
        yield fake


@pytest.fixture(scope="module")
def provider(
    fake: FakeDaytona, run, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DaytonaProvider]:
    from twisted.internet import reactor

    folder = tmp_path_factory.mktemp("own")
    with open_provider(fake, Runtime(reactor), folder, run, domains="example.org") as provider:
        yield provider


@pytest.fixture(scope="module")
def shared(provider: DaytonaProvider, run) -> Box:
    return Box(provider, run(provider.create(spec())), "")


@pytest.fixture(autouse=True)
def no_faults(fake: FakeDaytona) -> Iterator[None]:
    yield
    assert fake.faults == []
    fake.slow_polls, fake.next_end, fake.cut_after = 1, "started", None


def spec(**changes) -> SandboxSpec:
    return attrs.evolve(SandboxSpec(uuid.uuid4().hex), **changes)


def test_a_busy_service_is_asked_again(shared: Box, fake: FakeDaytona, run) -> None:
    fake.faults += [
        Fault("GET /api/sandbox/", 429, 1, {"Retry-After": "1"}),
        Fault("GET /api/sandbox/", 502, 2),
    ]
    assert run(shared.provider.state(shared.ref)) is State.RUNNING


def test_one_that_stays_busy_is_said_to_be(shared: Box, fake: FakeDaytona, run) -> None:
    fake.faults.append(Fault("POST /toolbox/.*/process/execute", 429, 4))
    with pytest.raises(RateLimited):
        run(shared.provider.usage(shared.ref))


def test_a_command_is_never_started_twice(shared: Box, fake: FakeDaytona, run) -> None:
    fake.faults.append(Fault("POST /toolbox/.*/exec$", 502, after=True))
    before = len([one for one in fake.seen if one.route == "session-exec"])
    with pytest.raises(Unavailable):
        run(shared.start("sh", "-c", "echo once >>started"))
    assert len([one for one in fake.seen if one.route == "session-exec"]) == before + 1


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_failed_creation_leaves_nothing(
    provider: DaytonaProvider, fake: FakeDaytona, run, status: int
) -> None:
    fake.faults.append(Fault("POST /api/sandbox$", status, after=True))
    before = set(fake.rows)
    with pytest.raises(Unavailable):
        run(provider.create(spec()))
    assert set(fake.rows) == before


@pytest.mark.parametrize("end", ["error", "build_failed"])
def test_a_sandbox_that_fails_to_come_up(
    provider: DaytonaProvider, fake: FakeDaytona, run, end: str
) -> None:
    fake.next_end, before = end, set(fake.rows)
    with pytest.raises(Unavailable, match="the image is broken"):
        run(provider.create(spec(image="image:debian:12")))
    assert set(fake.rows) == before


def test_a_slow_start(provider: DaytonaProvider, fake: FakeDaytona, run) -> None:
    fake.slow_polls = 4
    run(provider.destroy(run(provider.create(spec()))))


def test_what_is_asked_for(provider: DaytonaProvider, fake: FakeDaytona, run) -> None:
    limits = Limits(memory_bytes=GIB + 1, cpus=1.5, disk_bytes=5 * GIB)
    wanted = spec(image="image:debian:12", limits=limits, network=Network.RESTRICTED, seconds=90)
    ref = run(provider.create(wanted))
    made = fake.rows[ref].made
    assert made["buildInfo"] == {"dockerfileContent": "FROM debian:12\n"}
    assert (made["cpu"], made["memory"], made["disk"]) == (2, 2, 5)
    assert made["domainAllowList"] == "example.org" and "networkBlockAll" not in made
    assert made["autoStopInterval"] == 2 and made["public"] is False
    assert made["labels"] == {"wit-instance": "tests", "wit-sandbox": wanted.id}
    run(provider.extend(ref, 3600))
    assert fake.rows[ref].made["autoStopInterval"] == 60
    run(provider.destroy(ref))
    for image in ("image:debian\nRUN id", "image:", "image:a b", "image:-x"):
        with pytest.raises(Invalid):
            run(provider.create(spec(image=image)))
    ref = run(provider.create(spec(image="our-snapshot")))
    assert (
        fake.rows[ref].made["snapshot"] == "our-snapshot" and fake.rows[ref].made["networkBlockAll"]
    )
    run(provider.destroy(ref))


def test_a_wrong_key(fake: FakeDaytona, runtime: Runtime, tmp_path, run) -> None:
    with open_provider(fake, runtime, tmp_path, run, api_key="dtn_wrong") as provider:
        readiness = run(provider.probe())
        assert (
            not readiness.ready and "key" in readiness.reason and "dtn_wrong" not in str(readiness)
        )
        with pytest.raises(PreconditionFailed):
            run(provider.create(spec()))


def test_no_key_and_a_repositorys_own(fake: FakeDaytona, runtime: Runtime, tmp_path, run) -> None:
    fake.keys.add(OTHER_KEY)
    wanted = spec(key=OTHER_KEY)
    assert OTHER_KEY not in repr(wanted)
    with open_provider(fake, runtime, tmp_path, run, api_key="") as provider:
        assert isinstance(provider, NeedsKey) and "DAYTONA_API_KEY" in run(provider.probe()).reason
        with pytest.raises(Unavailable):
            run(provider.create(spec()))
        ref = run(provider.create(wanted))
        assert OTHER_KEY not in ref
    with open_provider(fake, runtime, tmp_path, run) as again:
        assert run(again.state(ref)) is State.GONE  # with the site's own key it is not seen
        again.use_key(ref, OTHER_KEY)
        assert Found(wanted.id, ref, State.RUNNING) in run(again.sandboxes())
        assert run(Box(again, ref, "").sh("echo here")) == "here\n"
        run(again.destroy(ref))


def test_more_sandboxes_than_a_page_and_none_of_others(
    provider: DaytonaProvider, fake: FakeDaytona, runtime: Runtime, tmp_path, run
) -> None:
    refs = {run(provider.create(spec())) for _ in range(4)}
    assert refs <= {one.ref for one in run(provider.sandboxes())}
    fake.rows[next(iter(refs))].made["labels"]["wit-instance"] = "another"
    assert len(refs & {one.ref for one in run(provider.sandboxes())}) == 3
    for ref in refs:
        run(provider.destroy(ref))


def test_a_stopped_one_is_not_lost(provider: DaytonaProvider, run) -> None:
    box = Box(provider, run(provider.create(spec())), "")

    async def stop() -> None:
        running = await box.start("sleep", "1000")
        await provider.pause(box.ref)
        assert await running.wait() == Exit(137, None, "lost")
        await running.close()
        with pytest.raises(Conflict):
            await box.start("true")
        await provider.resume(box.ref)
        assert await box.sh("echo again") == "again\n"
        await provider.destroy(box.ref)

    run(stop())


def test_one_that_vanished_while_it_was_used(
    provider: DaytonaProvider, fake: FakeDaytona, run
) -> None:
    box = Box(provider, run(provider.create(spec())), "")

    async def vanish() -> None:
        pipes = await box.start("cat")
        terminal = await box.start("cat", terminal=TerminalSize(80, 24))
        row = fake.rows.pop(box.ref)
        row.box.end()
        for execution in (pipes, terminal):
            assert (await execution.wait()).code == 137
            await execution.close()
        assert (await pipes.wait()).reason == "lost"
        with pytest.raises(SandboxLost):
            await provider.read_file(box.ref, "file", 10)

    run(vanish())


def test_a_log_that_is_cut_goes_on_where_it_was(shared: Box, fake: FakeDaytona, run) -> None:
    fake.cut_after = 200_000
    ran = run(shared.run(["seq", "1", "100000"]))
    assert ran.stdout == b"".join(
        b"%d\n" % number for number in range(1, 100001)
    ) and ran.exit == Exit(0)
    assert fake.cut_after is None


def test_a_terminal_that_is_cut_goes_on(shared: Box, fake: FakeDaytona, run) -> None:
    async def cut() -> None:
        execution = await shared.start(
            "/bin/sh", "-c", "echo ready; read a; exit 4", terminal=TerminalSize(80, 24)
        )
        await read_until(execution, b"ready")
        terminal = next(iter(fake.rows[shared.ref].box.terminals.values()))
        first = terminal.clients[0]
        first.cut()
        while not [one for one in terminal.clients if one is not first]:
            await shared.provider._context.runtime.sleep(0.01)  # type: ignore[attr-defined]
        await execution.write(b"x\n")
        assert (await finish(execution)).exit == Exit(4)

    run(cut())


def test_a_slow_consumer_is_dropped_and_comes_back(shared: Box, fake: FakeDaytona, run) -> None:
    """It is told that the terminal ended, though the bytes in between are lost."""

    async def flood() -> None:
        script = "head -c 40000000 /dev/zero | tr '\\0' x; exit 6"
        execution = await shared.start("/bin/sh", "-c", script, terminal=TerminalSize(80, 24))
        assert (await execution.wait()) == Exit(6)
        got = 0
        while output := await execution.read():
            got += len(output.data)
        assert 0 < got < 40_000_000
        await execution.close()

    run(flood())


def test_keys_only_over_tls(
    fake: FakeDaytona, provider: DaytonaProvider, shared: Box, monkeypatch, run
) -> None:
    monkeypatch.setattr(provider, "_scheme", "https")
    monkeypatch.setattr(provider, "_toolboxes", {})
    before = len(fake.seen)
    with pytest.raises(Unavailable, match="https"):
        run(provider.usage(shared.ref))
    assert all(one.path.startswith("/api/") for one in fake.seen[before:])


def test_secrets_are_in_no_process_list(shared: Box, run) -> None:
    async def look() -> str:
        hidden = "a-canary-of-the-tests"
        running = await shared.start("/bin/sh", "-c", "echo up; cat", env={"HIDDEN": hidden})
        await read_until(running, b"up")
        found = await shared.sh(
            'grep -lsa "canary-of-the[-]tests" /proc/[0-9]*/cmdline || echo none'
        )
        await running.close()
        return found

    assert run(look()) == "none\n"
