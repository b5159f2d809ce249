"""The contract's own messages (rest.md, "Terminal WebSocket"): JSON in text frames.

They know no acknowledgements, no replay and no names of terminals. So what the client has taken is
what has left our memory; and somebody who comes back gets the terminal that he has left, if nobody
looks at it.
"""

from __future__ import annotations

from codecs import getincrementaldecoder

import attrs

from wit.errors import WitError
from wit.sandboxes.provider import Exit, TerminalSize
from wit.sandboxes.terminals.osc import without_queries
from wit.sandboxes.terminals.terminals import Terminal
from wit.websocket.conversation import Conversation, farewell
from wit.websocket.messages import Init, Input, Resize, contract_message
from wit.websocket.visit import Core, Visit, sandbox_of, terminal_for, terminal_of

REFUSED = 1008
FAILED = 1011

_PIECE = 8 * 1024
"""Bytes of output in one message: as JSON they can be six times as many."""

_RESET = "\x1bc"
"""RIS: what was on the screen before is from another time."""

_utf8 = getincrementaldecoder("utf-8")


class ContractConversation(Conversation):
    def __init__(self, core: Core, visit: Visit) -> None:
        super().__init__(core, visit, acknowledges=False)
        self._decoder = _utf8("replace")
        self._sandbox_id = ""
        self._size: TerminalSize | None = None
        """Of the client's window, from ``init`` on."""

    async def prepare(self) -> None:
        if self._visit.terminal_id is not None:
            self._sandbox_id = (await terminal_of(self._core, self._visit)).sandbox_id
        else:
            self._sandbox_id = await sandbox_of(self._core, self._visit)
            await self._core.terminals.list(self._visit.actor, self._sandbox_id)  # may he?
        self.socket.send_json({"type": "ready"})

    def take(self, payload: bytes, is_binary: bool) -> None:
        match contract_message(payload):
            case Init(size) if self._size is None:
                self._size = size
                self.spawn(self._start(size))
            case Init(size) | Resize(size) if self._size is not None:
                self._size = size
                if self.attached is not None:
                    self.attached.resize(size)
            case Input(data) if self._size is not None:
                self.type(data)

    async def _start(self, size: TerminalSize) -> None:
        terminal = await self._terminal(size)
        self.socket.send_json({"type": "session", "sessionId": terminal.id})
        self.attach(terminal, self._size)

    async def _terminal(self, size: TerminalSize) -> Terminal:
        visit = attrs.evolve(self._visit, sandbox_id=self._sandbox_id)
        if visit.terminal_id is None and not visit.view_only:
            left = [
                terminal
                for terminal in await self._core.terminals.list(visit.actor, self._sandbox_id)
                if not (terminal.view_only or terminal.ended or terminal.viewers)
                and terminal.kind == "terminal"
            ]
            if left:
                return left[-1]
        return await terminal_for(self._core, visit, size)

    # a viewer

    def replay(self, offset: int, data: bytes) -> None:
        if offset:
            self.socket.send_json({"type": "data", "data": _RESET})
        self._decoder.reset()
        self._send(without_queries(data))
        self.sent(len(data))

    def output(self, data: bytes) -> None:
        self._send(data)
        self.sent(len(data))

    def _send(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            if text := self._decoder.decode(data[start : start + _PIECE]):
                self.socket.send_json({"type": "data", "data": text})

    def lost(self, count: int) -> None:
        """A replay follows, which begins with an empty screen."""

    def resized(self, size: TerminalSize) -> None:
        """There is no message for it."""

    def titled(self, title: str) -> None:
        """It is in the output."""

    def ended(self, how: Exit) -> None:
        code, sentence = farewell(how)
        self.socket.send_json({"type": "exit", "code": how.code})
        self.socket.close(code, sentence)

    def refuse(self, error: WitError | None, message: str) -> None:
        self.socket.send_json({"type": "error", "message": message})
        self.socket.close(FAILED if error is None else REFUSED, message)
