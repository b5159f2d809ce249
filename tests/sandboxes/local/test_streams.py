"""What a command says, as the reactor brings it."""

from __future__ import annotations

import os
import socket

from twisted.internet import reactor

from tests.conftest import Run
from wit.sandboxes.local.streams import OUTPUT_BYTES, Outputs
from wit.sandboxes.provider import Channel, Output


def test_all_that_is_there_comes_at_once(run: Run) -> None:
    """Packets stand for a terminal, which gives 4 KiB at a time."""
    reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reading.setblocking(False)

    async def read() -> list[Output | None]:
        outputs = Outputs(reactor, {Channel.STDOUT: reading.detach()})
        writing.send(b"x" * 3000)
        writing.send(b"y" * 3000)
        both = await outputs.read()
        writing.send(b"last")
        writing.close()
        return [both, await outputs.read(), await outputs.read(), await outputs.read()]

    both, last, *ends = run(read())
    assert both.data == b"x" * 3000 + b"y" * 3000
    assert (last.data, ends) == (b"last", [None, None])


def test_what_is_too_much_waits(run: Run) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    os.write(writing, b"x" * OUTPUT_BYTES)

    async def read() -> tuple[int, bytes | None]:
        outputs = Outputs(reactor, {Channel.STDOUT: reading})
        first = await outputs.read()
        os.write(writing, b"more")
        os.close(writing)
        second = await outputs.read()
        assert first is not None and second is not None and await outputs.read() is None
        return len(first.data), second.data

    assert run(read()) == (OUTPUT_BYTES, b"more")
