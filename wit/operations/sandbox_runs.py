"""Commands in sandboxes as the API answers them: collected to the end, or event by event.

Output is text: UTF-8, and what is none of it is replaced. A character that is cut in two by the
engine's reads is put together again.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import attrs
from twisted.internet.defer import CancelledError, Deferred
from typing_extensions import TypedDict

from wit.errors import WitError
from wit.runtime import shielded
from wit.sandboxes.provider import Channel, Execution, Exit
from wit.streams import StreamClosed

_Decoder = getincrementaldecoder("utf-8")

INPUT_CHUNK = 64 * 1024


class Started(TypedDict):
    type: Literal["started"]
    id: str
    """Of the command, as in the sandbox's list of commands."""


class Printed(TypedDict):
    type: Literal["stdout", "stderr"]
    data: str


class Ended(TypedDict):
    """``reason``: timeout, memory, disk or lost, if it did not end by itself."""

    type: Literal["exit"]
    code: int
    signal: str | None
    reason: str | None


RunEvent = Started | Printed | Ended


@attrs.frozen
class Collected:
    id: str
    stdout: str
    stderr: str
    exit: Exit
    truncated: bool
    """Whether there was more output than could be kept."""


async def collect(execution: Execution, stdin: str | None, limit: int) -> Collected:
    """Wait for the end of a command; ``limit`` bytes are kept of each of its outputs. Closes it,
    also when the caller goes away."""
    kept = {channel: bytearray() for channel in Channel}
    truncated = False
    async with _running(execution, stdin):
        while output := await execution.read():
            room = limit - len(kept[output.channel])
            kept[output.channel] += output.data[:room]
            truncated = truncated or len(output.data) > room
        how = await execution.wait()
    out, err = (kept[channel].decode("utf-8", "replace") for channel in Channel)
    return Collected(execution.id, out, err, how, truncated)


async def events(execution: Execution, stdin: str | None) -> AsyncIterator[RunEvent]:
    """What a command writes, as it writes it, then how it ended. Closes it at the end, also when
    nobody wants to know any more; whoever does not read makes the command wait."""
    decoders = {channel: _Decoder("replace") for channel in Channel}
    async with _running(execution, stdin):
        yield {"type": "started", "id": execution.id}
        while output := await execution.read():
            if text := decoders[output.channel].decode(output.data):
                yield {"type": output.channel.value, "data": text}
        how = await execution.wait()
        for channel, decoder in decoders.items():
            if text := decoder.decode(b"", True):
                yield {"type": channel.value, "data": text}
        yield {"type": "exit", "code": how.code, "signal": how.signal, "reason": how.reason}


@asynccontextmanager
async def _running(execution: Execution, stdin: str | None) -> AsyncIterator[None]:
    """While it is open, the command gets its input; then it is closed."""
    feeding = Deferred.fromCoroutine(_feed(execution, (stdin or "").encode()))
    try:
        yield
    finally:
        feeding.cancel()
        await shielded(execution.close())


async def _feed(execution: Execution, data: bytes) -> None:
    try:
        for start in range(0, len(data), INPUT_CHUNK):
            await execution.write(data[start : start + INPUT_CHUNK])
        await execution.end_input()
    except (StreamClosed, WitError, CancelledError):
        return  # it has ended, and says itself how
