"""What a command in an E2B sandbox is told, on its way there."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, DeferredLock
from twisted.logger import Logger

from wit.errors import Unavailable
from wit.sandboxes.e2b.connect import RpcError
from wit.sandboxes.e2b.envd import Envd
from wit.sandboxes.e2b.messages import input_message, select
from wit.sandboxes.provider import SandboxLost
from wit.streams import CHUNK, StreamClosed

END_OF_TERMINAL = b"\x04"

log = Logger()


class Input:
    """Standard input of one command, or the keys of its terminal; one message at a time."""

    def __init__(self, envd: Envd, *, terminal: bool) -> None:
        self.pid = 0
        """Of the command, once it has started."""
        self._envd = envd
        self._terminal = terminal
        self._writing = DeferredLock()
        self._sending: Deferred[Any] | None = None
        self._ended = False
        self._closed = False

    async def write(self, data: bytes) -> None:
        """Waits for as long as the command does not take it. Raises StreamClosed."""
        await self._writing.acquire()
        try:
            for at in range(0, len(data), CHUNK):
                await self._send(data[at : at + CHUNK])
        finally:
            self._writing.release()

    async def end(self) -> None:
        """Fine when the command has ended. Raises Unavailable where the daemon cannot do it."""
        await self._writing.acquire()
        try:
            if self._terminal:
                await self._send(END_OF_TERMINAL)
                return
            if not self._closed and not self._ended:
                self._ended = True
                await self._envd.call("process.Process/CloseStdin", {"process": select(self.pid)})
        except RpcError as error:
            if error.rpc_code == "unimplemented":
                raise Unavailable(
                    "the template of this sandbox is too old to end a command's input; "
                    "build it again at E2B"
                ) from error
        except (StreamClosed, SandboxLost):
            log.debug("the command has ended before its input was")
        finally:
            self._writing.release()

    def close(self, seconds: float) -> None:
        """The command has ended; what it ended by reading may take so long to be acknowledged."""
        self._closed = True
        if self._sending is not None:
            self._sending.addTimeout(seconds, self._envd.runtime.reactor)

    async def _send(self, data: bytes) -> None:
        if self._closed or self._ended:
            raise StreamClosed("the command no longer reads")
        message = input_message(self.pid, data, self._terminal)
        self._sending = Deferred.fromCoroutine(
            self._envd.call("process.Process/SendInput", message, None)
        )
        try:
            await self._sending
        except CancelledError:
            if self._closed:
                raise StreamClosed("the command no longer reads") from None
            raise
        except (RpcError, SandboxLost) as error:
            raise StreamClosed("the command no longer reads") from error
        finally:
            self._sending = None
