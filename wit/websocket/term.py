"""The subprotocol ``wit.term.v1`` (docs/terminals.md): binary frames are bytes of the terminal,
text frames are JSON objects about it."""

from __future__ import annotations

from wit.errors import WitError
from wit.sandboxes.provider import Exit, TerminalSize
from wit.sandboxes.terminals.sizes import DEFAULT
from wit.sandboxes.terminals.terminals import Terminal
from wit.websocket.conversation import Conversation, farewell
from wit.websocket.messages import Ack, Kick, Ping, Resize, term_message
from wit.websocket.visit import Core, Visit, terminal_for

SUBPROTOCOL = "wit.term.v1"

FRAME = 64 * 1024
"""Bytes of output in one frame, at most."""


class TermConversation(Conversation):
    def __init__(self, core: Core, visit: Visit) -> None:
        super().__init__(core, visit, acknowledges=True)
        self._terminal: Terminal | None = None
        self._next = visit.offset
        """Offset of the byte that the viewer expects."""

    async def prepare(self) -> None:
        visit = self._visit
        self._terminal = await terminal_for(self._core, visit, visit.size or DEFAULT)
        self.attach(self._terminal, visit.size, visit.offset)

    def take(self, payload: bytes, is_binary: bool) -> None:
        if is_binary:
            self.type(payload)
            return
        attachment = self.attached
        assert attachment is not None
        match term_message(payload):
            case Resize(size):
                attachment.resize(size)
            case Ack(total):
                self.acknowledged(total)
            case Ping(text):
                self.socket.send_json({"t": "pong", "id": text})
            case Kick():
                attachment.kick_others()

    # a viewer

    def replay(self, offset: int, data: bytes) -> None:
        terminal = self._terminal
        assert terminal is not None
        self.socket.send_json(
            {
                "t": "hello",
                "id": terminal.id,
                "sandbox": terminal.sandbox_id,
                "cols": terminal.size.columns,
                "rows": terminal.size.rows,
                "title": terminal.title,
                "offset": offset,
                "replay": len(data),
                "reset": offset != self._next,
                "readonly": self._visit.view_only or terminal.view_only,
            }
        )
        self._next = offset
        self.output(data)
        self.socket.send_json({"t": "replayed"})

    def output(self, data: bytes) -> None:
        for start in range(0, len(data), FRAME):
            self.socket.send_bytes(data[start : start + FRAME])
        self._next = (self._next or 0) + len(data)
        self.sent(len(data))

    def lost(self, count: int) -> None:
        self.socket.send_json({"t": "lost", "bytes": count})

    def resized(self, size: TerminalSize) -> None:
        self.socket.send_json({"t": "size", "cols": size.columns, "rows": size.rows})

    def titled(self, title: str) -> None:
        self.socket.send_json({"t": "title", "title": title})

    def ended(self, how: Exit) -> None:
        code, sentence = farewell(how)
        self.socket.send_json(
            {
                "t": "exit",
                "code": how.code,
                "signal": how.signal,
                "reason": how.reason,
                "message": sentence,
            }
        )
        self.socket.close(code, sentence)

    def refuse(self, error: WitError | None, message: str) -> None:
        code = "internal" if error is None else error.code
        self.socket.send_json({"t": "error", "code": code, "message": message})
        self.socket.close(1011 if error is None else error.answer.ws_close, message)
