"""What the provider does when a sandbox, its daemon or the connection to it fails."""

from __future__ import annotations

import struct
from typing import Any

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from tests.sandboxes.e2b.conftest import Make, new_spec
from tests.sandboxes.e2b.fake import FakeE2B
from tests.sandboxes.e2b.records import KEY, Fault
from tests.sandboxes.support import HOLD, Box, chunks, finish, make_tar, read_until
from wit.errors import Conflict, Unavailable
from wit.sandboxes.e2b import envd
from wit.sandboxes.e2b.provider import E2bProvider
from wit.sandboxes.provider import (
    Command,
    SandboxLost,
    SandboxProvider,
    State,
    TerminalSize,
)

SIZE = TerminalSize(80, 24)
_reactor: Any = reactor


async def _moment() -> None:
    done: Deferred[None] = Deferred()
    _reactor.callLater(0.01, done.callback, None)
    await done


def test_a_sandbox_that_vanished(fake: FakeE2B, e2b: E2bProvider, own_ref: str, run) -> None:
    ref = own_ref

    async def vanish() -> None:
        box = Box(e2b, ref, "")
        pipes, terminal = await box.start("sleep", "1000"), await box.start("cat", terminal=SIZE)
        await fake.vanish(ref)
        for execution in (pipes, terminal):
            assert (await execution.wait()).reason == "lost"
            await execution.close()
        with pytest.raises(SandboxLost):
            await e2b.execute(ref, Command(["true"]))
        assert await e2b.state(ref) is State.GONE

    run(vanish())


def test_a_stream_that_is_cut_loses_a_command_on_pipes(fake: FakeE2B, e2b, ref, run) -> None:
    async def cut() -> None:
        box = Box(e2b, ref, "")
        execution = await box.start("/bin/sh", "-c", HOLD, "cut.lock")
        await read_until(execution, b"held")
        fake.cut(fake.boxes[ref])
        how = await execution.wait()
        assert how.reason == "lost" and how.code != 0
        assert await execution.read() is None
        await execution.close()
        assert await box.free("cut.lock"), "it is killed, as nobody hears it any more"

    run(cut())


def test_a_stream_that_is_cut_is_followed_again_on_a_terminal(fake, e2b, ref, run) -> None:
    async def cut() -> None:
        script = "while ! read -t 0 a; do sleep 0.02; echo tick; done"
        execution = await Box(e2b, ref, "").start("/bin/bash", "-c", script, terminal=SIZE)
        for _ in range(2):
            await read_until(execution, b"tick")
            fake.records.clear()
            fake.cut(fake.boxes[ref])
            while not fake.asked("/process.Process/Connect"):
                await read_until(execution, b"tick")
            (record,) = fake.asked("/process.Process/Connect")
            assert record.json == {"process": {"pid": int(execution.id)}}
        await execution.write(b"\n")
        assert (await finish(execution)).code == 0

    run(cut())


def test_a_terminal_outlives_a_pause(fake: FakeE2B, e2b: E2bProvider, ref: str, run) -> None:
    async def pause() -> None:
        execution = await Box(e2b, ref, "").start("/bin/sh", "-c", "read a; exit 6", terminal=SIZE)
        await e2b.pause(ref)
        await e2b.pause(ref)
        with pytest.raises(Conflict, match="paused"):
            await e2b.execute(ref, Command(["true"]))
        await e2b.resume(ref)
        await execution.write(b"\n")
        assert (await finish(execution)).code == 6

    run(pause())


def test_the_end_of_its_time_pauses_it(fake: FakeE2B, e2b: E2bProvider, make: Make, run) -> None:
    async def overtake() -> None:
        ref = await e2b.create(new_spec(seconds=1234))
        await e2b.write_file(ref, "file", b"kept")
        await fake.time_is_up(ref)
        assert await e2b.state(ref) is State.PAUSED
        with pytest.raises(Conflict):
            await e2b.read_file(ref, "file", 100)
        with pytest.raises(Conflict):
            await make().read_file(ref, "file", 100)
        fake.records.clear()
        await e2b.resume(ref)
        assert fake.records[-1].json == {"timeout": 1234}, "as long as it was made for"
        assert await e2b.read_file(ref, "file", 100) == b"kept"
        await e2b.destroy(ref)

    run(overtake())


def test_a_token_that_changed_is_asked_for(fake: FakeE2B, e2b, ref: str, run) -> None:
    fake.faults += [Fault(401, path="Stat"), Fault(401, path="Start")]
    run(e2b.write_file(ref, "file", b"x"))
    assert run(e2b.read_file(ref, "file", 10)) == b"x"
    assert run(Box(e2b, ref, "").sh("echo in")) == "in\n"


def test_a_token_that_stays_wrong(fake: FakeE2B, e2b: E2bProvider, ref: str, run) -> None:
    fake.faults.append(Fault(401, path="Stat", times=2))
    with pytest.raises(Unavailable):
        run(e2b.read_file(ref, "file", 10))


@pytest.mark.parametrize(
    "body",
    [
        struct.pack(">BI", 0, 2**31),
        struct.pack(">BI", 0, 2) + b"{}",
        struct.pack(">BI", 0, 9) + b'{"event":',
        b"",
        struct.pack(">BI", 2, 2) + b"{}",
    ],
)
def test_a_daemon_that_lies(fake: FakeE2B, e2b: E2bProvider, ref: str, run, body: bytes) -> None:
    async def start() -> None:
        with pytest.raises(Unavailable):
            await e2b.execute(ref, Command(["true"]))
        while len(fake.asked("Start")) < 2:  # what may have been started is killed behind
            await _moment()

    fake.records.clear()
    fake.faults.append(Fault(200, path="Start", body=body))
    run(start())


def test_a_daemon_that_floods(fake: FakeE2B, e2b: E2bProvider, ref: str, run) -> None:
    fake.faults.append(Fault(200, path="Stat", body=b"x" * (envd.MAX_ANSWER + 1)))
    with pytest.raises(Unavailable, match="too long"):
        run(e2b.remove_file(ref, "file"))


def test_a_shell_that_cannot_be_started(fake: FakeE2B, e2b: E2bProvider, ref: str, run) -> None:
    """As when a sandbox is full of processes: the daemon's own signal is what is left."""

    async def kill() -> None:
        execution = await Box(e2b, ref, "").start("sleep", "1000")
        fake.records.clear()
        fake.faults.append(Fault(500, path="Start"))
        await execution.close()
        (record,) = fake.asked("/process.Process/SendSignal")
        pid = int(execution.id)
        assert record.json == {"process": {"pid": pid}, "signal": "SIGNAL_SIGKILL"}
        assert await Box(e2b, ref, "").sh(f"while kill -0 {pid}; do sleep 0.01; done; echo dead")

    run(kill())


def test_input_that_nobody_takes_waits(fake: FakeE2B, e2b: E2bProvider, ref: str, run) -> None:
    async def write() -> None:
        execution = await Box(e2b, ref, "").start("/bin/sh", "-c", "read a; exec cat >/dev/null")
        writing = Deferred.fromCoroutine(execution.write(b"x" * 1_000_000))
        while not fake.asked("/process.Process/SendInput"):
            await _moment()
        writing.cancel()
        with pytest.raises(CancelledError):
            await writing
        await execution.close()

    fake.records.clear()
    run(write())


def test_a_daemon_that_stops_leaves_sandboxes_alone(fake: FakeE2B, make: Make, run) -> None:
    async def stop() -> tuple[str, str]:
        provider = make()
        ref = await provider.create(new_spec())
        execution = await Box(provider, ref, "").start("sleep", "1000")
        await provider.stop()
        return ref, execution.id

    ref, pid = run(stop())
    later = make()
    assert run(Box(later, ref, "").sh(f"kill -0 {pid} && echo runs")) == "runs\n"
    run(later.destroy(ref))


def test_nothing_secret_is_logged(fake: FakeE2B, e2b: E2bProvider, run) -> None:
    said: list[str] = []

    @implementer(ILogObserver)
    def observer(event: LogEvent) -> None:
        said.append(repr({**event, "log_source": None}))

    globalLogPublisher.addObserver(observer)
    try:
        fake.faults += [Fault(503, path="/v2/sandboxes"), Fault(500, path="MakeDir")]
        with pytest.raises(Unavailable):
            run(e2b.create(new_spec(env={"TOKEN": "very-secret"})))
        ref = run(e2b.create(new_spec(env={"TOKEN": "very-secret"})))
        token = fake.boxes[ref].token
        run(fake.vanish(ref))
        with pytest.raises(SandboxLost) as lost:
            run(e2b.upload(ref, ".", chunks(make_tar(("file", b"x")))))
    finally:
        globalLogPublisher.removeObserver(observer)
    for secret in (KEY, token, "very-secret"):
        assert secret not in "".join(said) and secret not in str(lost.value)


def test_it_is_a_provider(e2b: E2bProvider) -> None:
    provider: SandboxProvider = e2b
    assert provider.name == "e2b" and provider.features.hosted
    assert attrs.asdict(provider.features)["limited"] == frozenset()
