"""Sandboxes over SSH: ``sandbox:ID`` as the user name means one of one's sandboxes.

    ssh -t -p 2222 sandbox:ID@HOST              a shell in a terminal that stays when one leaves
    ssh -t -p 2222 sandbox:ID/TERMINAL@HOST     back to it
    ssh -p 2222 sandbox:ID@HOST -- COMMAND      a command, on three pipes, that ends when one leaves

The key says who comes, and :mod:`wit.sandboxes` what he may do; the name only says where to. SSH
hands a command over as one text, which people write for a shell: so the sandbox's own reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import attrs

from wit.access.actor import Actor
from wit.errors import Conflict, Forbidden, Invalid, NotFound
from wit.sandboxes.provider import Channel as Output
from wit.sandboxes.provider import Command, Execution, Exit, Signal, TerminalSize
from wit.sandboxes.terminals.attachment import Attachment
from wit.sandboxes.terminals.osc import without_queries
from wit.sandboxes.terminals.sizes import DEFAULT
from wit.sandboxes.terminals.terminals import Terminal
from wit.ssh.channel import Channel
from wit.ssh.command import MAX_LINE
from wit.ssh.fields import Fields
from wit.streams import ByteQueue
from wit.websocket.conversation import farewell

_USER = re.compile(rb"sandbox:([0-9a-f-]{32,36})(?:/([0-9a-f-]{32,36}))?")

_SHELL = ("sh",)
"""What reads commands from a pipe."""

_CLEAR = b"\x1b[!p\x1b[2J\x1b[H"
"""Soft reset (DECSTR), an empty screen, and the first cell."""

_KEYS = {b"INT": b"\x03", b"QUIT": b"\x1c"}
"""What a terminal makes signals of."""

_VARIABLE = re.compile(rb"LANG|LC_[A-Z]{1,24}|TERM|COLORTERM")
"""What a client may set: language and colours, as OpenSSH's servers are usually told to accept."""

_VALUE = re.compile(rb"[\x21-\x7e]{1,64}")

MAX_VARIABLES = 20

_SIGNALS = {signal.value.encode(): signal for signal in Signal}


class Sandboxes(Protocol):
    """What the door asks of :class:`wit.sandboxes.manager.Sandboxes`."""

    async def execute(
        self, actor: Actor, sandbox_id: str, command: Command, kind: str = ...
    ) -> Execution: ...


class Terminals(Protocol):
    """What the door asks of :class:`wit.sandboxes.terminals.terminals.Terminals`."""

    async def open(
        self,
        actor: Actor,
        sandbox_id: str,
        size: TerminalSize,
        argv: Sequence[str] | None = None,
        kind: str = ...,
        *,
        env: Mapping[str, str] | None = None,
    ) -> Terminal: ...

    async def get(self, actor: Actor, terminal_id: str) -> Terminal: ...


@attrs.frozen
class Address:
    """Where a user name leads to."""

    sandbox_id: str
    terminal_id: str | None


def parse_user(user: bytes) -> Address | None:
    """The sandbox that ``user`` names; None if it names none."""
    match = _USER.fullmatch(user.lower())
    if match is None:
        return None
    return Address(match[1].decode(), match[2].decode() if match[2] else None)


def parse_argv(line: bytes) -> list[str]:
    """Raises Invalid."""
    if len(line) > MAX_LINE:
        raise Invalid("the command is too long")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise Invalid("the command is not UTF-8") from None
    if not text.strip() or "\0" in text:
        raise Invalid("there is no command to run")
    return [*_SHELL, "-c", text]


def parse_variable(name: bytes, value: bytes) -> dict[str, str]:
    """The variable, if a client may set it, and so."""
    if _VARIABLE.fullmatch(name) and _VALUE.fullmatch(value):
        return {name.decode(): value.decode()}
    return {}


class SandboxChannel(Channel):
    """A session in which one command runs, or one terminal is looked at."""

    _env: Mapping[str, str] = MappingProxyType({})
    _size: TerminalSize = DEFAULT
    _execution: Execution | None = None
    _view: _View | None = None
    _moved: float = 0.0

    @property
    def moved(self) -> float:
        """People may think as long as they like: only a client that does not read is too slow."""
        return self._moved if self._sending else self._now()

    @moved.setter
    def moved(self, time: float) -> None:
        self._moved = time

    def request_received(self, kind: bytes, want_answer: bool, fields: Fields) -> None:
        """RFC 4254, sections 6.2, 6.4, 6.5, 6.7 and 6.9."""
        if kind in (b"window-change", b"signal"):
            self._change(kind, fields)
            done = True
        elif self.busy:
            done = False
        elif kind == b"pty-req":
            self._set_variable(b"TERM", fields.string())
            self._size = _size(fields)
            self._terminal = done = True
        elif kind == b"env":
            done = self._set_variable(fields.string(), fields.string())
        elif kind in (b"shell", b"exec"):
            line = fields.string() if kind == b"exec" else None
            if want_answer:
                self._connection.send_request_answer(self, True)
            self._start(self._look(line) if self._terminal else self._pipe(line))
            return
        else:
            done = False
        if want_answer:
            self._connection.send_request_answer(self, done)

    def _set_variable(self, name: bytes, value: bytes) -> bool:
        """Whether the command will have the variable."""
        variable = parse_variable(name, value)
        env = {**self._env, **variable}
        if not variable or len(env) > MAX_VARIABLES:
            return False
        self._env = env
        return True

    def drain(self) -> None:
        """The terminal ends with the server; commands on pipes may end by themselves."""
        if self._view is not None:
            self._view.ended(Exit(129, "HUP", "restart"))

    def _change(self, kind: bytes, fields: Fields) -> None:
        attachment = self._view.attachment if self._view is not None else None
        if kind == b"window-change":
            self._size = _size(fields)
            if attachment is not None:
                attachment.resize(self._size)
            return
        name = fields.string()
        if attachment is not None:
            if name in _KEYS:
                self._source.feed(_KEYS[name])
        elif self._execution is not None and name in _SIGNALS:
            self._beside(self._execution.signal(_SIGNALS[name]))

    # a command on pipes

    async def _pipe(self, line: bytes | None) -> int:
        """Run a command; with the connection, it ends."""
        address = self._address()
        if address.terminal_id is not None:
            raise Invalid("to come back to a terminal, ssh must have one: add -t")
        command = Command(_SHELL if line is None else parse_argv(line), env=self._env)
        sandboxes = self._context.sandboxes
        assert sandboxes is not None
        execution = await sandboxes.execute(await self._actor(), address.sandbox_id, command, "ssh")
        self._execution = execution
        feeding = self._beside(self._feed(execution))
        try:
            while (output := await execution.read()) is not None:
                await self._send(output.data, stderr=output.channel is Output.STDERR)
            how = await execution.wait()
        finally:
            feeding.cancel()
            await execution.close()
        if how.reason is not None:
            await self._say(f"wit: ended by wit: {how.reason}")
        return how.code

    async def _feed(self, execution: Execution) -> None:
        while data := await self._source.read():
            await execution.write(data)
        await execution.end_input()

    # a terminal

    async def _look(self, line: bytes | None) -> int:
        """Show a terminal until it ends or the client goes; then the terminal stays."""
        terminal = await self._terminal_asked_for(await self._actor(), line)
        view = self._view = _View(cleared=self._address().terminal_id is None)
        view.attachment = attachment = terminal.attach(view, size=self._size)
        attachment.resize(self._size)  # it may have changed meanwhile
        typing = self._beside(self._type(attachment))
        try:
            while data := await view.queue.read():
                await self._send(data, stderr=False)
                if count := view.sent(len(data)):
                    attachment.taken(count)
        finally:
            typing.cancel()
            attachment.detach()
        how = view.how
        assert how is not None
        if how.reason is not None:
            await self._say(f"\nwit: {farewell(how)[1]}")
        return how.code

    async def _terminal_asked_for(self, actor: Actor, line: bytes | None) -> Terminal:
        address = self._address()
        terminals = self._context.terminals
        assert terminals is not None
        if address.terminal_id is None:
            argv = None if line is None else parse_argv(line)
            terminal = await terminals.open(
                actor, address.sandbox_id, self._size, argv, "ssh", env=self._env
            )
            back = f"sandbox:{address.sandbox_id}/{terminal.id}"
            await self._say(f"wit: if the connection is lost, come back as {back}")
            return terminal
        if line is not None:
            raise Conflict("something runs in this terminal already: leave the command out")
        terminal = await terminals.get(actor, address.terminal_id)
        if terminal.sandbox_id != address.sandbox_id:
            raise NotFound("this terminal belongs to another sandbox")
        return terminal

    async def _type(self, attachment: Attachment) -> None:
        while data := await self._source.read():
            try:
                await attachment.write(data)
            except Forbidden:
                pass  # one who only watches

    def _address(self) -> Address:
        address = self._transport.address_in_sandbox
        assert address is not None
        return address


class _View:
    """A viewer (wit.sandboxes.terminals.attachment.Viewer): keeps what is to be sent.

    The terminal counts its own bytes, of which the client is sent a few less or more: so they
    count as taken when all that is here has been sent.
    """

    def __init__(self, *, cleared: bool) -> None:
        self.queue = ByteQueue()
        self.attachment: Attachment | None = None
        self.how: Exit | None = None
        self._cleared = cleared
        """Whether there is nothing on the client's screen."""
        self._counted = 0
        self._left = 0

    def sent(self, size: int) -> int:
        """``size`` bytes have gone; how many of the terminal's own are taken by that."""
        self._left -= size
        if self._left:
            return 0
        counted, self._counted = self._counted, 0
        return counted

    def _put(self, data: bytes, counted: int) -> None:
        self._left += len(data)
        self._counted += counted
        self.queue.feed(data)

    def replay(self, offset: int, data: bytes) -> None:
        shown = without_queries(data)
        self._put(shown if self._cleared else _CLEAR + shown, len(data))
        self._cleared = False

    def output(self, data: bytes) -> None:
        self._put(data, len(data))

    def lost(self, count: int) -> None:
        """A replay follows, which begins with an empty screen."""

    def resized(self, size: TerminalSize) -> None:
        """Another viewer's window is smaller than this one."""

    def titled(self, title: str) -> None:
        """It is in the output."""

    def ended(self, how: Exit) -> None:
        self.how = self.how or how
        self.queue.end()


def _size(fields: Fields) -> TerminalSize:
    """Columns and rows, and the same in pixels, which nobody needs."""
    columns, rows, _, _ = (fields.uint32() for _ in range(4))
    return TerminalSize(columns or DEFAULT.columns, rows or DEFAULT.rows)
