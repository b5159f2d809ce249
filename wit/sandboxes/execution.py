"""A command as users get it: the provider's, counted, and written down when it has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from wit.latch import Latch
from wit.sandboxes.provider import Execution, Exit, Output, Signal, TerminalSize

log = Logger()

Ended = Callable[[Exit, int], Awaitable[None]]
"""Called once with how it ended and how many bytes it wrote."""

UNKNOWN = Exit(255, reason="lost")
"""Of a command whose end nobody has seen."""


class TrackedExecution:
    """See :class:`wit.sandboxes.provider.Execution`; ``id`` is that of the audit row."""

    def __init__(self, command_id: str, inner: Execution, ended: Ended) -> None:
        self.id = command_id
        self._inner = inner
        self._ended = ended
        self._bytes = 0
        self._read_out = Latch()
        """Open when nobody will read any more."""
        self._closed = Latch()
        """Open when the command has ended and that is written down."""
        Deferred.fromCoroutine(self._watch())

    async def read(self) -> Output | None:
        output = await self._inner.read()
        if output is None:
            self._read_out.open()
        else:
            self._bytes += len(output.data)
        return output

    async def write(self, data: bytes) -> None:
        await self._inner.write(data)

    async def end_input(self) -> None:
        await self._inner.end_input()

    async def resize(self, size: TerminalSize) -> None:
        await self._inner.resize(size)

    async def signal(self, signal: Signal) -> None:
        await self._inner.signal(signal)

    async def wait(self) -> Exit:
        return await self._inner.wait()

    async def close(self) -> None:
        """Returns when it has ended and that is written down."""
        await self._inner.close()
        self._read_out.open()
        await self._closed.wait()

    async def _watch(self) -> None:
        """Not cancelled by anybody: what it waits for ends when the command does."""
        how = UNKNOWN
        try:
            how = await self._inner.wait()
        except CancelledError:
            pass
        except Exception:
            log.failure("how the command {id} ended is not known", id=self.id)
        await self._read_out.wait()
        try:
            await self._ended(how, self._bytes)
        except Exception:
            log.failure("the end of the command {id} is not written down", id=self.id)
        finally:
            self._closed.open()
