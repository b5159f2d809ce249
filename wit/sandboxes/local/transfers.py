"""Archives on their way into a sandbox and out of it."""

from __future__ import annotations

import os
from contextlib import suppress

from wit.git.pipes import PipeSink, PipeSource
from wit.git.process import enlarge
from wit.runtime import Runtime
from wit.sandboxes.local.link import Answers, Keeper, first
from wit.streams import ByteSource, StreamClosed


class Download:
    """A ByteSource over an archive that is made while it is read.

    Whoever does not read it to its end may simply drop it.
    """

    def __init__(self, pipe: PipeSource, answers: Answers) -> None:
        self._pipe = pipe
        self._answers = answers

    async def read(self) -> bytes:
        data = await self._pipe.read()
        if not data and (message := await self._answers.next()) is not None:
            message.close()
            raise StreamClosed("the sandbox's files could not all be read")
        return data

    def close(self) -> None:
        self._pipe.close()
        self._answers.close()

    def __del__(self) -> None:
        self.close()


async def download(runtime: Runtime, keeper: Keeper, path: str, walls: list[int]) -> Download:
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(reading, False)
    enlarge(reading)
    pipe = PipeSource(runtime.reactor, reading)
    try:
        values = {"path": path, "own_fds": 1}
        try:
            answers = await keeper.begin("download", values, [writing, *walls])
        finally:
            os.close(writing)
        found = Download(pipe, answers)
        await first(answers)
        return found
    except BaseException:
        pipe.close()
        raise


async def upload(
    runtime: Runtime,
    keeper: Keeper,
    values: dict[str, object],
    walls: list[int],
    archive: ByteSource,
) -> None:
    """Feed an archive to the process that unpacks it. Raises what it says of it, and StreamClosed
    when the archive breaks off."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writing, False)
    enlarge(writing)
    pipe = PipeSink(runtime.reactor, writing)
    try:
        try:
            answers = await keeper.begin("upload", {**values, "own_fds": 1}, [reading, *walls])
        finally:
            os.close(reading)
        try:
            while data := await archive.read():
                with suppress(StreamClosed):
                    await pipe.write(data)
                if pipe.closed:  # it reads no more, and will say why
                    break
        finally:
            pipe.close()
        try:
            await first(answers)
        finally:
            answers.close()
    finally:
        pipe.close()
