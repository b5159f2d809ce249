"""Commands on a terminal: Daytona's PTY, its bytes over a WebSocket.

A PTY of Daytona's runs a login shell, so the command is started by one line typed into it, and
what the shell said until then is passed over. The daemon does not hold up a command whose reader is
slow: it ends the connection (1008) when 8 MiB wait. Then we connect again, and what came in between
is lost.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from wit.errors import Invalid, Unavailable, WitError
from wit.git.process import within
from wit.sandboxes.daytona import scripts
from wit.sandboxes.daytona.execution import RECONNECTS, Running, exit_of
from wit.sandboxes.daytona.log_stream import Said
from wit.sandboxes.daytona.sockets import connect
from wit.sandboxes.daytona.wire import Refused
from wit.sandboxes.provider import Channel, Command, Exit, Output, TerminalSize
from wit.streams import StreamClosed

EXIT_CONTROL = "X-Daytona-Pty-Exit-Control"
START_SECONDS = 30.0
HIGH_WATER = 512 * 1024
LOOK_SECONDS = 1.0
"""How often it is asked whether a command has ended whose output nobody reads."""
LARGEST = 1000
INPUT_BYTES = 32 * 1024
MAX_LEAD = 64 * 1024


class Marked:
    """Pure: cuts out of a terminal's bytes what lies between the marks of begin and end."""

    def __init__(self, mark: str) -> None:
        self._begin = f"\x1e{mark}\x1e".encode()
        self._end = f"\x1e{mark}:".encode()
        self._held = b""
        self.began = False
        self.code: int | None = None

    def feed(self, data: bytes) -> bytes:
        """What of this the command printed; after the end nothing."""
        if self.code is not None:
            return b""
        data = self._held + data
        self._held = b""
        if not self.began:
            _, found, rest = data.partition(self._begin)
            if not found:
                self._held = data[-MAX_LEAD:]
                return b""
            self.began, data = True, rest
        at = data.find(b"\x1e")
        while at >= 0:
            tail = data[at:]
            if tail.startswith(self._end):
                code, found, _ = tail[len(self._end) :].partition(b"\x1e")
                if found and code.isdigit():
                    self.code = int(code)
                    return data[:at]
                if not found and len(code) < 8:
                    self._held = tail
                    return data[:at]
            elif self._end.startswith(tail):
                self._held = tail
                return data[:at]
            at = data.find(b"\x1e", at + 1)
        return data

    def rest(self) -> bytes:
        """What was held back, when nothing more comes."""
        held, self._held = self._held, b""
        return held


class OnTerminal(Running):
    """A command on a PTY."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._mark = self._runtime.random_bytes(16).hex()
        self._marked = Marked(self._mark)
        self._began: Deferred[None] | None = Deferred()
        self._failures = 0
        self._looking = False

    async def start(self, command: Command, cwd: str, size: TerminalSize) -> None:
        """Raises Refused, Unavailable, Invalid; then nothing of it is left."""
        checked_size(size)
        env = scripts.checked_environment(command.env)
        scripts.quoted(command.argv)
        arguments = scripts.quoted([self.id, cwd, self._mark, *command.argv])
        env["WIT_RUN"] = f"set -- {arguments}\n{scripts.TERMINAL}"
        await self._toolbox.new_terminal(self.id, size, env)
        try:
            await self._attach()
            if self._socket is not None:
                self._socket.send(scripts.TYPED)
            await within(self._runtime, START_SECONDS, self._until_begun())
        except TimeoutError:
            await self.close()
            raise Unavailable("the shell of the terminal at Daytona does not come up") from None
        except (Refused, WitError, CancelledError):
            await self.close()
            raise
        self._begin_time()

    async def _until_begun(self) -> None:
        if self._began is not None:
            await self._began
        if not self._marked.began and self._exit is not None:
            raise Unavailable("the terminal at Daytona ended before it began")

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), INPUT_BYTES):
            if self._exit is not None:
                raise StreamClosed("the terminal reads no more")
            if self._socket is None:
                raise Unavailable("the connection to the terminal is being made again")
            self._socket.send(data[at : at + INPUT_BYTES])
            await self._socket.drained()

    async def end_input(self) -> None:
        with suppress(StreamClosed, Unavailable):
            await self.write(b"\x04")

    async def resize(self, size: TerminalSize) -> None:
        checked_size(size)
        if self._exit is None:
            await self._ask(self._toolbox.resize(self.id, size))

    async def _let_go(self) -> None:
        await self._toolbox.end_terminal(self.id)

    async def _attach(self) -> None:
        url = self._toolbox.terminal_url(self.id)
        self._socket = await connect(
            self._runtime,
            url,
            self._toolbox.key,
            self._received,
            self._cut,
            protocols=[EXIT_CONTROL],
        )

    def _received(self, data: bytes, binary: bool) -> None:
        if not binary:
            self._control(data)
            return
        self._failures = 0
        self._say(self._marked.feed(data))
        if self._marked.began:
            self._has_begun()
        if self._marked.code is not None:
            self._finish(exit_of(self._marked.code, self._reason))
        elif self._outputs.size >= HIGH_WATER and self._socket is not None:
            self._socket.pause()
            if not self._looking:
                self._looking = True
                self._spawn(self._look())

    def _say(self, data: bytes) -> None:
        self._outputs.feed(Said(Output(Channel.STDOUT, data), 0))

    def _control(self, data: bytes) -> None:
        message = _message(data)
        if message.get("status") == "exited":
            self._over(message)

    def _cut(self, code: int, reason: str) -> None:
        self._socket = None
        message = _message(reason.encode())
        if "exitCode" in message:
            self._over(message)
        elif self._exit is not None:
            self._outputs.end()
        elif not self._closed:
            self._spawn(self._attach_again())

    def _over(self, message: dict[str, Any]) -> None:
        """The daemon says that the shell has ended, without the mark having come."""
        code = message.get("exitCode")
        self._say(self._marked.rest())
        self._finish(exit_of(code if isinstance(code, int) and code >= 0 else 137, self._reason))

    def _finish(self, how: Exit) -> None:
        self._end(how)
        self._outputs.end()
        self._has_begun()
        self._drop_socket()

    def _lose(self) -> None:
        super()._lose()
        self._has_begun()

    def _has_begun(self) -> None:
        began, self._began = self._began, None
        if began is not None:
            began.callback(None)

    async def _attach_again(self) -> None:
        while not self._closed and self._exit is None:
            if self._failures >= RECONNECTS or await self._gone():
                self._lose()
                return
            await self._runtime.sleep(0.1 * 2**self._failures)
            self._failures += 1
            try:
                await self._attach()
                return
            except Unavailable:
                continue

    async def _look(self) -> None:
        """While nobody reads, the end is not seen to come by; so it is asked for."""
        try:
            while not self._closed and self._exit is None and self._outputs.size >= HIGH_WATER:
                await self._runtime.sleep(LOOK_SECONDS)
                try:
                    _, said = await self._toolbox.run(scripts.CODE, self.id)
                except (Refused, Unavailable):
                    if await self._gone():
                        self._lose()
                    continue
                if said.strip().isdigit():
                    self._end(exit_of(int(said), self._reason))
        finally:
            self._looking = False

    def _taken(self, said: Said) -> None:
        if self._socket is not None and self._outputs.size < HIGH_WATER // 2:
            self._socket.resume()


def _message(data: bytes) -> dict[str, Any]:
    """A control message; empty for what is none."""
    try:
        message = json.loads(data)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def checked_size(size: TerminalSize) -> None:
    if not (1 <= size.columns <= LARGEST and 1 <= size.rows <= LARGEST):
        raise Invalid(f"a terminal has 1 to {LARGEST} columns and rows")
