"""Children: their pipes, their ends, and that nothing of them is left."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from twisted.internet.defer import CancelledError, Deferred

from tests.git.conftest import Children
from wit.errors import TimedOut, TooLarge, Unavailable
from wit.git.command import Invocation
from wit.git.process import DEVNULL, PIPE, Child, feed, seal_descriptors, spawn
from wit.git.process import run as run_git
from wit.runtime import Runtime
from wit.streams import BytesSource, StreamClosed


def shell(script: str) -> Invocation:
    return Invocation(("/bin/sh", "-c", script), {"PATH": "/usr/bin:/bin"})


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture(autouse=True)
def nothing_left(run: Any, children: Children) -> Any:
    """Every test: no descriptor, no child and no zombie more than before."""

    async def count() -> tuple[int, int]:
        return descriptors(), len(children())

    run(count())
    before = run(count())
    yield
    assert run(count()) == before


async def gone(pid: int, runtime: Runtime) -> None:
    """Returns when the process (of another parent than us) is no more."""
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        await runtime.sleep(0.01)


def test_run_gives_status_output_and_errors(run: Any, runtime: Runtime) -> None:
    data = os.urandom(3_000_000)
    done = run(run_git(runtime, shell("cat; echo oops >&2; exit 3"), data, limit=3_000_000))
    assert (done.code, done.stdout == data, done.stderr) == (3, True, b"oops\n")
    assert run(run_git(runtime, shell("kill -9 $$"))).code == -signal.SIGKILL
    assert run(run_git(runtime, shell("cat"))).stdout == b""


def test_child_that_reads_nothing_and_closes_early(run: Any, runtime: Runtime) -> None:
    done = run(run_git(runtime, shell("exec 0<&-; echo done"), b"x" * 5_000_000))
    assert (done.code, done.stdout) == (0, b"done\n")


def test_run_is_bounded_in_output_and_time(run: Any, runtime: Runtime) -> None:
    with pytest.raises(TooLarge):
        run(run_git(runtime, shell("yes"), limit=1_000_000))
    with pytest.raises(TimedOut):
        run(run_git(runtime, shell("sleep 60"), timeout=0.05))


def test_stderr_keeps_its_end_only(run: Any, runtime: Runtime) -> None:
    done = run(run_git(runtime, shell("yes | head -c 1000000 >&2; echo the end >&2")))
    assert done.stderr.endswith(b"y\nthe end\n")
    assert len(done.stderr) == 8192


@pytest.mark.attack(57)
def test_environment_and_descriptors_of_a_child(run: Any, runtime: Runtime) -> None:
    """An open socket or file of the daemon must not get into the child."""
    python = (
        "import os; print(dict(os.environ), os.listdir('/proc/self/fd'), "
        "os.getpgrp() == os.getpid())"
    )
    with open(os.devnull) as ours:
        os.set_inheritable(ours.fileno(), True)
        seal_descriptors()
        done = run(run_git(runtime, Invocation((sys.executable, "-Ic", python), {"A": "b"})))
    # Descriptor 3 is the listing itself; LC_CTYPE is set by Python.
    said = done.stdout.decode().replace(", 'LC_CTYPE': 'C.UTF-8'", "")
    assert said == "{'A': 'b'} ['0', '1', '2', '3'] True\n"


@pytest.mark.attack(10)
def test_cancelling_kills_the_whole_group(run: Any, runtime: Runtime) -> None:
    async def cancel() -> list[int]:
        children: list[int] = []

        async def work() -> None:
            script = "sleep 100 & echo $$ $!; sleep 100"
            async with spawn(runtime, shell(script), stdin=DEVNULL) as child:
                children.extend(map(int, (await child.stdout.read()).split()))
                started.callback(None)
                await child.stdout.read()

        started: Deferred[None] = Deferred()
        work_done = Deferred.fromCoroutine(work())
        await started
        await runtime.sleep(0)
        work_done.cancel()
        with pytest.raises(CancelledError):
            await work_done
        for pid in children:
            await gone(pid, runtime)
        return children

    assert len(run(cancel())) == 2


def test_a_child_that_ignores_sigterm_is_killed(run: Any, runtime: Runtime) -> None:
    async def work() -> int:
        child = spawn(runtime, shell("trap '' TERM; echo ready; while :; do sleep 1; done"))
        await child.stdout.read()
        await child.close()
        return await child.wait()

    assert run(work()) == -signal.SIGKILL


def test_what_a_child_leaves_behind_ends_with_it(run: Any, runtime: Runtime) -> None:
    async def work() -> None:
        async with spawn(runtime, shell("sleep 100 & echo $!")) as child:
            pid = int(await child.stdout.read())
            assert await child.wait() == 0
            await gone(pid, runtime)

    run(work())


def test_a_child_that_is_not_read_waits(run: Any, runtime: Runtime) -> None:
    """Back-pressure: the pipe fills, and we hold nothing."""

    async def work() -> None:
        async with spawn(runtime, shell("yes | head -c 50000000"), stdin=DEVNULL) as child:
            first = await child.stdout.read()
            assert 0 < len(first) <= 256 * 1024
            process = psutil.Process(child.pid)
            while process.status() == psutil.STATUS_RUNNING:
                await runtime.sleep(0.01)
            assert child.running
            total = len(first)
            while data := await child.stdout.read():
                total += len(data)
            assert total == 50_000_000
            assert await child.stdout.read() == b""
            assert await child.wait() == 0

    run(work())


def test_files_and_further_descriptors(run: Any, runtime: Runtime, tmp_path: Any) -> None:
    (tmp_path / "in").write_text("from a file")

    async def work(source: int, target: int) -> None:
        reading, writing = os.pipe()
        async with spawn(
            runtime,
            shell("cat; echo three >&3; echo five >&5"),
            stdin=source,
            stdout=target,
            extra_fds={3: writing, 5: target},
        ) as child:
            os.close(writing)
            assert await child.wait() == 0
        assert os.read(reading, 100) == b"three\n"
        os.close(reading)

    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as target:
        run(work(source.fileno(), target.fileno()))
    assert (tmp_path / "out").read_bytes() == b"from a filefive\n"


def test_numbers_that_are_each_others_targets(run: Any, runtime: Runtime, tmp_path: Any) -> None:
    """Descriptors a and b of ours become b and a of the child."""
    a, b = (os.open(tmp_path / name, os.O_WRONLY | os.O_CREAT) for name in "ab")

    async def work() -> None:
        python = f"import os; os.write({a}, b'written to a'); os.write({b}, b'written to b')"
        invocation = Invocation((sys.executable, "-c", python), {})
        async with spawn(
            runtime, invocation, stdin=DEVNULL, stdout=DEVNULL, extra_fds={a: b, b: a}
        ) as child:
            assert await child.wait() == 0, child.stderr_tail

    run(work())
    os.close(a)
    os.close(b)
    assert (tmp_path / "a").read_text() == "written to b"
    assert (tmp_path / "b").read_text() == "written to a"


def test_writing_to_a_child_that_is_gone(run: Any, runtime: Runtime) -> None:
    async def work() -> None:
        async with spawn(runtime, shell("exit 0")) as child:
            await child.wait()
            with pytest.raises(StreamClosed):
                await child.stdin.write(b"x")

    run(work())


def test_a_write_that_waits_ends_when_the_child_does(run: Any, runtime: Runtime) -> None:
    async def work() -> None:
        async with spawn(runtime, shell("read line; exit 0")) as child:
            with pytest.raises(StreamClosed):
                for _ in range(100):
                    await child.stdin.write(b"\n" + b"x" * 1_000_000)

    run(work())


def test_a_source_that_breaks_off_kills_the_child(run: Any, runtime: Runtime) -> None:
    class Broken(BytesSource):
        async def read(self) -> bytes:
            if data := await super().read():
                return data
            raise StreamClosed("the client is gone")

    async def work() -> int:
        async with spawn(runtime, shell("sleep 100")) as child:
            feed(child, Broken(b"some"))
            return await child.wait()

    assert run(work()) == -signal.SIGTERM


@pytest.mark.attack(70)
@pytest.mark.parametrize("failing", ["posix_spawn", "pidfd_open", "pipe2"])
def test_a_system_without_room_for_one_more(
    run: Any, runtime: Runtime, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(24, "Too many open files")

    async def work() -> Child:
        with monkeypatch.context() as patched:
            patched.setattr(os, failing, fail)
            return spawn(runtime, shell("sleep 100"), stdin=PIPE)

    with pytest.raises(Unavailable):
        run(work())


def test_a_program_that_is_not_there(run: Any, runtime: Runtime) -> None:
    with pytest.raises(Unavailable):
        run(run_git(runtime, Invocation(("/none/git",), {})))
