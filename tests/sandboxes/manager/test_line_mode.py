"""A provider without terminals, such as a third party may have: this machine's own, which is never
asked for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.conftest import Run
from tests.sandboxes.manager.world import World, make_world
from wit.config import Config
from wit.errors import Invalid
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.sandboxes.local.provider import LocalProvider
from wit.sandboxes.provider import Command, Execution, ProviderContext, Signal, TerminalSize
from wit.sandboxes.registry import Registry
from wit.sandboxes.terminals.line_mode import GREETING, MAX_AHEAD, OUTPUT_BYTES, SHELL
from wit.streams import StreamClosed

SIZE = TerminalSize(90, 20)


class Plain(LocalProvider):
    def __init__(self, context: ProviderContext) -> None:
        super().__init__(context)
        self.name = "plain"
        self.features = attrs.evolve(self.features, terminals=False)

    async def execute(self, ref: str, command: Command) -> Execution:
        assert command.terminal is None
        return await super().execute(ref, command)


@pytest.fixture(scope="module")
def plain(grounds, run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("plain")
    world = run(make_world(grounds("sqlite"), folder, lambda _: Plain, "plain"))
    (status,) = world.sandboxes.providers()
    if not status.ready:
        pytest.skip(status.reason)
    yield world
    run(world.service.stop())


@pytest.fixture(scope="module")
def sandbox_id(plain: World, run: Run) -> str:
    return str(run(plain.create(provider="plain")).id)


@attrs.define
class Screen:
    execution: Execution
    rest: bytes = b""

    async def until(self, wanted: bytes) -> bytes:
        """What was shown up to ``wanted``, since the last."""
        while wanted not in self.rest:
            output = await self.execution.read()
            assert output is not None, (wanted, self.rest)
            self.rest += output.data
        seen, _, self.rest = self.rest.partition(wanted)
        return seen

    async def type(self, text: bytes) -> None:
        await self.execution.write(text)

    async def end(self) -> int:
        while (output := await self.execution.read()) is not None:
            self.rest += output.data
        code = (await self.execution.wait()).code
        await self.execution.close()
        return code


async def opened(world: World, sandbox_id: str, **fields: object) -> Screen:
    command = Command(SHELL, terminal=SIZE, **fields)  # type: ignore[arg-type]
    screen = Screen(await world.sandboxes.execute(world.ada, sandbox_id, command, "terminal"))
    assert await screen.until(b"$ ") == GREETING.encode()
    return screen


def test_lines_are_commands(plain: World, sandbox_id: str, run: Run) -> None:
    async def talk() -> None:
        screen = await opened(plain, sandbox_id, env={"WORD": "kept"})
        await screen.type(b"echo $WORD $COLUMNS $LINES; echo no >&2; tty; fil\x7f\x7f\x7fcat\r")
        assert await screen.until(b"\r\n") == (
            b"echo $WORD $COLUMNS $LINES; echo no >&2; tty; fil" + 3 * b"\b \b" + b"cat"
        )
        shown = await screen.until(b"$ ")
        assert b"kept 90 20\r\n" in shown and b"no\r\n" in shown and b"not a tty\r\n" in shown
        await screen.execution.resize(TerminalSize(70, 10))
        await screen.type(b"   \recho $COLUMNS >size; false\rcat size\r")
        await screen.until(b"cat size\r\n")
        await screen.until(b"70\r\n")
        await screen.type(b"exit nonsense; exit 5\rexit\r")
        assert await screen.end() == 2

    run(talk())


def test_interrupts_and_ends(plain: World, sandbox_id: str, run: Run) -> None:
    async def talk() -> None:
        screen = await opened(plain, sandbox_id)
        await screen.type(b"junk\x03")
        await screen.until(b"junk^C\r\n$ ")
        await screen.type(b"echo started; exec sleep 1000\recho never run\r")
        await screen.until(b"started\r\n")
        await screen.type(b"\x03")
        await screen.until(b"^C\r\n$ ")
        await screen.type(b"trap '' INT; echo started; while :; do :; done\r")
        await screen.until(b"started\r\n")
        await screen.type(b"\x03\x1c")
        assert b"never run" not in await screen.until(b"^\\\r\n$ ")
        await screen.type(b"exit 300\r")
        assert await screen.end() == 300 & 0xFF
        with pytest.raises(StreamClosed):
            await screen.type(b"x")
        other = await opened(plain, sandbox_id)
        await other.type(b"false\r\x04")
        assert await other.end() == 1

    run(talk())


def test_nobody_reads(plain: World, sandbox_id: str, run: Run) -> None:
    """A command waits, lines that are too many are dropped, and it can be hung up."""

    async def talk() -> None:
        screen = await opened(plain, sandbox_id)
        await screen.type(b"echo started; yes\r")
        await screen.until(b"started\r\n")
        mode = screen.execution
        while mode._inner._output.buffered < OUTPUT_BYTES:  # type: ignore[attr-defined]
            await plain.core.runtime.sleep(0.01)
        await screen.type(b"echo again\r" * (MAX_AHEAD + 5))
        assert len(mode._inner._lines) == MAX_AHEAD  # type: ignore[attr-defined]
        await mode.signal(Signal.INT)
        await screen.until(b"$ ")
        await mode.signal(Signal.HUP)
        assert (await mode.wait()).signal == "HUP"
        await screen.end()

    run(talk())


def test_it_is_written_down_as_one(plain: World, sandbox_id: str, run: Run) -> None:
    async def talk() -> list[str]:
        screen = await opened(plain, sandbox_id)
        await screen.type(b"true\rexit 3\r")
        assert await screen.end() == 3
        rows = await plain.sandboxes.commands(plain.ada, sandbox_id)
        return [row["kind"] for row in rows if (row["state"], row["exit_code"]) == ("done", 3)]

    assert run(talk()) == ["terminal"]


def test_only_a_shell(plain: World, sandbox_id: str, run: Run) -> None:
    with pytest.raises(Invalid, match="no terminals in this sandbox"):
        run(plain.sandboxes.execute(plain.ada, sandbox_id, Command(["top"], terminal=SIZE)))


def test_a_lost_sandbox(plain: World, run: Run) -> None:
    async def talk() -> None:
        made = await plain.create(provider="plain")
        screen = await opened(plain, made.id)
        provider = plain.service.registry.get("plain")
        await provider.destroy((await plain.row(made.id))["ref"])
        await screen.type(b"echo here\r")
        assert await screen.end() == 129
        assert (await screen.execution.wait()).reason == "lost"
        assert b"was lost" in screen.rest
        assert (await plain.row(made.id))["state"] == "lost"

    run(talk())


def test_it_comes_by_an_entry_point(
    runtime: Runtime, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "third_party-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    points = f"[wit.sandbox_providers]\nplain = {__name__}:Plain\n"
    (package / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(tmp_path)
    assert Registry(Config(tmp_path), runtime, Metrics())._find()["plain"] is Plain
