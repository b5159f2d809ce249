"""Commands on a PTY, as every provider runs them."""

from __future__ import annotations

from tests.sandboxes.support import HOLD, Box, finish, read_until
from wit.sandboxes.provider import Channel, Signal, TerminalSize

SIZE = TerminalSize(columns=97, rows=31)


def test_it_is_a_terminal_of_that_size(box: Box, run) -> None:
    async def look() -> bytes:
        script = "test -t 0 && test -t 1 && test -t 2 && stty size"
        return (await finish(await box.start("/bin/sh", "-c", script, terminal=SIZE))).stdout

    assert run(look()).split() == [b"31", b"97"]


def test_all_output_is_one_channel(box: Box, run) -> None:
    async def look() -> None:
        ran = await finish(await box.start("/bin/sh", "-c", "echo a; echo b >&2", terminal=SIZE))
        assert ran.stdout == b"a\r\nb\r\n" and ran.stderr == b"" and ran.code == 0

    run(look())


def test_resize(box: Box, run) -> None:
    async def look() -> None:
        script = 'trap "stty size; exit 9" WINCH; echo ready; while :; do sleep 0.05; done'
        execution = await box.start("/bin/sh", "-c", script, terminal=SIZE)
        await read_until(execution, b"ready")
        await execution.resize(TerminalSize(columns=50, rows=20))
        assert b"20 50" in await read_until(execution, b"20 50")
        assert (await finish(execution)).code == 9

    run(look())


def test_what_is_typed_is_echoed_and_read(box: Box, run) -> None:
    async def talk() -> None:
        execution = await box.start("/bin/sh", "-c", "read a; echo got $a", terminal=SIZE)
        await execution.write("hällo\n".encode())
        assert "got hällo".encode() in (await finish(execution)).stdout

    run(talk())


def test_end_of_input(box: Box, run) -> None:
    async def talk() -> None:
        execution = await box.start("cat", terminal=SIZE)
        await execution.write(b"line\n")
        await read_until(execution, b"line\r\nline\r\n")
        await execution.end_input()
        assert (await finish(execution)).code == 0

    run(talk())


def test_interrupt(box: Box, run) -> None:
    async def talk() -> None:
        script = 'trap "echo caught" INT; echo ready; read a; read b; exit 7'
        execution = await box.start("/bin/bash", "-i", terminal=SIZE)
        await execution.write(f"/bin/sh -c '{script}'; echo code $?; exit 3\n".encode())
        await read_until(execution, b"ready\r\n")
        await execution.write(b"\x03")
        await read_until(execution, b"caught\r\n")
        await execution.write(b"\n\n")
        await read_until(execution, b"code 7")
        assert (await finish(execution)).code == 3

    run(talk())


def test_a_shell_has_job_control(box: Box, run) -> None:
    async def talk() -> None:
        execution = await box.start("/bin/bash", "-i", terminal=SIZE)
        await execution.write(b"stty -echo; set -m; sleep 1000\n")
        await execution.write(b"\x1a")
        await execution.write(b"jobs; kill %1; echo $((40 + 2)) jobs\n")
        seen = await read_until(execution, b"42 jobs")
        assert b"no job control" not in seen
        await execution.write(b"exit 0\n")
        assert (await finish(execution)).code == 0

    run(talk())


def test_a_program_that_does_not_exist(box: Box, run) -> None:
    async def start() -> int:
        return (await finish(await box.start("no-such-program", terminal=SIZE))).code

    assert run(start()) == 127


def test_the_end_is_not_cut_off(box: Box, run) -> None:
    async def read() -> bytes:
        return (await finish(await box.start("seq", "1", "50000", terminal=SIZE))).stdout

    assert run(read()) == b"".join(b"%d\r\n" % number for number in range(1, 50001))


def test_yes_stops_when_nobody_reads_and_can_be_ended(box: Box, run) -> None:
    async def watch() -> None:
        execution = await box.start("yes", terminal=SIZE)
        for _ in range(3):
            output = await execution.read()
            assert output is not None and output.channel is Channel.STDOUT
        await execution.signal(Signal.KILL)
        assert (await execution.wait()).code == 137
        await execution.close()
        assert await execution.read() is None

    run(watch())


def test_closing_hangs_up(box: Box, run) -> None:
    async def close() -> None:
        execution = await box.start(
            "/bin/sh", "-c", f"trap '' HUP; {HOLD}", f"{box.cwd}/terminal.lock", terminal=SIZE
        )
        await read_until(execution, b"held")
        await execution.close()
        assert await box.free("terminal.lock")

    run(close())


def test_a_time_limit(box: Box, run) -> None:
    async def wait() -> None:
        execution = await box.start("sleep", "1000", terminal=SIZE, seconds=0.3)
        assert (await finish(execution)).exit.reason == "timeout"

    run(wait())
