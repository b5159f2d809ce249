"""Making, finding, pausing, measuring and ending sandboxes, as every provider does it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred

from tests.sandboxes.plug import Plug
from tests.sandboxes.support import HOLD, Box, chunks, finish, make_tar, read_until
from wit.errors import TooLarge
from wit.sandboxes.provider import (
    Command,
    Found,
    Limits,
    Network,
    SandboxLost,
    SandboxProvider,
    SandboxSpec,
    State,
)

MIB = 1024 * 1024


def new_id() -> str:
    return uuid.uuid4().hex


def test_it_is_ready_and_has_a_name(provider: SandboxProvider, run) -> None:
    readiness = run(provider.probe())
    assert readiness.ready, readiness
    assert provider.name and Network.NONE in provider.features.networks


def test_a_life(provider: SandboxProvider, run) -> None:
    spec = SandboxSpec(id=new_id())
    ref = run(provider.create(spec))
    assert run(provider.state(ref)) is State.RUNNING
    assert Found(spec.id, ref, State.RUNNING) in run(provider.sandboxes())
    run(provider.extend(ref, 60))
    run(provider.destroy(ref))
    assert run(provider.state(ref)) is State.GONE
    assert spec.id not in [found.id for found in run(provider.sandboxes())]
    run(provider.destroy(ref))


LOST: dict[str, Callable[[SandboxProvider, str], Coroutine[Any, Any, Any]]] = {
    "execute": lambda provider, ref: provider.execute(ref, Command(["true"])),
    "read_file": lambda provider, ref: provider.read_file(ref, "file", 10),
    "write_file": lambda provider, ref: provider.write_file(ref, "file", b"x"),
    "list_files": lambda provider, ref: provider.list_files(ref, "."),
    "remove_file": lambda provider, ref: provider.remove_file(ref, "file"),
    "upload": lambda provider, ref: provider.upload(ref, ".", chunks(make_tar(("file", b"x")))),
    "download": lambda provider, ref: provider.download(ref, "."),
    "usage": lambda provider, ref: provider.usage(ref),
}


@pytest.fixture(scope="module")
def gone(plug: Plug, run) -> str:
    """The ref of a sandbox that was there."""
    ref: str = run(plug.provider.create(SandboxSpec(id=new_id())))
    run(plug.provider.destroy(ref))
    return ref


@pytest.mark.parametrize("method", list(LOST))
def test_what_is_gone_is_said_to_be_lost(provider: SandboxProvider, gone: str, run, method) -> None:
    with pytest.raises(SandboxLost):
        run(LOST[method](provider, gone))


def test_destroying_ends_what_runs(fresh: Box, run) -> None:
    async def destroy() -> None:
        pipes = await fresh.start("sleep", "1000")
        talking = await fresh.start("/bin/sh", "-c", "echo ready; exec yes")
        await read_until(talking, b"ready")
        await fresh.provider.destroy(fresh.ref)
        for execution in (pipes, talking):
            how = await execution.wait()
            assert how.code != 0 and how.reason == "lost"
            while await execution.read():
                pass
            await execution.close()

    run(destroy())


def test_a_failed_start_leaves_the_sandbox_usable(box: Box, run) -> None:
    assert run(box.run(["/workspace"])).code in (126, 127)
    assert run(box.sh("echo works")) == "works\n"


def test_sandboxes_do_not_see_each_other(plug: Plug, fresh: Box, box: Box, run) -> None:
    run(fresh.provider.write_file(fresh.ref, "mine", b"secret"))
    assert "mine" not in [entry.name for entry in run(box.provider.list_files(box.ref, "."))]
    if plug.isolated:
        assert run(box.sh("ls /workspace | grep -c ^mine$ || true")) == "0\n"


def test_the_environment_of_another_is_not_seen(fresh: Box, run) -> None:
    assert run(fresh.sh('echo "<$OF_SANDBOX>"')) == "<>\n"


def test_files_stay_between_commands(fresh: Box, run) -> None:
    run(fresh.sh("echo kept >/workspace/file"))
    assert run(fresh.sh("cat /workspace/file")) == "kept\n"


def test_commands_of_one_sandbox_share_its_localhost(fresh: Box, plug: Plug, run) -> None:
    async def serve() -> bytes:
        if not (await fresh.run(["python3", "-c", "pass"])).code == 0:
            pytest.skip("no python3 in the sandbox")
        server = await fresh.start(
            "python3",
            "-uc",
            "import socket\n"
            "s = socket.create_server(('127.0.0.1', 8123)); print('listening')\n"
            "c, _ = s.accept(); c.sendall(b'from the server'); c.close()",
        )
        await read_until(server, b"listening")
        client = "import socket; print(socket.create_connection(('127.0.0.1', 8123)).recv(99))"
        ran = await fresh.run(["python3", "-c", client])
        await finish(server)
        return ran.stdout

    if not plug.isolated:
        pytest.skip("a fake runs on this machine's own localhost")
    assert run(serve()) == b"b'from the server'\n"


def test_no_network_by_default(fresh: Box, plug: Plug, run) -> None:
    if not plug.isolated:
        pytest.skip("a fake has this machine's network")
    assert (
        run(fresh.sh("ls /sys/class/net 2>/dev/null || cut -d: -f1 -s /proc/net/dev")).split()
        in (
            ["lo"],
            ["Inter-|", "lo"],
        )
        or run(fresh.sh("grep -c : /proc/net/dev")) == "1\n"
    )


def test_usage(fresh: Box, run) -> None:
    async def measure() -> None:
        busy = await fresh.start(
            "/bin/sh", "-c", "head -c 3000000 /dev/zero >file; echo ready; cat"
        )
        await read_until(busy, b"ready")
        usage = await fresh.provider.usage(fresh.ref)
        await busy.close()
        for known in attrs.astuple(usage):
            assert known is None or known >= 0
        assert usage.out_of_memory == 0
        assert usage.processes is None or usage.processes >= 1
        if usage.disk_bytes is not None and usage.disk_limit is not None:
            assert usage.disk_bytes <= usage.disk_limit
        if usage.memory_bytes is not None and usage.memory_limit is not None:
            assert usage.memory_bytes <= usage.memory_limit

    run(measure())


def test_pause_and_resume(fresh: Box, provider: SandboxProvider, run) -> None:
    if not provider.features.pause:
        pytest.skip("it cannot pause")

    async def pause() -> None:
        execution = await fresh.start("/bin/sh", "-c", "echo x >kept; echo ready; read a; echo $a")
        await read_until(execution, b"ready")
        await provider.pause(fresh.ref)
        assert await provider.state(fresh.ref) is State.PAUSED
        found = [one.state for one in await provider.sandboxes() if one.ref == fresh.ref]
        assert found == [State.PAUSED]
        await provider.resume(fresh.ref)
        await provider.resume(fresh.ref)
        assert await provider.state(fresh.ref) is State.RUNNING
        await execution.close()
        assert await fresh.sh("cat kept") == "x\n"

    run(pause())


def test_destroying_a_paused_one(provider: SandboxProvider, run) -> None:
    if not provider.features.pause:
        pytest.skip("it cannot pause")

    async def destroy() -> None:
        ref = await provider.create(SandboxSpec(id=new_id()))
        await provider.pause(ref)
        await provider.destroy(ref)
        assert await provider.state(ref) is State.GONE

    run(destroy())


def test_many_at_once(plug: Plug, run) -> None:
    provider = plug.provider

    async def one(number: int) -> str:
        ref = await provider.create(SandboxSpec(id=new_id()))
        try:
            box = Box(provider, ref, "")
            await provider.write_file(ref, "number", str(number).encode())
            return await box.sh("cat number")
        finally:
            await provider.destroy(ref)

    async def all_of_them() -> list[str]:
        running = [Deferred.fromCoroutine(one(number)) for number in range(plug.crowd)]
        return [await result for result in running]

    assert run(all_of_them()) == [str(number) for number in range(plug.crowd)]


def test_the_disk_is_limited(provider: SandboxProvider, run) -> None:
    if "disk" not in provider.features.limited:
        pytest.skip("it does not limit the disk")

    async def fill() -> None:
        limits = Limits(disk_bytes=16 * MIB)
        ref = await provider.create(SandboxSpec(id=new_id(), limits=limits))
        box = Box(provider, ref, "")
        try:
            script = "for n in 1 2 3 4 5 6; do head -c 5000000 /dev/zero >$n || exit 9; done"
            assert (await box.run(["/bin/sh", "-c", script])).code == 9
            with pytest.raises(TooLarge):
                await provider.write_file(ref, "more", b"x" * (20 * MIB))
            await box.sh("rm -f ?; echo room >again")
        finally:
            await provider.destroy(ref)

    run(fill())


def test_memory_is_limited(provider: SandboxProvider, run) -> None:
    if "memory" not in provider.features.limited:
        pytest.skip("it does not limit memory")

    async def fill() -> None:
        limits = Limits(memory_bytes=64 * MIB)
        ref = await provider.create(SandboxSpec(id=new_id(), limits=limits))
        box = Box(provider, ref, "")
        try:
            ran = await box.run(["/bin/sh", "-c", "exec tail /dev/zero"])
            assert ran.code != 0 and ran.exit.reason in ("memory", None)
            assert await box.sh("echo works") == "works\n"
        finally:
            await provider.destroy(ref)

    run(fill())


def test_processes_are_limited(provider: SandboxProvider, run) -> None:
    if "processes" not in provider.features.limited:
        pytest.skip("it does not limit processes")

    async def fork() -> None:
        limits = Limits(processes=32)
        ref = await provider.create(SandboxSpec(id=new_id(), limits=limits))
        box = Box(provider, ref, "")
        try:
            script = "for n in $(seq 100); do sleep 1000 & done"
            ran = await box.run(["/bin/sh", "-c", script], seconds=10)
            assert ran.code != 0
            assert await box.sh("echo works") == "works\n"
        finally:
            await provider.destroy(ref)

    run(fork())


def test_it_is_found_again_after_a_restart(plug: Plug, run) -> None:
    if plug.reopen is None or not plug.provider.features.survives_restart:
        pytest.skip("it does not outlive the daemon")
    spec = SandboxSpec(id=new_id(), env={"KEPT": "value"})
    ref = run(plug.provider.create(spec))
    box = Box(plug.provider, ref, "")
    run(box.sh("echo kept >file"))
    with plug.reopen() as again:
        assert Found(spec.id, ref, State.RUNNING) in run(again.sandboxes())
        assert run(again.read_file(ref, "file", 100)) == b"kept\n"
        assert run(Box(again, ref, "").sh("cat file; echo $KEPT")) == "kept\nvalue\n"
        run(again.destroy(ref))
    assert run(plug.provider.state(ref)) is State.GONE


def test_holding_a_lock_is_seen_from_another_command(box: Box, run) -> None:
    """What the tests of killing rely on."""

    async def hold() -> None:
        execution = await box.start("/bin/sh", "-c", HOLD, "seen.lock")
        await read_until(execution, b"held")
        assert not await box.free("seen.lock")
        await execution.close()

    run(hold())
