"""Commands on pipes, as every provider runs them."""

from __future__ import annotations

import hashlib
import os

import pytest
from twisted.internet.defer import CancelledError, Deferred

from tests.sandboxes.support import HOLD, Box, finish, read_until
from wit.errors import Invalid
from wit.sandboxes.provider import Channel, Exit, Signal, TerminalSize
from wit.streams import StreamClosed

MIB = 1024 * 1024


def test_output_error_output_and_code(box: Box, run) -> None:
    ran = run(box.run(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"]))
    assert (ran.stdout, ran.stderr, ran.exit) == (b"out\n", b"err\n", Exit(3))


def test_success_without_output(box: Box, run) -> None:
    ran = run(box.run(["true"]))
    assert (ran.stdout, ran.stderr, ran.exit) == (b"", b"", Exit(0))


@pytest.mark.parametrize("code", [1, 2, 100, 255])
def test_codes(box: Box, run, code: int) -> None:
    assert run(box.run(["/bin/sh", "-c", f"exit {code}"])).exit == Exit(code)


@pytest.mark.parametrize("number,name", [(15, "TERM"), (9, "KILL"), (11, "SEGV"), (1, "HUP")])
def test_an_end_by_a_signal(box: Box, run, number: int, name: str) -> None:
    ran = run(box.run(["/bin/sh", "-c", f"kill -{number} $$; sleep 1000"]))
    assert ran.code == 128 + number
    assert ran.exit.signal in (name, None) and ran.exit.reason is None


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program", "./missing"])
def test_a_program_that_does_not_exist(box: Box, run, program: str) -> None:
    ran = run(box.run([program, "argument"]))
    assert ran.code == 127 and ran.exit.signal is None


def test_arguments_arrive_as_they_are(box: Box, run) -> None:
    odd = [
        "",
        " ",
        "two words",
        "$(id)",
        "`id`",
        "a;b",
        "'",
        '"',
        "\\",
        "*",
        "ü",
        "-n",
        "a\nb",
        "${X}",
    ]
    ran = run(box.run(["/bin/sh", "-c", 'for a; do printf "%s\\0" "$a"; done', "sh", *odd]))
    assert ran.text.split("\0")[:-1] == odd


def test_many_arguments(box: Box, run) -> None:
    many = [f"argument number {number}" for number in range(2000)]
    ran = run(box.run(["/bin/sh", "-c", "echo $#", "sh", *many]))
    assert ran.text == "2000\n"


@pytest.mark.parametrize("argv", [[], ["echo", "a\0b"], ["\0"]])
def test_arguments_that_cannot_be(box: Box, run, argv: list[str]) -> None:
    with pytest.raises(Invalid):
        run(box.run(argv))


def test_environment_of_sandbox_and_command(box: Box, run) -> None:
    ran = run(
        box.run(
            ["/bin/sh", "-c", 'printf "%s|%s|%s" "$OF_SANDBOX" "$OF_COMMAND" "$BOTH"'],
            env={"OF_COMMAND": "a\nb $x 'ü'", "BOTH": "command"},
        )
    )
    assert ran.text == "sandbox value|a\nb $x 'ü'|command"


def test_environment_of_a_command_is_its_own(box: Box, run) -> None:
    run(box.run(["true"], env={"ONCE": "x"}))
    assert run(box.sh('echo "<$ONCE>"')) == "<>\n"


def test_programs_are_found_and_home_is_writable(box: Box, run) -> None:
    run(box.sh('test -n "$PATH" && test -n "$HOME" && ls / >"$HOME/.listed" && rm "$HOME/.listed"'))


def test_working_directory(box: Box, run) -> None:
    assert run(box.sh("pwd -P")) == f"{box.cwd}\n"
    assert run(box.sh("pwd -P", cwd="/workspace")) == "/workspace\n"
    assert run(box.sh("mkdir -p a/b; cd a/b; pwd -P")) == f"{box.cwd}/a/b\n"
    assert run(box.sh("pwd -P", cwd="/")) == "/\n"
    assert run(box.sh("pwd -P", cwd=f"{box.folder}/a")) == f"{box.cwd}/a\n"


def test_every_byte(box: Box, run) -> None:
    data = bytes(range(256)) * 16
    assert run(box.run(["cat"], data)).stdout == data


def test_five_megabytes_in_and_out(box: Box, run) -> None:
    data = os.urandom(MIB) * 5

    async def there_and_back() -> bytes:
        execution = await box.start("cat")

        async def feed() -> None:
            for at in range(0, len(data), 50_000):
                await execution.write(data[at : at + 50_000])
            await execution.end_input()

        feeding = Deferred.fromCoroutine(feed())
        ran = await finish(execution)
        await feeding
        assert ran.exit == Exit(0)
        return ran.stdout

    assert hashlib.sha256(run(there_and_back())).digest() == hashlib.sha256(data).digest()


def test_one_large_write(box: Box, run) -> None:
    async def write() -> bytes:
        execution = await box.start("sha256sum")
        await execution.write(b"x" * (5 * MIB))
        await execution.end_input()
        return (await finish(execution)).stdout

    assert run(write()).split()[0].decode() == hashlib.sha256(b"x" * (5 * MIB)).hexdigest()


def test_input_stays_open_until_it_is_ended(box: Box, run) -> None:
    async def talk() -> None:
        execution = await box.start(
            "/bin/sh", "-c", "echo one; read a; echo got $a; read b || echo end"
        )
        assert await read_until(execution, b"one\n") == b"one\n"
        await execution.write(b"something\n")
        assert b"got something" in await read_until(execution, b"\n")
        await execution.end_input()
        assert (await finish(execution)).stdout == b"end\n"

    run(talk())


def test_writing_to_what_has_ended(box: Box, run) -> None:
    async def write() -> None:
        execution = await box.start("true")
        await execution.wait()
        try:
            with pytest.raises(StreamClosed):
                for _ in range(100):
                    await execution.write(b"x" * 65536)
            await execution.end_input()
        finally:
            await execution.close()

    run(write())


def test_an_error_channel_that_splits_a_character(box: Box, run) -> None:
    ran = run(box.run(["/bin/sh", "-c", r"printf '\303' >&2; printf '\303'; printf '\251' >&2"]))
    assert (ran.stdout, ran.stderr) == (b"\xc3", b"\xc3\xa9")


def test_waiting_needs_no_reading(box: Box, run) -> None:
    async def wait() -> None:
        execution = await box.start("/bin/sh", "-c", "echo words; exit 4")
        assert await execution.wait() == Exit(4)
        assert await execution.wait() == Exit(4)
        output = await execution.read()
        assert output is not None and (output.channel, output.data) == (Channel.STDOUT, b"words\n")
        for _ in range(3):
            assert await execution.read() is None
        await execution.close()
        await execution.close()

    run(wait())


def test_several_wait(box: Box, run) -> None:
    async def wait() -> None:
        execution = await box.start("/bin/sh", "-c", "read a; exit 6")
        waiting = [Deferred.fromCoroutine(execution.wait()) for _ in range(3)]
        await execution.write(b"\n")
        assert [await one for one in waiting] == [Exit(6)] * 3
        await execution.close()

    run(wait())


def test_a_reader_that_was_cancelled_loses_nothing(box: Box, run) -> None:
    async def read() -> None:
        execution = await box.start("/bin/sh", "-c", "read a; echo first; read b; echo second")
        reading = Deferred.fromCoroutine(execution.read())
        reading.cancel()
        with pytest.raises(CancelledError):
            await reading
        await execution.write(b"\n\n")
        assert (await finish(execution)).stdout == b"first\nsecond\n"

    run(read())


SLOWED = """
i=0
while [ $i -lt 1024 ]; do
    head -c 65536 /dev/zero; i=$((i + 1)); echo $i >"$0.new"; mv "$0.new" "$0"
done
"""
"""64 MiB on standard output, and in a file how many 64 KiB of it were taken."""


def test_output_that_nobody_reads_stops_the_command(box: Box, run) -> None:
    async def progress() -> int:
        return int(await box.sh("cat counted 2>/dev/null || echo 0"))

    async def watch() -> None:
        execution = await box.start("/bin/sh", "-c", SLOWED, f"{box.cwd}/counted")
        assert await execution.read() is not None
        before, same = -1, 0
        while same < 5:
            now = await progress()
            same = same + 1 if now == before else 0
            before = now
        assert before < 512, "more than half of 64 MiB went into buffers"
        ran = await finish(execution)
        assert ran.exit == Exit(0)
        assert await progress() == 1024

    run(watch())


def test_yes_can_be_closed(box: Box, run) -> None:
    async def watch() -> None:
        execution = await box.start("yes")
        for _ in range(5):
            output = await execution.read()
            assert output is not None and set(output.data) == set(b"y\n")
        await execution.close()
        assert (await execution.wait()).code != 0

    run(watch())


TRAP = 'trap "echo caught; exit 5" %s; echo ready; while :; do sleep 0.05; done'


@pytest.mark.parametrize("signal", [Signal.INT, Signal.TERM, Signal.HUP])
def test_a_signal_can_be_caught(box: Box, run, signal: Signal) -> None:
    async def send() -> None:
        execution = await box.start("/bin/sh", "-c", TRAP % signal.value)
        await read_until(execution, b"ready\n")
        await execution.signal(signal)
        ran = await finish(execution)
        assert (ran.stdout, ran.exit) == (b"caught\n", Exit(5))

    run(send())


@pytest.mark.parametrize("signal,number", [(Signal.TERM, 15), (Signal.KILL, 9)])
def test_a_signal_ends(box: Box, run, signal: Signal, number: int) -> None:
    async def send() -> None:
        execution = await box.start("/bin/sh", "-c", "echo ready; exec sleep 1000")
        await read_until(execution, b"ready\n")
        await execution.signal(signal)
        ran = await finish(execution)
        assert ran.code == 128 + number and ran.exit.reason is None
        await execution.signal(signal)

    run(send())


def test_a_signal_reaches_what_the_command_has_started(box: Box, run) -> None:
    async def send() -> None:
        execution = await box.start("/bin/sh", "-c", HOLD, "held.lock")
        await read_until(execution, b"held")
        assert not await box.free("held.lock")
        await execution.signal(Signal.KILL)
        assert (await finish(execution)).code == 137
        assert await box.free("held.lock")

    run(send())


def test_a_time_limit_kills_everything(box: Box, run) -> None:
    async def wait() -> None:
        execution = await box.start("/bin/sh", "-c", HOLD, "timed.lock", seconds=0.5)
        ran = await finish(execution)
        assert ran.exit.reason == "timeout" and ran.code != 0
        assert await box.free("timed.lock")

    run(wait())


def test_a_time_limit_holds_while_nobody_reads(box: Box, run) -> None:
    async def wait() -> None:
        execution = await box.start("yes", seconds=0.3)
        assert (await execution.wait()).reason == "timeout"
        await execution.close()

    run(wait())


def test_closing_kills_everything(box: Box, run) -> None:
    async def close() -> None:
        execution = await box.start("/bin/sh", "-c", HOLD, "closed.lock")
        await read_until(execution, b"held")
        await execution.close()
        assert (await execution.wait()).code != 0
        assert await box.free("closed.lock")
        assert await execution.read() is None

    run(close())


def test_no_size_without_a_terminal(box: Box, run) -> None:
    async def resize() -> None:
        execution = await box.start("cat")
        with pytest.raises(Invalid):
            await execution.resize(TerminalSize(100, 30))
        await execution.close()

    run(resize())


def test_commands_at_once(box: Box, run) -> None:
    async def all_of_them() -> list[bytes]:
        started = [
            Deferred.fromCoroutine(box.run(["/bin/sh", "-c", f"read a; echo {n}$a"], b"!\n"))
            for n in range(12)
        ]
        return [(await one).stdout for one in started]

    assert run(all_of_them()) == [f"{n}!\n".encode() for n in range(12)]


def test_names_of_executions_differ(box: Box, run) -> None:
    async def names() -> set[str]:
        both = [await box.start("true"), await box.start("true")]
        for one in both:
            await one.close()
        return {one.id for one in both}

    assert len(run(names())) == 2
