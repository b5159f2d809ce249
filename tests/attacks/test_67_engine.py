"""Arguments, paths and names for a container stay what they are: never part of a command."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import Run
from tests.sandboxes.docker.plug import boxed
from tests.sandboxes.support import Box, chunks, make_tar, read_all
from wit.sandboxes.provider import Limits, TerminalSize

pytestmark = pytest.mark.attack(67)

HOSTILE = [
    "; touch /workspace/pwned",
    "$(touch /workspace/pwned)",
    "`touch /workspace/pwned`",
    "' ; touch /workspace/pwned ; '",
    '" ; touch /workspace/pwned ; "',
    "-exec touch /workspace/pwned ;",
    "--checkpoint-action=exec=touch /workspace/pwned",
    "a\ntouch /workspace/pwned\n",
    "| touch /workspace/pwned",
    "wit 1 1 1\n",
]


@pytest.fixture(scope="module")
def box(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    with boxed(run, tmp_path_factory.mktemp("engine"), Limits()) as box:
        yield box


@pytest.mark.parametrize("text", HOSTILE)
def test_it_stays_text(box: Box, run: Run, text: str) -> None:
    async def use() -> None:
        provider, ref, name = box.provider, box.ref, text.replace("/", "_")
        assert (await box.run(["printf", "%s", text])).text == text
        shell = ["/bin/sh", "-c", 'printf %s "$TEXT"']
        assert (await box.run(shell, env={"TEXT": text})).text == text
        execution = await box.start("printf", "%s", text, terminal=TerminalSize(80, 24))
        await execution.wait()
        await execution.close()
        await provider.write_file(ref, f"{name}/{name}", b"content")
        assert await provider.read_file(ref, f"{name}/{name}", 100) == b"content"
        assert [entry.name for entry in await provider.list_files(ref, name)] == [name]
        await provider.upload(ref, name, chunks(make_tar((name, b"other"))))
        assert b"other" in await read_all(await provider.download(ref, name))
        assert (await box.run(["pwd"], cwd=name)).text == f"/workspace/{name}\n"
        await provider.remove_file(ref, name)
        assert await provider.list_files(ref, ".") == []

    run(use())
