"""The WebSockets of the fake: a command's log as it grows, and terminals."""

from __future__ import annotations

import contextlib
import json
from collections import deque
from typing import Any

from autobahn.twisted.websocket import WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from tests.sandboxes.daytona.boxes import SLOW_CONSUMER, PtySession, Session, SessionCommand
from tests.sandboxes.daytona.service import Service

_reactor: Any = reactor


class _Socket(WebSocketServerProtocol):
    transport: Any

    def __init__(self, fake: Service) -> None:
        super().__init__()
        self.fake = fake
        self.paused = False
        self.gone = False

    def onConnect(self, request: Any) -> str | None:
        chosen = [one for one in request.protocols if "Exit-Control" in one or "SDK-Version" in one]
        return chosen[0] if chosen else None

    def onOpen(self) -> None:
        with contextlib.suppress(Exception):
            self.transport.unregisterProducer()
        self.transport.registerProducer(_Flow(self), True)

    def onClose(self, wasClean: bool, code: Any, reason: Any) -> None:
        self.gone = True

    def flow(self) -> None:
        """It may be written again."""

    def close(self, code: int, reason: str) -> None:
        if not self.gone:
            self.gone = True
            self.sendCloseFrame(code=code, reasonUtf8=reason.encode()[:120], isReply=False)
            self.transport.loseConnection()

    def cut(self) -> None:
        self.gone = True
        self.transport.abortConnection()


@implementer(IPushProducer)
class _Flow:
    def __init__(self, socket: _Socket) -> None:
        self.socket = socket

    def pauseProducing(self) -> None:
        self.socket.paused = True

    def resumeProducing(self) -> None:
        self.socket.paused = False
        self.socket.flow()

    def stopProducing(self) -> None:
        self.socket.gone = True


class LogSocket(_Socket):
    def __init__(self, fake: Service, session: Session, command: SessionCommand) -> None:
        super().__init__(fake)
        self.session, self.command = session, command
        self.at = 0

    def onOpen(self) -> None:
        super().onOpen()
        self.log_file = self.command.log.open("rb")
        self.cut_at, self.fake.cut_after = self.fake.cut_after, None
        self.tick()

    def tick(self) -> None:
        if self.gone:
            self.log_file.close()
            return
        if not self.paused:
            ended = self.command.code is not None or self.session.ended
            for _ in range(16):
                data = self.log_file.read(8191)
                if data:
                    self.at += len(data)
                    self.sendMessage(data, isBinary=True)
                if self.cut_at is not None and self.at >= self.cut_at:
                    self.cut()
                    break
                if not data:
                    if ended:
                        self.close(1000, "")
                    break
                if self.paused:
                    break
        _reactor.callLater(0.005, self.tick)


class PtySocket(_Socket):
    def __init__(self, fake: Service, terminal: PtySession, exit_control: bool) -> None:
        super().__init__(fake)
        self.terminal, self.exit_control = terminal, exit_control
        self.queue: deque[bytes] = deque()

    def onOpen(self) -> None:
        super().onOpen()
        self.sendMessage(json.dumps({"type": "control", "status": "connected"}).encode())
        self.terminal.clients.append(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.terminal.write(payload)

    def onClose(self, wasClean: bool, code: Any, reason: Any) -> None:
        super().onClose(wasClean, code, reason)
        if self in self.terminal.clients:
            self.terminal.clients.remove(self)

    def show(self, data: bytes) -> None:
        self.queue.append(data)
        self.flow()
        if len(self.queue) > SLOW_CONSUMER:
            self.terminal.clients.remove(self)
            self.queue.clear()
            self.close(1008, "slow consumer")

    def flow(self) -> None:
        while self.queue and not self.paused and not self.gone:
            self.sendMessage(self.queue.popleft(), isBinary=True)

    def over(self, code: int) -> None:
        if self.exit_control and not self.gone:
            self.sendMessage(
                json.dumps({"type": "control", "status": "exited", "exitCode": code}).encode()
            )
        self.close(1000 if code == 0 else 1011, json.dumps({"exitCode": code}))
