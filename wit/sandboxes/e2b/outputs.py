"""What a command has said and nobody has read yet."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from twisted.internet.defer import Deferred

from wit.sandboxes.provider import Output
from wit.streams import HIGH_WATER

MOST_READ = 64 * 1024
"""Bytes that one read gives at most."""

LAST_HIGH_WATER = 16 * 1024 * 1024
"""Bytes that are taken in once the end is expected: what a command that is dead has left in the
network comes before the news of its end."""


class Pausable(Protocol):
    """Where outputs come from."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Outputs:
    """Outputs in their order, for one reader; above the high-water mark their stream is paused."""

    def __init__(self) -> None:
        self._outputs: deque[Output] = deque()
        self._size = 0
        self._high_water = HIGH_WATER
        self._stream: Pausable | None = None
        self._paused = False
        self._ended = False
        self._reader: Deferred[None] | None = None

    def come_from(self, stream: Pausable) -> None:
        """Outputs come from this stream, which is not paused, from now on."""
        self._stream = stream
        self._paused = False
        self._regulate()

    def put(self, output: Output) -> None:
        """Add an output; after the end it is dropped."""
        if self._ended:
            return
        for at in range(0, len(output.data), MOST_READ):
            self._outputs.append(Output(output.channel, output.data[at : at + MOST_READ]))
        self._size += len(output.data)
        self._regulate()
        self._wake()

    async def read(self) -> Output | None:
        """The next output; None at the end."""
        while not self._outputs:
            if self._ended:
                return None
            self._reader = Deferred()
            try:
                await self._reader
            finally:
                self._reader = None
        output = self._outputs.popleft()
        self._size -= len(output.data)
        self._regulate()
        return output

    def take_the_rest(self) -> None:
        """Take in what is still to come, though nobody reads, as far as it is bounded."""
        self._high_water = LAST_HIGH_WATER
        self._regulate()

    def end(self) -> None:
        """No more will come; what is there can still be read."""
        self._ended = True
        self._wake()

    def clear(self) -> None:
        """Forget what nobody will read."""
        self._outputs.clear()
        self._size = 0

    def _regulate(self) -> None:
        if self._stream is None:
            return
        if not self._paused and self._size >= self._high_water:
            self._paused = True
            self._stream.pause()
        elif self._paused and self._size <= self._high_water // 2:
            self._paused = False
            self._stream.resume()

    def _wake(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None and not reader.called:
            reader.callback(None)
